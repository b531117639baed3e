"""Whom a held call is shown to when nobody answers, and what becomes of it at its deadline."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tenure.app.lookout import Lookout
from tenure.approvals import escalation, service, store
from tenure.approvals.flow import ESCALATION, EXPIRY
from tenure.approvals.ladders import AtDeadline, Ladder, Step, checked
from tenure.approvals.model import State
from tenure.base import durable, events
from tenure.base.room import World
from tenure.identity import people
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event
from tenure.notify import service as notify
from tenure.notify.model import Destination, Kind
from tenure.registry import service as registry
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

SQLITE = pytest.mark.parametrize(
    "database", ["sqlite"], indirect=True
)  # what it asks of a database is asked of both elsewhere
STEPS = (Step(0, ("approver",)), Step(300, ("operator",)), Step(900, ("ann@example.com",)))


def _ladder(world: World, operator: Actor, **more: Any) -> Ladder:
    plain: dict[str, Any] = {"agents": (), "tools": ("shop/refund",), "policies": ("limit",), "steps": STEPS}
    plain |= {"deadline_s": 1800, "at_deadline": AtDeadline.DENY, "reason": "customers wait", "name": "refunds"}
    item = Ladder(workspace="default", set_at=world.clock(), set_by=operator.name, **(plain | more))
    return escalation.put(world, operator, item)


def _held(world: World, ident: str = "a1", **more: Any) -> None:
    data = {
        "approval_id": ident,
        "call_id": "c1",
        "resource": "shop/refund",
        "digest": "sha256:d",
        "arguments": {"amount": 500},
        "reason": "Large refunds need a person.",
        "policies": ["limit"],
        "grounds": "sha256:g",
    }
    kind = "approval.requested"
    event = Event(ident, kind, world.clock(), "default", "agent:clerk", "clerk", "sha256:r", data=data | more)
    with world.begin() as tx:
        service.request(tx, event)


def _asked(world: World) -> list[list[str]]:
    with world.read() as conn:
        return [one.event.data["ask"] for one in events.read(conn, 0) if one.event.type == "approval.escalated"]


def _fact(world: World, ident: str = "a1") -> Any:
    with world.read() as conn:
        return service.facts(conn, world.clock()).get(ident)


@pytest.mark.req("R066", "R070")
def test_step_by_step_others_are_asked_and_at_the_deadline_it_is_denied(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    _ladder(world, operator)
    _held(world)
    assert durable.run_due(world, ESCALATION, "one") == 1
    assert durable.run_due(world, ESCALATION, "one") == 0  # a step is taken once
    assert _asked(world) == [["approver"]]
    clock.advance(299)
    assert durable.run_due(world, ESCALATION, "one") == 0
    clock.advance(1)
    assert durable.run_due(world, ESCALATION, "one") == 1
    assert _asked(world)[-1] == ["operator"]
    clock.advance(1500)  # nobody ran for so long: what came due meanwhile is past its deadline
    assert durable.run_due(world, ESCALATION, "two") == 0
    assert durable.run_due(world, EXPIRY, "two") == 1
    ended = service.get(world, "default", "a1")
    assert (ended.state, ended.decided_by, _asked(world)[-1]) == (State.EXPIRED, None, ["operator"])


@SQLITE
def test_a_step_shortly_before_the_deadline_is_not_slept_through(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    _ladder(world, operator, steps=(Step(0, ("approver",)), Step(1785, ("operator",))))
    _held(world)

    async def looks() -> None:
        lookout = Lookout(world, [replace(ESCALATION, every=0.0)], "here")

        async def until(steps: int) -> None:
            async with asyncio.timeout(10):
                while len(_asked(world)) < steps:
                    await lookout.look()

        await until(1)
        clock.advance(1775)  # the deadline is 25 seconds from now, the step 10
        for _ in range(20):
            await lookout.look()
            await asyncio.sleep(0.01)
        clock.advance(10)
        await until(2)

    asyncio.run(looks())


def _killed_between_the_row_and_the_events(world: World) -> None:
    with world.begin() as tx:
        assert store.climb(tx, "a1", 0, 3, None)
        raise KeyboardInterrupt


@SQLITE
def test_a_control_plane_that_was_down_takes_every_step_that_is_due_once(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    _ladder(world, operator)
    _held(world)
    clock.advance(1000)
    with pytest.raises(KeyboardInterrupt):
        _killed_between_the_row_and_the_events(world)
    assert escalation.climb(world, "a1")
    assert not escalation.climb(world, "a1")
    assert _asked(world) == [["approver"], ["operator"], ["ann@example.com"]]
    assert service.get(world, "default", "a1").next_at is None


@SQLITE
def test_an_answer_ends_it_and_a_change_of_the_ladder_changes_nothing_under_way(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    _ladder(world, operator)
    _held(world, "a1")
    _held(world, "a2")
    escalation.remove(world, operator, "refunds", "not needed")
    assert escalation.ladders(world, "default") == []
    service.decide(world, operator, "a1", True)
    clock.advance(400)
    assert durable.run_due(world, ESCALATION, "one") == 1
    assert len(_asked(world)) == 2  # of a2 alone
    _held(world, "a3")
    assert service.get(world, "default", "a3").escalation is None


@pytest.mark.req("R063")
def test_what_nobody_answered_goes_on_only_where_the_ladder_may_say_so(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    risk = {"data_sensitivity": 1, "decision_authority": 1, "blast_radius": 1, "regulatory_exposure": 1}
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1", risk=risk))
    registry.apply(world, operator, manifest("judge", "http://127.0.0.1:1/v1", risk={**risk, "blast_radius": 3}))
    _ladder(world, operator, at_deadline=AtDeadline.ALLOW)
    _held(world, "fine")
    _held(world, "two", demands=["approve:2"])
    _held(world, "role", demands=["approve:operator"])
    _held(world, "noted", notes=["amount: stands in what mail/read gave"])
    _held(world, "also", policies=["limit", "night"])
    with world.begin() as tx:
        kept = store.get(tx, "fine")
        assert kept is not None
        store.insert(tx, replace(kept, id="risky", agent="judge"))
        store.insert(tx, replace(kept, id="gone", agent="nobody"))
    clock.advance(1801)
    assert _fact(world, "fine").state == "pending"  # until it was looked at, no gateway takes it for over
    assert durable.run_due(world, EXPIRY, "one") == 7
    states = {one.id: one.state for one in service.find(world, "default")}
    assert [ident for ident, state in states.items() if state is not State.EXPIRED] == ["fine"]
    went = service.get(world, "default", "fine")
    assert (went.state, went.decided_by) == (State.GRANTED, "system:approvals")
    assert went.reason == f"Nobody answered in time; ladder refunds, set by {operator.name}, lets it go on."
    assert service.load(world, "default", 1, 5)[1] == []  # nobody decided it
    clock.advance(901)
    assert durable.run_due(world, EXPIRY, "one") == 1  # granted and never used
    assert service.get(world, "default", "fine").state is State.EXPIRED


@SQLITE
def test_a_ladder_that_cannot_be_is_refused(world: World, operator: Actor) -> None:
    allow = {"at_deadline": AtDeadline.ALLOW}
    for wrong in (
        {"name": "Not a name"},
        {"steps": ()},
        {"steps": (Step(5, ("approver",)), Step(5, ("operator",)))},
        {"steps": (Step(0, ()),)},
        {"steps": (Step(0, ("viewer",)),)},
        {"deadline_s": 900},
        {"deadline_s": 8 * 86_400},
        {"reason": " "},
        {**allow, "tools": ()},
        {**allow, "tools": ("shop/*",)},
        {**allow, "policies": ()},
        {**allow, "policies": ("system/approve",)},
    ):
        with pytest.raises(Refused) as caught:
            _ladder(world, operator, **wrong)
        assert caught.value.status == 422
    good = _ladder(world, operator)
    assert checked(good) == good
    with pytest.raises(Refused) as caught:
        escalation.remove(world, operator, "none", "x")
    assert caught.value.status == 404


@SQLITE
def test_a_step_is_told_to_those_whom_it_asks(world: World, operator: Actor, clock: FakeClock) -> None:
    people.add_person(world, operator, "op@example.com", ["operator"])
    people.add_person(world, operator, "cai@example.com", ["approver"])
    url = "smtp://127.0.0.1:25"
    there: dict[str, Any] = {"to": ("asked",), "sender": "t@example.com", "topics": ("approval-escalated",)}
    here = replace(world, config=replace(world.config, notify_private="127.0.0.1"))
    notify.put(here, operator, Destination("default", "mail", Kind.EMAIL, url, **there))
    _ladder(world, operator)
    _held(world)
    for wait, whom in ((0, "cai@example.com"), (300, "op@example.com"), (600, "ann@example.com")):
        clock.advance(wait)
        assert durable.run_due(world, ESCALATION, "one") == 1
        with world.read() as conn:
            told = [one.event for one in events.read(conn, 0) if one.event.type == "approval.escalated"][-1]
        with world.begin() as tx:
            notify.hear(tx, told)
        (item,) = [one for one in notify.deliveries(world, operator) if one.created_at == world.clock()]
        assert (item.address, item.approval) == (whom, "a1")
    assert timedelta(seconds=900) == world.clock() - service.get(world, "default", "a1").requested_at
