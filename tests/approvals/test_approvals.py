"""One approval for one exact call, decided by a person, used once."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from tenure.approvals import service, store
from tenure.approvals.api import router
from tenure.approvals.flow import EXPIRY
from tenure.approvals.model import GRANT_LIFE, State
from tenure.approvals.react import CONSUMER
from tenure.base import durable, events
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Principal, Role
from tenure.registry import service as registry
from tests.sim.api import Api
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest


def _tell(world: World, kind: str, **data: Any) -> Event:
    """A gateway tells something of agent clerk, and approvals hear it."""
    event = Event(
        id=new_id(),
        type=kind,
        time=world.clock(),
        workspace="default",
        actor="agent:clerk",
        agent="clerk",
        release="sha256:r",
        instance="i1",
        session="s1",
        trace_id="t" * 32,
        span_id="a" * 16,
        parent_span_id="b" * 16,
        policy_version="sha256:p",
        data=data,
    )
    with world.begin() as tx:
        events.append(tx, [event])
    events.consume(world.db, CONSUMER)
    return event


def _held(world: World, ident: str = "a1", **more: Any) -> None:
    data: dict[str, Any] = {
        "approval_id": ident,
        "call_id": "c1",
        "resource": "shop/refund",
        "digest": "sha256:d",
        "arguments": {"amount": 500},
        "reason": "Large refunds need a person.",
        "policies": ["limit"],
        "grounds": "sha256:g",
        "notes": ["amount: stands in what mail/read gave"],
        "justification": "The customer asked for it.",
    }
    _tell(world, "approval.requested", **(data | more))


def _fact(world: World, ident: str = "a1") -> Any:
    with world.read() as connection:
        return service.facts(connection, world.clock()).get(ident)


def _state(world: World, ident: str = "a1") -> State:
    return service.get(world, "default", ident).state


def _told(world: World, kind: str) -> list[Event]:
    with world.read() as connection:
        return [logged.event for logged in events.read(connection, 0) if logged.event.type == kind]


@pytest.mark.req("R063", "R068")
def test_a_held_call_is_approved_and_used_by_exactly_one_call(world: World, operator: Actor, clock: FakeClock) -> None:
    _held(world)
    _held(world)  # told twice
    assert len(service.find(world, "default")) == 1
    fact = _fact(world)
    assert (fact.state, fact.resource, fact.digest, fact.grounds) == (
        "pending",
        "shop/refund",
        "sha256:d",
        "sha256:g",
    )
    clock.advance(20)
    decided = service.decide(world, operator, "a1", True, "agreed with the customer")
    assert decided.state is State.GRANTED
    assert _fact(world).state == "granted"
    _tell(world, "approval.claimed", approval_id="a1", claim="call-1")
    _tell(world, "approval.claimed", approval_id="a1", claim="call-2")
    assert (_fact(world).state, _fact(world).claim) == ("claimed", "call-1")
    clock.advance(601)
    assert _fact(world) is None  # settled long ago: the Snapshot does not grow for ever
    (granted,) = _told(world, "approval.granted")
    assert granted.actor == operator.name
    assert (granted.trace_id, granted.span_id, granted.parent_span_id) == ("t" * 32, "a" * 16, "b" * 16)
    assert granted.data["reason"] == "agreed with the customer"
    assert granted.data["policies"] == ["limit"]


@pytest.mark.asi(
    "ASI09", "Who approves sees the exact arguments and what the agent is for, not what the agent says about them"
)
def test_the_approver_sees_what_exactly_is_asked_and_what_the_agent_is_for(world: World, operator: Actor) -> None:
    spec = {"purpose": "Refunds what customers return", "approvals": {"hold_timeout_s": 60}}
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1", **spec))
    _held(world)
    seen = service.get(world, "default", "a1")
    assert (seen.purpose, seen.arguments, seen.why) == (
        "Refunds what customers return",
        {"amount": 500},
        "Large refunds need a person.",
    )
    assert seen.policies == ("limit",)
    assert seen.expires_at is not None
    assert (seen.expires_at - seen.requested_at).total_seconds() == 60


def test_a_rejection_needs_a_reason_and_is_final(world: World, operator: Actor) -> None:
    _held(world)
    with pytest.raises(Refused, match="needs a reason"):
        service.decide(world, operator, "a1", False, "  ")
    service.decide(world, operator, "a1", False, "not this one")
    with pytest.raises(Refused) as refused:
        service.decide(world, operator, "a1", True)
    assert (refused.value.status, refused.value.code) == (409, "approval_not_pending")
    _tell(world, "approval.claimed", approval_id="a1", claim="call-1")
    assert (_fact(world).state, _fact(world).reason) == ("rejected", "not this one")
    assert len(_told(world, "approval.rejected")) == 1


@pytest.mark.parametrize(
    "actor",
    [
        Actor("default", "agent:clerk", frozenset(), Principal("default", "clerk", "r", "i", "s", 1)),
        Actor("default", "agent:clerk", frozenset({Role.APPROVER})),
        Actor("default", "gateway:local", frozenset({Role.SYSTEM, Role.OPERATOR})),
        Actor("default", "person:v@example.com", frozenset({Role.VIEWER, Role.OWNER, Role.AUDITOR})),
    ],
)
def test_only_a_person_with_the_role_decides(world: World, actor: Actor) -> None:
    _held(world)
    with pytest.raises(Refused) as refused:
        service.decide(world, actor, "a1", True)
    assert refused.value.status == 403
    assert _state(world) is State.PENDING


def test_another_workspace_neither_sees_nor_decides_nor_claims(world: World, operator: Actor) -> None:
    _held(world)
    with pytest.raises(Refused) as refused:
        service.decide(world, replace(operator, workspace="other"), "a1", True)
    assert refused.value.status == 404
    service.decide(world, operator, "a1", True)
    foreign = Event(new_id(), "approval.claimed", world.clock(), "other", "agent:clerk", agent="clerk")
    stranger = Event(new_id(), "approval.claimed", world.clock(), "default", "agent:thief", agent="thief")
    with world.begin() as tx:
        for event in (foreign, stranger):
            service.claim(tx, replace(event, data={"approval_id": "a1", "claim": "c9"}))
    assert _state(world) is State.GRANTED


def test_waiting_ends(world: World, operator: Actor, clock: FakeClock) -> None:
    _held(world, "never-decided")
    _held(world, "never-used")
    service.decide(world, operator, "never-used", True)
    clock.advance(299)
    assert durable.run_due(world, EXPIRY, "h") == 0
    clock.advance(1)
    with pytest.raises(Refused, match="expired"):  # too late, even before the Flow has come round
        service.decide(world, operator, "never-decided", True)
    assert durable.run_due(world, EXPIRY, "h") == 1
    assert durable.run_due(world, EXPIRY, "h") == 0
    assert _fact(world, "never-decided").state == "expired"
    assert _fact(world, "never-used").state == "granted"
    clock.advance(GRANT_LIFE.total_seconds())
    _tell(world, "approval.claimed", approval_id="never-used", claim="late")
    assert _state(world, "never-used") is State.GRANTED
    assert durable.run_due(world, EXPIRY, "h") == 1
    assert _state(world, "never-used") is State.EXPIRED
    assert len(_told(world, "approval.expired")) == 2


def test_many_claims_at_once_have_one_winner(world: World, operator: Actor) -> None:
    _held(world)
    service.decide(world, operator, "a1", True)
    start = threading.Barrier(8)

    def claim(number: int) -> None:
        event = Event(new_id(), "approval.claimed", world.clock(), "default", "agent:clerk", agent="clerk")
        start.wait()
        with world.begin() as tx:
            service.claim(tx, replace(event, data={"approval_id": "a1", "claim": f"call-{number}"}))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = _fact(world).claim
    assert first is not None
    _tell(world, "approval.claimed", approval_id="a1", claim="one-more")
    assert _fact(world).claim == first


def test_two_people_at_once_have_one_answer(world: World, operator: Actor) -> None:
    _held(world)
    start = threading.Barrier(6)
    answers: list[str] = []

    def answer(number: int) -> None:
        start.wait()
        try:
            service.decide(world, operator, "a1", number % 2 == 0, f"person {number}")
            answers.append("done")
        except Refused as refused:
            answers.append(refused.code)

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["approval_not_pending"] * 5 + ["done"]
    assert len(_told(world, "approval.granted")) + len(_told(world, "approval.rejected")) == 1


@pytest.mark.parametrize(
    "broken", [{"approval_id": ""}, {"approval_id": 7}, {"approval_id": "x" * 65}, {"resource": None}, {"digest": ""}]
)
def test_a_request_that_says_too_little_stops_nobody_else(world: World, broken: dict[str, Any]) -> None:
    _held(world, "bad", **broken)
    _held(world, "good", resource="shop/\x00refund", arguments={"text": "\x00"}, policies=None)
    assert [item.id for item in service.find(world, "default")] == ["good"]


def test_the_database_itself_keeps_a_claim_with_its_call(world: World) -> None:
    _held(world)
    with pytest.raises(Exception, match=r"(?i)check"), world.begin() as tx:
        store.change(tx, "a1", State.PENDING, State.CLAIMED)


def test_over_http(world: World, operator: Actor) -> None:
    api = Api(world, router)
    assert api("GET", "/v1/approvals")[0] == 401
    api.actor = operator
    _held(world)
    _held(world, "a2")
    assert [item["id"] for item in api("GET", "/v1/approvals?state=pending&agent=clerk")[1]] == ["a1", "a2"]
    shown = api("GET", "/v1/approvals/a1")[1]
    assert shown["notes"] == ["amount: stands in what mail/read gave"]
    assert shown["justification"] == "The customer asked for it."
    assert (shown["arguments"], shown["policies"], shown["why"]) == (
        {"amount": 500},
        ["limit"],
        "Large refunds need a person.",
    )
    assert api("POST", "/v1/approvals/a1/decision", {"decision": "reject"})[0] == 400
    status, answer = api("POST", "/v1/approvals/a1/decision", {"decision": "approve", "reason": "fine"})
    assert (status, answer["state"], answer["decided_by"]) == (200, "granted", operator.name)
    assert api("POST", "/v1/approvals/a1/decision", {"decision": "approve"})[0] == 409
    assert api("POST", "/v1/approvals/nothing/decision", {"decision": "approve"})[0] == 404
    assert api("POST", "/v1/approvals/a2/decision", {"decision": "maybe"})[0] == 422
    assert [item["id"] for item in api("GET", "/v1/approvals?state=granted")[1]] == ["a1"]
