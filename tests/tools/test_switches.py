"""Switching tools off: who may, what it reaches, what becomes a fact, and that nothing is lost by a restart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tenure.app.publish import Publisher
from tenure.base import events
from tenure.base.room import World
from tenure.client.cli import console
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Actor, Call, CallKind, Effect, LifecycleState, Role
from tenure.policy.model import compile_bundle, decide, is_violation
from tenure.registry import service as registry
from tenure.tools import service
from tenure.tools.api import router
from tenure.tools.cli import register
from tests.sim.manifests import manifest
from tests.sim.policy import PERMIT, a_principal
from tests.sim.serving import serving

SHOP = {"shop": {"url": "http://shop.test/mcp", "resources": ["doc://*"]}}
OWN = {"store": {"url": "http://shop.test/mcp"}, "files": {"command": ["files", "/srv"]}}

app = typer.Typer()
register(app)


@app.callback()
def _main() -> None:
    """Makes the group of commands a group."""


@pytest.fixture
def shop(world: World, operator: Actor) -> World:
    """Two agents that use one server under one name, and a third that calls it otherwise."""
    for name, servers, tools in (
        ("ann", SHOP, ("shop/refund", "shop/look")),
        ("bob", SHOP, ("shop/refund",)),
        ("cyd", OWN, ("store/refund", "files/refund")),
    ):
        grants = [{"name": tool} for tool in tools]
        registry.apply(world, operator, manifest(name, "http://127.0.0.1:1/v1", servers=servers, tools=grants))
    return world


def _off(world: World) -> set[str]:
    publisher = Publisher(world)
    publisher.refresh()
    found = set()
    for fact in publisher.snapshot.agents.values():
        found |= {f"{fact.name} {tool.server}/{tool.name}" for tool in fact.granted if tool.off}
    return found


@pytest.mark.req("R175")
def test_a_switch_for_all_reaches_the_server_under_whatever_name(shop: World, operator: Actor) -> None:
    done = service.switch_off(shop, operator, "shop/refund", "", "it pays twice")
    assert done.changed
    assert [one.agent for one in done.reached] == ["ann", "bob", "cyd"]
    assert _off(shop) == {"ann shop/refund", "bob shop/refund", "cyd store/refund"}
    assert not service.switch_off(shop, operator, "shop/refund", "", "again").changed
    assert service.switch_on(shop, operator, "shop/refund", "", "mended").changed
    assert _off(shop) == set()
    with shop.read() as connection:
        told = [logged.event for logged in events.read(connection, 0) if logged.event.type.startswith("tool.")]
    assert [(event.type, event.data["reason"]) for event in told] == [
        ("tool.disabled", "it pays twice"),
        ("tool.enabled", "mended"),
    ]
    assert told[0].data["agents"] == ["ann", "bob", "cyd"]


def test_a_switch_for_one_agent_is_its_own_and_a_whole_server_takes_resources_along(
    shop: World, operator: Actor
) -> None:
    service.switch_off(shop, operator, "shop/refund", "bob", "for a while")
    assert _off(shop) == {"bob shop/refund"}
    service.switch_off(shop, operator, "shop/*", "ann", "for a while")
    assert _off(shop) == {"bob shop/refund", "ann shop/refund", "ann shop/look", "ann shop/resources/doc://*"}
    service.switch_off(shop, operator, "files/*", "", "broken")
    assert "cyd files/refund" in _off(shop)
    assert "cyd store/refund" not in _off(shop)


def test_switches_that_overlap_are_taken_back_one_by_one(shop: World, operator: Actor) -> None:
    service.switch_off(shop, operator, "shop/*", "", "all of it")
    service.switch_off(shop, operator, "shop/refund", "bob", "this one")
    assert not service.switch_on(shop, operator, "shop/refund", "ann", "no such switch").changed
    service.switch_on(shop, operator, "shop/*", "", "back")
    assert _off(shop) == {"bob shop/refund"}


@pytest.mark.parametrize(
    ("resource", "agent", "fix"),
    [
        ("shop/refnd", "", "Did you mean shop/refund"),
        ("shop/look", "bob", "shop/"),
        ("shop/refund", "zed", "shop/"),
        ("nobody/*", "", "tenure tools list"),
    ],
)
def test_what_nobody_was_granted_is_no_success(
    shop: World, operator: Actor, resource: str, agent: str, fix: str
) -> None:
    with pytest.raises(Refused) as caught:
        service.switch_off(shop, operator, resource, agent, "a slip")
    assert caught.value.status == 404
    assert fix in caught.value.fix
    assert _off(shop) == set()


@pytest.mark.parametrize("resource", ["shop", "shop/", "/x", "shop/a b", "*/refund", "shop/**", "Shop/x"])
def test_what_is_no_name_of_a_tool_is_refused(shop: World, operator: Actor, resource: str) -> None:
    with pytest.raises(Refused) as caught:
        service.switch_off(shop, operator, resource, "", "a slip")
    assert caught.value.code == "bad_tool"


def test_who_may_and_what_it_takes(shop: World, operator: Actor) -> None:
    for role in (Role.OWNER, Role.AUDITOR, Role.VIEWER):
        with pytest.raises(Refused, match="may not do this"):
            service.switch_off(shop, replace(operator, roles=frozenset({role})), "shop/refund", "", "no")
    with pytest.raises(Refused, match="reason"):
        service.switch_off(shop, operator, "shop/refund", "", "  ")
    other = replace(operator, workspace="other")
    with pytest.raises(Refused, match="No agent was granted"):
        service.switch_off(shop, other, "shop/refund", "", "not theirs")


@pytest.mark.req("R175")
def test_a_switch_decides_before_any_policy_and_is_no_misconduct(shop: World, operator: Actor) -> None:
    def ask(fact: AgentFact, resource: str, *, approved: bool = False) -> Any:
        call, bundle = Call("c", CallKind.TOOL, resource), compile_bundle([("p", PERMIT)])
        return decide(call, a_principal(fact), fact, None, bundle, approved=approved)

    service.switch_off(shop, operator, "shop/refund", "ann", "it pays twice")
    publisher = Publisher(shop)
    publisher.refresh()
    fact = replace(publisher.snapshot.agents["default/ann"], state=LifecycleState.PRODUCTION)
    for approved in (False, True):
        decision = ask(fact, "shop/refund", approved=approved)
        assert (decision.effect, decision.policies) == (Effect.DENY, ("system/tool-disabled",))
        assert decision.reason == "shop/refund is switched off: it pays twice"
        assert not is_violation(decision)
    assert ask(fact, "shop/look").effect is Effect.ALLOW


def test_the_commands(shop: World, operator: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(shop, operator, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        monkeypatch.setattr(console, "width", 200)

        def run(*words: str, code: int = 0) -> str:
            done = CliRunner().invoke(app, ["tools", *words])
            assert done.exit_code == code, done.output
            return done.output

        assert "store/refund" in run("list")
        off = ("disable", "shop/refund", "--reason", "it pays twice")
        assert "--agent NAME or --all" in run(*off, code=2)
        said = run(*off, "--all", code=2)  # nobody is there to confirm it, but what it would do was said
        assert "granted to 3 agents: ann, bob, cyd" in said
        assert "The same server under another name: cyd (store/refund)" in said
        assert "--yes" in said
        assert "shop/refund is disabled for all agents; granted to ann, bob, cyd" in run(*off, "--all", "--yes")
        assert "already disabled" in run(*off, "--all", "--yes")
        listed = json.loads(run("list", "--state", "disabled", "--json"))
        assert {item["resource"] for item in listed} == {"shop/refund", "store/refund"}
        assert "it pays twice (the tool, for all agents)" in run("list", "--agent", "ann")
        assert "enabled" in run("enable", "shop/refund", "--reason", "mended", "--all", "--yes")
        assert json.loads(run("list", "--state", "disabled", "--json")) == []
