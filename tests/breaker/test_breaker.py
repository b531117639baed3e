"""Too many violations stop an agent until an operator resets it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tenure.base import events
from tenure.base.db import Database
from tenure.base.room import World
from tenure.breaker import counting, service, store
from tenure.breaker.api import router
from tenure.breaker.model import Count, Place, Scope, trip_id
from tenure.breaker.react import CONSUMER
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import BreakerFact
from tenure.kernel.values import Actor, Event, Role
from tenure.registry import service as registry
from tests.sim.api import Api
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

CLERK = Place("default", Scope.AGENT, "clerk")


def _refused(world: World, *, epoch: int = 0, violation: bool = True, after: float = 0.0, **more: Any) -> Event:
    facts: dict[str, Any] = {
        "id": new_id(),
        "type": "call.refused",
        "time": world.clock() + timedelta(seconds=after),
        "workspace": "default",
        "actor": "agent:clerk",
        "agent": "clerk",
        "trace_id": "t" * 32,
        "span_id": "a" * 16,
        "session": "s1",
        "data": {"tenure.violation": violation, "tenure.breaker.epoch": epoch},
    }
    return Event(**(facts | more))


def _hear(world: World, *told: Event) -> None:
    with world.begin() as tx:
        events.append(tx, told)
    while events.consume(world.db, CONSUMER, limit=7):
        pass


def _fact(world: World) -> BreakerFact:
    with world.read() as connection:
        return service.facts(connection).get("default/agent/clerk", BreakerFact())


def _trips(world: World) -> list[Event]:
    with world.read() as connection:
        return [logged.event for logged in events.read(connection, 0) if logged.event.type == "breaker.tripped"]


@pytest.mark.req("R055")
def test_the_fifth_violation_in_the_window_trips_and_only_a_reset_ends_it(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    for _ in range(4):
        _hear(world, _refused(world))
        clock.advance(74)
    assert not _fact(world).tripped
    last = _refused(world)
    _hear(world, last)
    assert (_fact(world).tripped, _fact(world).reason) == (True, "5 violations within 300 s")
    (trip,) = _trips(world)
    assert trip.id == trip_id(CLERK, 0)
    named = {"scope": "agent", "name": "clerk", "epoch": 0, "reason": "5 violations within 300 s"}
    assert trip.data == {**named, "threshold": 5, "window_s": 300.0}
    assert (trip.trace_id, trip.parent_span_id) == (last.trace_id, last.span_id)
    clock.advance(1_000_000)
    assert _fact(world).tripped
    reset = service.reset(world, operator, Scope.AGENT, "clerk", "the task was wrong")
    assert (reset.epoch, reset.tripped) == (1, False)
    assert _fact(world) == BreakerFact(epoch=1)
    with world.read() as connection:
        newest = events.read(connection, 0)[-1].event
    assert (newest.type, newest.actor, newest.data["reason"]) == ("breaker.reset", operator.name, "the task was wrong")


def test_violations_too_far_apart_do_not_trip(world: World, clock: FakeClock) -> None:
    for _ in range(12):
        _hear(world, _refused(world))
        clock.advance(75.1)
    assert not _fact(world).tripped
    assert _trips(world) == []


def test_only_violations_of_this_agent_count_and_each_once(world: World) -> None:
    once = _refused(world)
    other = [_refused(world, agent="other") for _ in range(3)]
    elsewhere = [_refused(world, workspace="other") for _ in range(3)]
    harmless = [_refused(world, violation=False) for _ in range(9)]
    _hear(world, once, *other, *elsewhere, *harmless)
    with world.begin() as tx:
        for _ in range(9):
            counting.take(tx, [once])  # read again after a crash, or told under the same id
        counting.take(tx, [replace(once, id=new_id(), agent=None)])
        counting.take(tx, [replace(once, id=new_id(), data={"tenure.violation": "yes"})])
    with world.read() as connection:
        assert [(item.place.name, item.violations) for item in store.find(connection, "default")] == [
            ("clerk", 1),
            ("other", 3),
        ]
    assert _trips(world) == []


def test_a_late_violation_of_an_earlier_epoch_does_not_count(world: World, operator: Actor) -> None:
    _hear(world, *[_refused(world) for _ in range(5)])
    service.reset(world, operator, Scope.AGENT, "clerk", "understood")
    _hear(world, *[_refused(world, epoch=0) for _ in range(50)])
    assert _fact(world) == BreakerFact(epoch=1)
    _hear(world, *[_refused(world, epoch=1) for _ in range(5)])
    assert _fact(world).tripped
    assert [trip.data["epoch"] for trip in _trips(world)] == [0, 1]


def test_violations_of_several_gateways_count_together_in_any_order(world: World) -> None:
    told = [_refused(world, after=seconds) for seconds in (2000, 180, 0, 900, 240, 60, 1000, 120)]
    _hear(world, *told)
    assert _fact(world).tripped
    assert len(_trips(world)) == 1


@pytest.mark.req("R055")
def test_two_hundred_violations_at_once_trip_once(world: World) -> None:
    _hear(world, *[_refused(world) for _ in range(200)])
    assert _fact(world).tripped
    assert len(_trips(world)) == 1


def test_a_gateways_trip_and_our_own_are_one(world: World, operator: Actor) -> None:
    violations = [_refused(world) for _ in range(5)]
    trip = Event(
        id=trip_id(CLERK, 0),
        type="breaker.tripped",
        time=world.clock(),
        workspace="default",
        actor="gateway:local",
        agent="clerk",
        data={"scope": "agent", "name": "clerk", "epoch": 0, "reason": "3 violations within 60 s"},
    )
    _hear(world, *violations[:3], trip, *violations[3:])
    assert (_fact(world).tripped, _fact(world).reason) == (True, "3 violations within 60 s")
    assert len(_trips(world)) == 1
    service.reset(world, operator, Scope.AGENT, "clerk", "understood")
    _hear(world, replace(trip, id=new_id()))
    named = {"scope": "agent", "name": "clerk"}
    assert not _fact(world).tripped  # of an epoch that is over
    _hear(world, replace(trip, id=new_id(), data={**named, "epoch": 4, "reason": "three\x00"}))
    assert _fact(world) == BreakerFact(epoch=4, tripped=True, reason="three")
    _hear(world, replace(trip, id=new_id(), data={**named, "epoch": "x"}), replace(trip, id=new_id(), data={}))


def test_it_survives_a_restart(world: World) -> None:
    _hear(world, *[_refused(world) for _ in range(5)])
    again = replace(world, db=Database(world.db.url))
    try:
        assert _fact(again).tripped
        assert events.consume(again.db, CONSUMER) == 0
    finally:
        again.db.close()


def test_the_manifest_sets_the_limits(world: World, operator: Actor) -> None:
    spec = {"breaker": {"threshold": 2, "window_s": 10}}
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1", **spec))
    _hear(world, _refused(world), _refused(world, after=10.001))
    assert not _fact(world).tripped
    _hear(world, _refused(world, after=20))
    assert _fact(world).tripped
    standing = service.find(world, "default")[0]
    assert (standing.limits.violations, standing.breaker.violations) == (Count(2, 10.0), 3)


@pytest.mark.req("R055", "R068")
@pytest.mark.parametrize(
    "actor",
    [
        Actor("default", "agent:clerk", frozenset({Role.OPERATOR})),
        Actor("default", "system:x", frozenset({Role.SYSTEM})),
        Actor("default", "person:a@example.com", frozenset(set(Role) - {Role.OPERATOR})),
        Actor("other", "person:op@example.com", frozenset(Role)),
    ],
)
def test_only_an_operator_of_the_workspace_resets(world: World, actor: Actor) -> None:
    _hear(world, *[_refused(world) for _ in range(5)])
    with pytest.raises(Refused):
        service.reset(world, actor, Scope.AGENT, "clerk", "please")
    assert _fact(world).tripped


def test_a_reset_needs_a_reason_and_a_tripped_breaker(world: World, operator: Actor) -> None:
    with pytest.raises(Refused, match="not tripped"):
        service.reset(world, operator, Scope.AGENT, "nobody", "why not")
    with world.read() as connection:
        assert store.find(connection) == []  # asking makes no breaker
    _hear(world, _refused(world))
    with pytest.raises(Refused, match="not tripped"):
        service.reset(world, operator, Scope.AGENT, "clerk", "why not")
    with pytest.raises(Refused, match="needs a reason"):
        service.reset(world, operator, Scope.AGENT, "clerk", " ")


@pytest.mark.twin("ASI10")
def test_old_violations_are_forgotten(world: World, clock: FakeClock) -> None:
    for _ in range(3):
        _hear(world, _refused(world))
        clock.advance(counting.KEEP.total_seconds() + 1)
    with world.read() as connection:
        (item,) = store.find(connection)
    assert item.violations == 1


def test_over_http(world: World, operator: Actor) -> None:
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1"))
    registry.apply(world, operator, manifest("idle", "http://127.0.0.1:1/v1"))
    _hear(world, *[_refused(world) for _ in range(5)])
    api = Api(world, router)
    assert api("GET", "/v1/breakers")[0] == 401
    api.actor = operator
    found = api("GET", "/v1/breakers")[1]
    assert [(item["scope"], item["name"], item["state"], item["violations"]) for item in found] == [
        ("agent", "clerk", "tripped", 5),
        ("agent", "idle", "closed", 0),
        ("workspace", "", "closed", 0),
    ]
    assert found[0]["limits"]["violations"] == {"count": 5, "window_s": 300}
    clerk = {"scope": "agent", "name": "clerk"}
    assert api("POST", "/v1/breakers/reset", clerk | {"reason": ""})[0] == 422
    assert api("POST", "/v1/breakers/reset", {"scope": "agent", "name": "idle", "reason": "x"})[0] == 409
    status, answer = api("POST", "/v1/breakers/reset", clerk | {"reason": "understood"})
    assert (status, answer["tripped"], answer["epoch"]) == (200, False, 1)
    found = api("GET", "/v1/breakers")[1]
    assert (found[0]["tripped"], found[0]["violations"], found[0]["reset_by"]) == (False, 0, operator.name)
