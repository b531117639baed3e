"""Agents that nobody answers for: found, told to those whose business it is, and suspended when the time is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tenure.base import durable, events
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.people import add_person
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.owners import flow, service, store, watching
from tenure.owners.model import Concern, Kind
from tenure.registry import service as registry
from tenure.runtime import service as runtime
from tests.owners.conftest import DANA, SAM, ZOE, leave, owner_of, person
from tests.sim.clock import FakeClock

Employ = Callable[..., None]
HOUR, DAY = 3600, 86_400


def run(world: World) -> int:
    """The flows, as the engine runs them, until nothing is left to do."""
    done = 0
    for one in (flow.LEFT, flow.LOOK):
        while more := durable.run_due(world, one, "test"):
            done += more
    return done


def concerns(world: World) -> list[Concern]:
    with world.read() as conn:
        return watching.find(conn, person("leo@example.com", Role.VIEWER))


def state(world: World, name: str = "clerk") -> tuple[str, str]:
    with world.read() as conn:
        agent = registry.the_agent(conn, "default", name)
    return str(agent.state), agent.state_reason


def raised(world: World) -> list[dict[str, Any]]:
    with world.read() as conn:
        return [dict(one.event.data) for one in events.read(conn, 0) if one.event.type == "owner.concern_raised"]


@pytest.mark.req("R030")
def test_a_leavers_agents_are_told_and_suspended_in_the_stated_time(
    house: World, employ: Employ, operator: Actor, clock: FakeClock
) -> None:
    employ()
    employ("kept", owner=ZOE)
    assert run(house) == 0
    leave(house, operator, DANA)
    assert run(house) == 1
    (concern,) = concerns(house)
    assert (concern.agent, concern.kind, concern.told) == ("clerk", Kind.LEFT, (SAM, "op@example.com"))
    assert concern.due == clock.now + timedelta(hours=72)
    assert run(house) == 0, "told once"
    clock.advance(72 * HOUR - 1)
    assert run(house) == 0
    assert state(house)[0] == "staging"
    clock.advance(1)
    assert run(house) == 1
    assert state(house) == (
        "suspended",
        f"{DANA} left on 2026-01-01, and nobody took it over in the time there was (until 2026-01-04 00:00 UTC)",
    )
    assert state(house, "kept")[0] == "staging"
    assert run(house) == 0
    assert len(raised(house)) == 1


@pytest.mark.req("R030")
def test_whoever_takes_it_over_in_time_keeps_it_going(
    house: World, employ: Employ, operator: Actor, clock: FakeClock
) -> None:
    employ()
    with pytest.raises(Refused, match="has not left"):
        service.take(house, person(SAM), "clerk", "just so")
    leave(house, operator, DANA)
    run(house)
    for who in (person(ZOE), person(SAM, Role.VIEWER), Actor("default", "service:ci", frozenset({Role.OPERATOR}))):
        with pytest.raises(Refused):
            service.take(house, who, "clerk", "I would")
    service.take(house, person(SAM), "clerk", "I know it best")
    assert (owner_of(house), concerns(house)) == (SAM, [])
    clock.advance(100 * HOUR)
    run(house)
    assert state(house)[0] == "staging"


@pytest.mark.req("R030")
def test_an_agent_that_a_person_let_go_on_has_the_time_once_more(
    house: World, employ: Employ, operator: Actor, clock: FakeClock
) -> None:
    employ()
    leave(house, operator, DANA)
    run(house)
    clock.advance(73 * HOUR)
    run(house)
    registry.transition(house, operator, "clerk", LifecycleState.STAGING, "the month must be closed")
    assert run(house) == 0
    clock.advance(71 * HOUR)
    assert run(house) == 0
    clock.advance(HOUR)
    assert run(house) == 1
    assert state(house)[0] == "suspended"


def test_a_leaver_who_comes_back_answers_for_it_again(
    house: World, employ: Employ, operator: Actor, clock: FakeClock
) -> None:
    employ()
    leave(house, operator, DANA)
    run(house)
    add_person(house, operator, DANA, ["owner"])
    assert run(house) == 1
    clock.advance(100 * HOUR)
    assert (run(house), concerns(house), state(house)[0]) == (0, [], "staging")


@pytest.mark.req("R030")
def test_an_owner_confirms_every_so_often_or_the_agent_is_suspended(
    house: World, employ: Employ, clock: FakeClock
) -> None:
    employ()
    clock.advance(89 * DAY)
    service.confirm(house, person(DANA), "clerk")
    clock.advance(179 * DAY)
    service.confirm(house, person(SAM), "clerk")  # a sponsor's word: it is needed, but the owner's is asked for
    assert run(house) == 0
    clock.advance(DAY)
    assert run(house) == 1
    assert [(one.kind, one.told) for one in concerns(house)] == [(Kind.UNCONFIRMED, (DANA, SAM))]
    clock.advance(29 * DAY)
    with pytest.raises(Refused):
        service.confirm(house, person(ZOE), "clerk")
    service.confirm(house, person(DANA), "clerk")
    assert (run(house), concerns(house)) == (0, [])
    clock.advance(89 * DAY)
    service.confirm(house, person(DANA), "clerk")
    clock.advance(89 * DAY)
    service.confirm(house, person(SAM), "clerk")
    clock.advance(91 * DAY)
    run(house)
    service.confirm(house, person(SAM), "clerk")
    clock.advance(30 * DAY)
    run(house)
    assert state(house)[0] == "suspended"
    assert f"{DANA} did not confirm" in state(house)[1]


def test_with_the_settings_at_zero_nobody_is_asked(house: World, employ: Employ, clock: FakeClock) -> None:
    free = replace(house, config=replace(house.config, confirm_days=0, inactive_days=0))
    employ()
    clock.advance(3_000 * DAY)
    assert (run(free), concerns(free)) == (0, [])


@pytest.mark.req("R030")
def test_an_agent_that_does_nothing_is_told_then_suspended_and_work_ends_it(
    house: World, employ: Employ, operator: Actor, clock: FakeClock
) -> None:
    identity.bootstrap(house)  # an instance needs a key that signs
    employ()
    employ("busy")
    clock.advance(90 * DAY - 1)
    with house.begin() as tx:
        store.seen(tx, "default", "busy", clock.now)  # as the trace store tells of its calls
    assert run(house) == 0
    clock.advance(1)
    assert run(house) == 1
    assert [(one.agent, one.kind) for one in concerns(house)] == [("clerk", Kind.INACTIVE)]
    started = runtime.start_instance(house, operator, "clerk").instance
    assert (run(house), concerns(house)) == (1, []), "a start is a sign of life"
    clock.advance(20)
    runtime.heartbeat(house, operator, started.id)
    runtime.end_instance(house, operator, started.id, 0)
    clock.advance(90 * DAY)
    run(house)
    service.confirm(house, person(DANA), "clerk")
    assert {one.agent for one in concerns(house)} == {"busy"}, "who answers for it says that it is needed"
    clock.advance(30 * DAY)
    run(house)
    assert (state(house)[0], state(house, "busy")[0]) == ("staging", "suspended")


@pytest.mark.req("R030")
def test_an_agent_that_stopped_answering_is_shown_as_such(
    house: World, employ: Employ, operator: Actor, clock: FakeClock
) -> None:
    identity.bootstrap(house)
    employ()
    first = runtime.start_instance(house, operator, "clerk").instance
    clock.advance(1)
    second = runtime.start_instance(house, operator, "clerk").instance
    clock.advance(40)
    runtime.lose_instance(house, second.id)
    assert concerns(house) == [], "another one lives"
    runtime.lose_instance(house, first.id)
    (silent,) = concerns(house)
    assert (silent.agent, silent.kind, silent.due) == ("clerk", Kind.SILENT, None)
    assert silent.since == second.heartbeat_at
    runtime.heartbeat(house, operator, first.id)
    assert concerns(house) == [], "it was heard of again"
    runtime.end_instance(house, operator, first.id, 0)
    assert concerns(house) == [], "it ended as one ends"


def test_who_was_away_finds_what_is_due_and_gives_the_stated_time(
    house: World, employ: Employ, operator: Actor, clock: FakeClock
) -> None:
    employ()
    leave(house, operator, DANA)
    clock.advance(500 * HOUR)
    run(house)
    assert state(house)[0] == "staging"
    (concern,) = concerns(house)
    assert concern.due == clock.now + timedelta(hours=72)
    clock.advance(72 * HOUR)
    run(house)
    assert state(house)[0] == "suspended"


def test_what_cannot_act_yet_is_told_and_stopped_when_it_could(
    house: World, employ: Employ, operator: Actor, clock: FakeClock
) -> None:
    employ(to=LifecycleState.PROVISIONED)
    leave(house, operator, DANA)
    run(house)
    clock.advance(80 * HOUR)
    assert run(house) == 0
    registry.transition(house, operator, "clerk", LifecycleState.STAGING, "go")
    assert run(house) == 1
    assert state(house)[0] == "suspended"
