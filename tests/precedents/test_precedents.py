"""Rules made from approvals: what they let go on, who puts them in force, and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tenure.approvals import service as approvals
from tenure.base import events
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.json import digest
from tenure.kernel.values import Actor, Call, CallKind, Effect, Event, Role
from tenure.policy import service as policies
from tenure.policy.model import compile_bundle, decide
from tenure.policy.room import ROOM as POLICY
from tenure.precedents import service
from tenure.precedents.api import router
from tenure.precedents.cli import register
from tenure.precedents.model import State, Terms
from tenure.registry import service as registry
from tenure.registry.model import agent_fact
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest
from tests.sim.policy import PERMIT, a_principal
from tests.sim.serving import serving
from tests.sim.telemetry import opened

FILES = (
    (
        "p.cedar",
        PERMIT
        + """
@id("ask") @obligation("approve") @reason("Refunds need a person.")
forbid(principal, action, resource) when { context.autonomy == "approve" } unless { context.approved };
@id("never") forbid(principal, action, resource)
when { context.decimals.hasTag("amount") && context.decimals.getTag("amount").greaterThan(decimal("1000.0")) };
""",
    ),
)
CALL: dict[str, Any] = {
    "amount": 40,
    "currency": "EUR",
    "to": {"na.me": 'Ann "A" Böll', "new": False},
    "rate": 1.25,
    "lines": ["a"],
}
TERMS = Terms({"amount": "50"}, ("lines.0",), 30, "Small refunds are fine.")
ANN = Actor("default", "person:ann@example.com", frozenset({Role.APPROVER}))


@pytest.fixture(autouse=True)
def _running(world: World, operator: Actor) -> None:
    policies.publish(world, operator, FILES, "begin")
    servers = {"shop": {"command": ["shop"]}}
    tools = [{"name": "shop/refund", "autonomy": "approve"}]
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1", servers=servers, tools=tools))


def _approved(world: World, arguments: dict[str, Any], ident: str = "a1", **more: Any) -> str:
    data = {
        "approval_id": ident,
        "call_id": "c1",
        "resource": "shop/refund",
        "digest": digest(arguments),
        "arguments": arguments,
        "reason": "Refunds need a person.",
        "policies": ["ask", "system/approve"],
    }
    with world.begin() as tx:
        event = Event(ident, "approval.requested", world.clock(), "default", "agent:clerk", "clerk", data=data | more)
        approvals.request(tx, event)
    approvals.decide(world, ANN, ident, True)
    return ident


def _effect(world: World, **changes: Any) -> Effect:
    """What a gateway decides now on the approved call, changed a little."""
    with world.read() as connection:
        agent = agent_fact(registry.the_agent(connection, "default", "clerk"))
    agent = replace(agent, state=agent.state.PRODUCTION)
    bundle = compile_bundle(policies.policies_of(policies.show(world, "default").files))
    call = Call("c", CallKind.TOOL, "shop/refund", {**CALL, **changes})
    return decide(call, a_principal(agent), agent, None, bundle, at=world.clock().timestamp()).effect


def _published(world: World, operator: Actor, terms: Terms = TERMS) -> str:
    ident = service.propose(world, ANN, _approved(world, CALL), terms).precedent.id
    service.publish(world, operator, ident, "agreed")
    return ident


def _told(world: World) -> list[str]:
    with world.read() as connection:
        return [one.event.type for one in events.read(connection, 0) if one.event.type.startswith("precedent.")]


@pytest.mark.req("R065", "R073")
def test_always_for_this_agent_this_tool_up_to_50_for_30_days(world: World, operator: Actor, clock: FakeClock) -> None:
    drawn = service.propose(world, ANN, _approved(world, CALL), TERMS)
    assert drawn.faults == ()
    assert [name for name, _ in drawn.files][1:] == [name for name, _ in drawn.precedent.files]
    assert _effect(world) is Effect.HOLD  # a proposal changes nothing
    with pytest.raises(Refused, match="may not"):  # an approver may only propose
        service.publish(world, ANN, drawn.precedent.id, "mine")
    before = policies.show(world, "default").version
    assert service.publish(world, operator, drawn.precedent.id, "agreed").state is State.PUBLISHED
    load = policies.history(world, "default")[0]
    assert (load.before, load.actor, drawn.precedent.id in load.reason) == (before, operator.name, True)
    assert [_effect(world, amount=amount) for amount in (0, 50, 50.0, 12.5)] == [Effect.ALLOW] * 4
    assert [_effect(world, amount=amount) for amount in (51, 50.01, -1, None)] == [Effect.HOLD] * 4
    assert _effect(world, lines=["anything"]) is Effect.ALLOW
    others: tuple[dict[str, Any], ...] = (
        {"currency": "USD"}, {"rate": 1.5}, {"lines": ["a", "b"]}, {"lines": []}, {"note": "x"},
        {"to": {"na.me": "Eve", "new": False}}, {"to": {"na.me": 'Ann "A" Böll', "new": True}},
    )  # fmt: skip
    for other in others:
        assert _effect(world, **other) is Effect.HOLD, other
    assert _effect(world, amount=1001) is Effect.DENY
    clock.advance(30 * 86_400 - 1)
    assert _effect(world) is Effect.ALLOW
    clock.advance(1)
    assert _effect(world) is Effect.HOLD  # before any flow has come by


@pytest.mark.req("R065")
def test_it_is_revoked_at_once_and_does_not_come_back_with_an_old_version(world: World, operator: Actor) -> None:
    ident = _published(world, operator)
    version = policies.show(world, "default").version or ""
    assert service.revoke(world, ANN, ident, "not any more").state is State.REVOKED
    assert _effect(world) is Effect.HOLD
    policies.rollback(world, operator, version, "oh dear")
    with world.read() as connection:
        assert service.adrift(connection, world.clock()) == ["default"]
    assert service.settle(world, "default")
    assert _effect(world) is Effect.HOLD
    with world.read() as connection:
        assert service.adrift(connection, world.clock()) == []
    assert not service.settle(world, "default")
    with pytest.raises(Refused, match="does not wait"):
        service.revoke(world, ANN, ident, "again")
    assert _told(world) == ["precedent.proposed", "precedent.published", "precedent.revoked"]


@pytest.mark.req("R065")
def test_it_stays_over_new_policies_as_long_as_its_tests_pass_and_ends_by_itself(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    ident = _published(world, operator)
    more = ("more.cedar", '@id("more") permit(principal, action, resource == Model::"gpt");')
    policies.publish(world, operator, (*FILES, more), "more")
    assert _effect(world) is Effect.HOLD
    assert service.settle(world, "default")
    assert _effect(world) is Effect.ALLOW
    strict = FILES[0][1] + '@id("strict") forbid(principal, action, resource == Tool::"shop/refund");'
    policies.publish(world, operator, (("p.cedar", strict),), "stricter")
    assert service.settle(world, "default")
    stopped = service.get(world, "default", ident).precedent
    assert (stopped.state, "the approved call goes on" in stopped.problem) == (State.STOPPED, True)
    policies.publish(world, operator, FILES, "back")
    second = service.propose(world, ANN, _approved(world, CALL, "a2"), replace(TERMS, days=1)).precedent.id
    service.publish(world, operator, second, "agreed")
    clock.advance(timedelta(days=1).total_seconds())
    with world.read() as connection:
        assert service.adrift(connection, world.clock()) == ["default"]
    assert service.settle(world, "default")
    assert service.get(world, "default", second).precedent.state is State.EXPIRED
    assert policies.show(world, "default").files == FILES
    assert _told(world)[-1] == "precedent.expired"


def test_none_is_in_force_while_the_tests_of_the_policies_fail(world: World, operator: Actor) -> None:
    ident = _published(world, operator)
    wrong = "tests: [{name: wrong, tool: shop/refund, expect: deny}]"
    policies.amend(world, operator, (*FILES, ("p.test.yaml", wrong)), "as a rollback does")
    assert not service.settle(world, "default")
    assert (_effect(world), service.get(world, "default", ident).precedent.state) == (Effect.HOLD, State.PUBLISHED)
    policies.publish(world, operator, FILES, "mended")
    service.settle(world, "default")
    assert _effect(world) is Effect.ALLOW


def test_who_may_do_what(world: World, operator: Actor) -> None:
    approval = _approved(world, CALL)
    ci = Actor("default", "service:ci", frozenset({Role.OPERATOR, Role.APPROVER}))
    viewer = Actor("default", "person:v@example.com", frozenset({Role.VIEWER}))
    for actor in (ci, viewer):
        with pytest.raises(Refused, match="may not"):
            service.propose(world, actor, approval, TERMS)
    ident = service.propose(world, operator, approval, TERMS).precedent.id
    with pytest.raises(Refused, match="a person publishes it"):
        service.publish(world, ci, ident, "by a program")
    two = replace(world, config=replace(world.config, four_eyes="default"))
    with pytest.raises(Refused, match="somebody else publishes"):
        service.publish(two, operator, ident, "alone")
    with pytest.raises(Refused) as refused:
        service.get(world, "elsewhere", ident)
    assert refused.value.status == 404
    assert service.revoke(world, ANN, ident, "no").state is State.DROPPED
    with pytest.raises(Refused, match="does not wait"):
        service.publish(world, operator, ident, "yes")


def test_terms_that_do_not_fit_the_call_are_refused(world: World) -> None:
    approval = _approved(world, CALL)
    for terms, code in (
        (replace(TERMS, up_to={"amount": "39"}), "bad_terms"),  # less than what was approved
        (replace(TERMS, up_to={"currency": "50"}), "bad_terms"),
        (replace(TERMS, up_to={"amount": "Infinity"}), "bad_terms"),
        (replace(TERMS, up_to={"amount": "50.00001"}), "bad_terms"),
        (replace(TERMS, up_to={"colour": "5"}), "bad_terms"),
        (replace(TERMS, free=("amount",)), "bad_terms"),  # bounded and free at once
        (replace(TERMS, days=91), "bad_terms"),
        (replace(TERMS, reason=" "), "reason_needed"),
    ):
        with pytest.raises(Refused) as refused:
            service.propose(world, ANN, approval, terms)
        assert refused.value.code == code


def test_what_no_rule_can_be_made_from(world: World) -> None:
    for arguments, more, code in (
        ({"amount": 1e-9}, {}, "bad_terms"),
        ({"a b": 1}, {}, "bad_terms"),
        ({"amount": 1}, {"digest": "sha256:0"}, "not_exact"),  # something was taken out before it was kept
        ({"amount": 1}, {"policies": ["other"]}, "precedent_unsound"),  # not what holds it now
    ):
        ident = f"x{digest([arguments, more])[-8:]}"
        approval = _approved(world, arguments, ident, **more)
        with pytest.raises(Refused) as refused:
            service.propose(world, ANN, approval, Terms({}, (), 1, "x"))
        assert refused.value.code == code, arguments
    data = {"approval_id": "w", "resource": "shop/refund", "digest": "d"}
    with world.begin() as tx:
        event = Event("w", "approval.requested", world.clock(), "default", "agent:clerk", "clerk", data=data)
        approvals.request(tx, event)
    with pytest.raises(Refused, match="was not given"):
        service.propose(world, ANN, "w", TERMS)
    assert service.find(world, "default") == []


app = typer.Typer()
register(app)


@app.callback()
def _main() -> None:
    """Makes the group of commands a group."""


@pytest.fixture
def run(world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    assert POLICY.router is not None
    with opened(world), serving(world, operator, router, POLICY.router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        yield lambda *words: CliRunner().invoke(app, ["precedents", *words])


def test_from_an_approval_to_a_rule_and_back_on_the_command_line(world: World, run: Any) -> None:
    assert "There are none" in run("list").stdout
    approval = _approved(world, CALL)
    terms = ("--up-to", "amount=50", "--free", "lines.0", "--reason", "small ones")
    assert run("propose", approval, "--up-to", "amount", "--reason", "x").exit_code == 2
    assert "+ @lifts" in run("propose", approval, *terms).stdout  # shown first; nobody is there to say yes
    assert "There are none" in run("list").stdout
    ident = json.loads(run("propose", approval, *terms, "--yes", "--json").stdout)["id"]
    shown = run("show", ident).stdout
    assert '+   context.decimals.getTag("amount").lessThanOrEqual(decimal("50.0000")) &&' in shown
    assert "0 recorded calls of clerk in 7 days: 0 would have come out otherwise" in shown
    assert f"published: precedent/{ident}" in run("publish", ident, "--reason", "agreed", "--yes").stdout
    assert "amount up to 50" in run("list").stdout
    assert f"revoked: precedent/{ident}" in run("revoke", ident, "--reason", "enough").stdout
