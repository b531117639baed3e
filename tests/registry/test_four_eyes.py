"""Where a workspace wants it, somebody else grants what a person asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.registry import service
from tests.sim.manifests import manifest

S = LifecycleState
ADA, BOB, EVE = (Actor("default", f"person:{name}@example.com", frozenset(Role)) for name in ("ada", "bob", "eve"))
URL = "http://127.0.0.1:1/v1"


def _grant(world: World, actor: Actor) -> None:
    service.transition(world, actor, "clerk", S.APPROVED, "it is needed")


@pytest.mark.req("R188")
@pytest.mark.parametrize("where", ["default", "*", "other, default"])
def test_nobody_grants_their_own_request_or_release(world: World, where: str) -> None:
    strict = replace(world, config=replace(world.config, four_eyes=where))
    service.apply(strict, ADA, manifest("clerk", URL))
    service.apply(strict, BOB, manifest("clerk", URL, instructions="Do it otherwise."))
    for author in (ADA, BOB):
        with pytest.raises(Refused) as refused:
            _grant(strict, author)
        assert (refused.value.code, refused.value.status) == ("own_request", 409)
    _grant(strict, EVE)
    pending = service.apply(strict, BOB, manifest("clerk", URL, instructions="And better.")).agent.pending_release
    assert pending
    with pytest.raises(Refused, match="somebody else must grant it"):
        service.decide_release(strict, BOB, "clerk", pending, grant=True, reason="mine")
    assert service.decide_release(strict, ADA, "clerk", pending, grant=True, reason="good").release == pending


def test_one_may_take_back_what_one_asked_for(world: World) -> None:
    strict = replace(world, config=replace(world.config, four_eyes="*"))
    service.apply(strict, ADA, manifest("clerk", URL))
    assert service.transition(strict, ADA, "clerk", S.REJECTED, "not needed after all").state is S.REJECTED


@pytest.mark.parametrize("where", ["", "other"])
def test_elsewhere_a_person_may(world: World, where: str) -> None:
    lax = replace(world, config=replace(world.config, four_eyes=where))
    service.apply(lax, ADA, manifest("clerk", URL))
    _grant(lax, ADA)
