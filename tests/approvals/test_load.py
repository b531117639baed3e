"""Who decides how many calls, how long these wait, and who approves faster than one can read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tenure.approvals import service
from tenure.approvals.api import router
from tenure.approvals.load import Decided, loads, percentile
from tenure.base.room import World
from tenure.kernel.values import Actor, Event, Role
from tests.sim.api import Api
from tests.sim.clock import FakeClock

ANN = Actor("default", "person:ann@example.com", frozenset({Role.APPROVER}))


def _held(world: World, ident: str) -> None:
    data = {"approval_id": ident, "resource": "shop/refund", "digest": f"d-{ident}", "arguments": {}}
    with world.begin() as tx:
        event = Event(ident, "approval.requested", world.clock(), "default", "agent:clerk", "clerk", data=data)
        service.request(tx, event)


@pytest.mark.req("R065")
def test_load_and_reaction_of_each_person(world: World, operator: Actor, clock: FakeClock) -> None:
    for ident in ("a1", "a2", "a3", "a4", "a5", "b1"):
        _held(world, ident)
    clock.advance(40)
    service.decide(world, ANN, "a1", True)
    clock.advance(2)
    service.decide(world, ANN, "a2", True)  # a2 waited for 42 s and was looked at for 2 s at most
    clock.advance(10)
    service.answer(world, ANN, [("a3", "d-a3"), ("a4", "d-a4")], True, "")  # one look
    clock.advance(1)
    service.decide(world, ANN, "a5", False, "no")  # quick, but nobody rubber-stamps a no
    service.decide(world, operator, "b1", True)
    _held(world, "c1")
    waiting, people = service.load(world, "default", 30, 5)
    assert [one.id for one in waiting] == ["c1"]
    ann, other = people
    assert (ann.by, ann.calls, ann.approved, ann.answers) == (ANN.name, 5, 4, 4)
    assert (ann.wait_p50_s, ann.wait_p90_s, ann.look_p50_s) == (52, 53, 2)
    assert ann.quick == pytest.approx(1 / 3)
    assert (other.by, other.look_p50_s, other.quick) == (operator.name, 53, 0)
    api = Api(world, router)
    api.actor = operator
    status, answer = api("GET", "/v1/approvals/load")
    assert status == 200
    assert (answer["open"], [one["calls"] for one in answer["people"]]) == (1, [5, 1])
    clock.advance(31 * 86_400)
    assert service.load(world, "default", 30, 5) == ([], [])
    assert service.load(world, "elsewhere", 300, 5) == ([], [])


def test_percentiles_are_values_that_happened(clock: FakeClock) -> None:
    assert [percentile([4, 1, 3, 2], part) for part in (0.25, 0.5, 0.51, 0.9, 1)] == [1, 2, 3, 4, 4]
    assert percentile([], 0.5) == 0
    at = clock()
    (load,) = loads([Decided("p", at + timedelta(seconds=1), at, True)], 5)  # clocks of two machines may differ
    assert load.look_p50_s == 0
