"""Who may have a run played again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tenure.base.room import World
from tenure.forks import service
from tenure.forks.service import Wish
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Role
from tenure.telemetry import service as telemetry
from tests.sim.telemetry import GATEWAY, chat, opened

OWEN = Actor("default", "person:owen@example.com", frozenset({Role.OWNER}))


@pytest.mark.req("R084")
def test_who_may_not_see_what_was_said_has_no_run_played_again(world: World, operator: Actor) -> None:
    with opened(world):
        event = chat(world.clock() - timedelta(minutes=1), session="s")
        telemetry.ingest(world, GATEWAY, [event])
        trace, wish = str(event.trace_id), Wish(1, policy=(("a.cedar", "permit (principal, action, resource);"),))
        with pytest.raises(Refused) as refused:
            service.ask(world, OWEN, trace, wish)
        assert (refused.value.code, refused.value.status) == ("withheld", 403)
        with pytest.raises(Refused) as unknown:
            service.ask(world, operator, trace, wish)
        assert unknown.value.status == 404, "who sees it all gets further: there is no such agent here"
