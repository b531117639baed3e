"""What speaks against approving a held call, and who approves it all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tenure.approvals import service
from tenure.approvals.advice import RISKY, against
from tenure.approvals.api import router
from tenure.approvals.model import State
from tenure.base import events
from tenure.base.room import World
from tenure.kernel.values import Actor, Event, Role
from tests.approvals.test_several_people import SQLITE
from tests.sim.api import Api
from tests.sim.clock import FakeClock


def _held(world: World, ident: str, digest: str = "sha256:d", **more: Any) -> None:
    data = {"approval_id": ident, "resource": "shop/refund", "digest": digest, "arguments": {"amount": 500}}
    who = ("default", "agent:clerk", "clerk", "sha256:r")
    with world.begin() as tx:
        service.request(tx, Event(ident, "approval.requested", world.clock(), *who, data=data | more))


def _told(world: World, kind: str) -> list[Event]:
    with world.read() as conn:
        return [logged.event for logged in events.read(conn, 0) if logged.event.type == kind]


def test_what_is_known_speaks_against_a_call_and_what_nobody_saw_does_not() -> None:
    assert against({}, None) == ()
    assert (
        against({"tenure.risk": {"score": RISKY - 1}, "tenure.origin": {"derived": True, "arguments": []}}, None) == ()
    )
    said = against({"tenure.risk": {"score": RISKY}, "tenure.origin": {"arguments": ["to", "note.0"]}}, None)
    assert said == ("its risk is 70 of 100", "arguments are taken from what is not trusted: to, note.0")
    many = against({"tenure.origin": {"arguments": [f"a{number}" for number in range(12)]}}, None)
    assert many[0].endswith("a9 and 2 more")
    assert against({"tenure.risk": "high", "tenure.origin": {"arguments": "to"}}, None) == ()


@pytest.mark.req("R068", "R070")
def test_an_approval_against_the_recommendation_says_who_and_what_it_was(world: World, operator: Actor) -> None:
    facts: dict[str, Any] = {
        "tenure.risk": {"score": 90},
        "tenure.chain": ["desk", "clerk"],
        "tenure.chain.task": "T-1",
    }
    _held(world, "a1", **facts)
    held = service.get(world, "default", "a1")
    assert (held.recommended, held.overruled, held.chain, held.task) == ("reject", False, ("desk", "clerk"), "T-1")
    done = service.decide(world, operator, "a1", True, "the customer is known")
    assert (done.overruled, done.decided_by) == (True, operator.name)
    (event,) = _told(world, "approval.granted")
    assert (event.actor, event.data["recommended"]) == (operator.name, "reject")
    assert event.data["against"] == ["its risk is 90 of 100"]
    _held(world, "a2", **facts)
    assert not service.decide(world, operator, "a2", False, "no").overruled
    _held(world, "a3", "sha256:e")
    assert not service.decide(world, operator, "a3", True).overruled
    assert "recommended" not in _told(world, "approval.granted")[-1].data


@SQLITE
def test_a_no_to_the_same_call_speaks_against_it_for_a_while(world: World, operator: Actor, clock: FakeClock) -> None:
    _held(world, "a1")
    service.decide(world, operator, "a1", False, "paid in cash")
    for ident, digest, expected in (("a2", "sha256:d", True), ("a3", "sha256:other", False)):
        _held(world, ident, digest)
        found = service.get(world, "default", ident)
        assert bool(found.against) is expected
    assert "rejected the same call on" in service.get(world, "default", "a2").against[0]
    assert "paid in cash" in service.get(world, "default", "a2").against[0]
    clock.advance(timedelta(days=31).total_seconds())
    _held(world, "a4")
    assert service.get(world, "default", "a4").against == ()


@SQLITE
def test_the_api_says_whether_whoever_asks_may_approve(world: World, operator: Actor) -> None:
    _held(world, "a1", demands=["approve:approver"], on_behalf_of="op@example.com")
    api = Api(world, router)
    api.actor = replace(operator, roles=frozenset({Role.OPERATOR}))
    assert "a person with the role approver" in api("GET", "/v1/approvals/a1")[1]["refusal"]
    api.actor = operator
    assert api("GET", "/v1/approvals/a1")[1]["refusal"] == ""
    api.actor = replace(operator, name="service:ci")
    assert "is not a person" in api("GET", "/v1/approvals/a1")[1]["refusal"]
    service.decide(world, operator, "a1", False, "no")
    assert service.get(world, "default", "a1").state is State.REJECTED
    assert api("GET", "/v1/approvals/a1")[1]["refusal"] == ""  # nothing is asked any more
