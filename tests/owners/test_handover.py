"""An agent passes from one to another when both want it: offered, looked at, accepted or turned down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tenure.base import durable, events
from tenure.base.room import World
from tenure.identity.people import add_person
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.owners import flow, service
from tenure.owners.model import HandOver, State
from tenure.owners.model import Role as As
from tenure.owners.service import Wish
from tenure.registry import service as registry
from tenure.registry.model import thing
from tests.owners.conftest import DANA, SAM, ZOE, clerk, leave, owner_of, person
from tests.sim.clock import FakeClock

Employ = Callable[..., None]


def told(world: World, kind: str) -> list[dict[str, object]]:
    with world.read() as conn:
        return [dict(one.event.data) for one in events.read(conn, 0) if one.event.type == kind]


def run(world: World) -> int:
    """The flows of offers, as the engine runs them."""
    return sum(durable.run_due(world, one, "test") for one in (flow.DECLARED, flow.OFFERS))


def accept(world: World, who: Actor, given: HandOver) -> HandOver:
    return service.accept(world, who, given.id, service.look(world, who, given.id)[1].digest)


def refused(code: str) -> AbstractContextManager[Any]:
    return pytest.raises(Refused, check=lambda error: error.code == code)


def offers(world: World, state: State | None = None) -> list[HandOver]:
    with world.read() as conn:
        return service.find(conn, person("leo@example.com", Role.VIEWER), state=state)


@pytest.mark.req("R029")
def test_it_takes_both_sides_and_the_giver_answers_until_then(house: World, employ: Employ) -> None:
    employ()
    (given,) = service.offer(house, person(DANA), Wish(ZOE, agents=["clerk"], note="I go to the bank"))
    assert owner_of(house) == DANA
    for who in (person(DANA), person(SAM), person("op@example.com", *Role), person(ZOE, Role.VIEWER)):
        with refused("not_permitted"):
            accept(house, who, given)
    program = Actor("default", f"service:{ZOE}", frozenset({Role.OWNER, Role.OPERATOR}))
    with refused("not_permitted"):
        service.accept(house, program, given.id, "x")
    done = accept(house, person(ZOE), given)
    assert (done.state, owner_of(house)) == (State.ACCEPTED, ZOE)
    with pytest.raises(Refused):
        registry.apply(house, person(DANA), clerk(instructions="mine yet"))
    assert registry.apply(house, person(ZOE), clerk(owner=ZOE, instructions="mine now")).changed
    assert [one["to"] for one in told(house, "handover.accepted")] == [ZOE]
    assert told(house, "agent.owner_changed") == [
        {"role": "owner", "before": DANA, "now": ZOE, "reason": f"handed over by {DANA}: I go to the bank"}
    ]
    for verb in (service.decline, service.withdraw):
        with pytest.raises(Refused):
            verb(house, person(ZOE), given.id, "too late")


@pytest.mark.req("R029")
def test_ownership_passes_four_times_in_a_year(house: World, employ: Employ) -> None:
    employ()
    for giver, receiver in ((DANA, ZOE), (ZOE, SAM), (SAM, "op@example.com"), ("op@example.com", DANA)):
        (given,) = service.offer(house, person(giver), Wish(receiver, agents=["clerk"]))
        accept(house, person(receiver), given)
        assert owner_of(house) == receiver
    assert [one.receiver for one in offers(house, State.ACCEPTED)][::-1] == [ZOE, SAM, "op@example.com", DANA]


@pytest.mark.req("R029")
def test_nobody_accepts_other_than_they_saw(house: World, employ: Employ, operator: Actor) -> None:
    tools: dict[str, Any] = {
        "servers": {"files": {"command": ["files"]}},
        "tools": [{"name": "files/read", "autonomy": "approve"}],
    }
    employ(**tools)
    (given,) = service.offer(house, person(DANA), Wish(ZOE, agents=["clerk"]))
    _, seen = service.look(house, person(ZOE), given.id)
    assert seen.declared["tools"] == [{"name": "files/read", "autonomy": "approve"}]
    assert seen.declared["limits"][0]["amount"] == "5"
    assert seen.now["state"] == "staging"
    changed = registry.apply(house, person(DANA), clerk(**tools, instructions="Delete everything")).agent
    assert service.look(house, person(ZOE), given.id)[1].digest == seen.digest, "a candidate is not what runs"
    assert changed.pending_release
    registry.decide_release(house, operator, "clerk", changed.pending_release, grant=True, reason="yes")
    with refused("checklist_changed"):
        service.accept(house, person(ZOE), given.id, seen.digest)
    assert owner_of(house) == DANA
    done = accept(house, person(ZOE), given)
    assert done.checklist
    assert done.checklist["release"] == changed.pending_release, "what was accepted is kept"


def test_who_may_offer_and_to_whom(house: World, employ: Employ, operator: Actor) -> None:
    employ()
    for who in (person(ZOE), person("leo@example.com", Role.VIEWER)):
        with refused("not_permitted"):
            service.offer(house, who, Wish(ZOE, agents=["clerk"]))
    for to, code in (
        ("nobody@example.com", "no_such_person"),
        ("leo@example.com", "cannot_own"),
        (DANA, "owns_already"),
    ):
        with refused(code):
            service.offer(house, person(DANA), Wish(to, agents=["clerk"]))
    with refused("unknown_agent"):
        service.offer(house, person(DANA), Wish(ZOE, agents=["clerk", "nothing"]))
    assert offers(house) == [], "all of them or none"
    first = service.offer(house, person(DANA), Wish(ZOE, agents=["clerk"]))
    assert service.offer(house, operator, Wish(ZOE, agents=["clerk"])) == first, "twice the same is once"
    with refused("offered_already"):
        service.offer(house, person(DANA), Wish(SAM, agents=["clerk"]))


@pytest.mark.req("R029")
def test_turned_down_taken_back_and_expired(house: World, employ: Employ, clock: FakeClock) -> None:
    employ()
    (one,) = service.offer(house, person(DANA), Wish(ZOE, agents=["clerk"]))
    with refused("reason_needed"):
        service.decline(house, person(ZOE), one.id, " ")
    with refused("not_permitted"):
        service.decline(house, person(SAM), one.id, "not mine")
    assert service.decline(house, person(ZOE), one.id, "no time").state is State.DECLINED
    (two,) = service.offer(house, person(DANA), Wish(ZOE, agents=["clerk"]))
    assert service.withdraw(house, person(DANA), two.id, "kept").state is State.WITHDRAWN
    (three,) = service.offer(house, person(DANA), Wish(ZOE, agents=["clerk"], days=2))
    assert run(house) == 0
    clock.advance(2 * 86_400)
    with refused("not_open"):
        accept(house, person(ZOE), three)
    assert run(house) == 1
    assert run(house) == 0
    assert [one.state for one in offers(house)] == [State.EXPIRED, State.WITHDRAWN, State.DECLINED]
    assert owner_of(house) == DANA


@pytest.mark.req("R029", "R030")
def test_an_operator_hands_over_all_agents_of_a_leaver(house: World, employ: Employ, operator: Actor) -> None:
    for name in ("clerk", "scribe"):
        employ(name)
    employ("other", owner=ZOE)
    leave(house, operator, DANA)
    made = service.offer(house, operator, Wish(ZOE, all_of="Dana@example.com"))
    assert [one.agent for one in made] == ["clerk", "scribe"]
    for one in made:
        accept(house, person(ZOE), one)
    assert {owner_of(house, name) for name in ("clerk", "scribe", "other")} == {ZOE}
    with refused("no_agents"):
        service.offer(house, operator, Wish(ZOE, all_of=DANA))


def test_a_sponsor_is_handed_over_in_the_same_way(house: World, employ: Employ) -> None:
    employ()
    (given,) = service.offer(house, person(SAM), Wish(ZOE, As.SPONSOR, agents=["clerk"]))
    accept(house, person(ZOE), given)
    assert (owner_of(house), owner_of(house, role="sponsor")) == (DANA, ZOE)


@pytest.mark.req("R029")
def test_a_manifest_that_names_somebody_else_offers_and_changes_nobody(
    house: World, employ: Employ, clock: FakeClock
) -> None:
    employ()
    wanted = clerk(owner=ZOE, instructions="Better")
    applied = registry.apply(house, person(DANA), wanted).agent
    assert (applied.owner, applied.pending_owner, bool(applied.pending_release)) == (DANA, ZOE, True)
    assert thing(applied).owners == (DANA, SAM), "who is declared may do nothing yet"
    assert run(house) == 1
    (given,) = offers(house, State.OPEN)
    assert (given.receiver, given.offered_by, given.declared) == (ZOE, f"person:{DANA}", True)
    assert not registry.apply(house, person(DANA), wanted).changed
    assert run(house) == 0
    clock.advance(60)
    service.decline(house, person(ZOE), given.id, "no")
    assert not registry.apply(house, person(DANA), wanted).changed
    assert run(house) == 0, "answered once, the same file offers nothing again"
    clock.advance(60)
    registry.apply(house, person(DANA), clerk(instructions="Better"))
    registry.apply(house, person(DANA), wanted)
    assert run(house) == 1, "declared anew, it is offered anew"
    (again,) = offers(house, State.OPEN)
    accept(house, person(ZOE), again)
    now = registry.apply(house, person(ZOE), wanted)
    assert (now.changed, now.agent.owner, now.agent.pending_owner) == (False, ZOE, None)


def test_a_declaration_that_is_taken_back_takes_its_offer_with_it(house: World, employ: Employ) -> None:
    employ()
    registry.apply(house, person(DANA), clerk(owner=ZOE))
    run(house)
    registry.apply(house, person(DANA), clerk())
    assert run(house) == 1
    assert [one.state for one in offers(house)] == [State.WITHDRAWN]


def test_somebody_who_is_not_here_is_offered_it_once_they_are(house: World, employ: Employ, operator: Actor) -> None:
    employ()
    registry.apply(house, person(DANA), clerk(owner="Late@example.com"))
    assert run(house) == 0
    add_person(house, operator, "late@example.com", ["owner"])
    assert run(house) == 1
    assert offers(house)[0].receiver == "late@example.com"


def test_before_anybody_granted_it_a_manifest_says_who_answers(house: World) -> None:
    registry.apply(house, person(DANA), clerk())
    assert registry.apply(house, person(DANA), clerk(owner=ZOE)).agent.owner == ZOE


def test_an_offer_ends_with_the_agent(house: World, employ: Employ, operator: Actor) -> None:
    employ()
    service.offer(house, person(DANA), Wish(ZOE, agents=["clerk"]))
    for state in (LifecycleState.SUSPENDED, LifecycleState.RETIRED):
        registry.transition(house, operator, "clerk", state, "over")
    assert run(house) == 1
    assert offers(house)[0].state is State.WITHDRAWN
