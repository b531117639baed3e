"""Past calls decided again: by what decided them, with the same result; and by policies that do not run yet."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from tenure.base.room import World
from tenure.gateway.firstuse import FirstUse
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact, Snapshot, ToolFact
from tenure.kernel.values import Actor, Autonomy, CallKind, Effect, Event, LifecycleState, Role
from tenure.policy import service
from tenure.policy.api import router
from tenure.policy.model import compile_bundle
from tenure.policy.past import hindsight
from tenure.policy.past.api import router as past_router
from tenure.policy.past.replay import decide_again, read_past
from tenure.policy.store import How, policy_version
from tenure.policy.words import SCHEMA
from tenure.telemetry import service as telemetry
from tests.sim.api import Api
from tests.sim.policy import PERMIT, a_principal, an_agent
from tests.sim.telemetry import GATEWAY, opened

LIMIT = """
@id("limit") @obligation("approve") @reason("Refunds above 100 need a person.")
forbid(principal, action == Action::"call_tool", resource == Tool::"shop/refund")
unless { context.approved || (context.longs.hasTag("amount") && context.longs.getTag("amount") <= 100) };
@id("bulk") forbid(principal, action == Action::"call_model", resource)
when { context.longs.hasTag("messages") && context.longs.getTag("messages") > 50 };
@id("mine") forbid(principal, action, resource == Tool::"files/delete")
unless { context has on_behalf_of && context.on_behalf_of == "ann@example.com" };
@id("leak") forbid(principal, action, resource == Tool::"shop/list") when { context.findings.contains("secret") };
"""
FILES = (("p.cedar", PERMIT + LIMIT),)
OLDER = (Path(__file__).parent / "schemas" / "older.cedarschema").read_text()
"""The words of an earlier Tenure, as it wrote them."""
SECRET = "AKIAQ3EGWDKZ5YTRB2NV"


class Gateway:
    """The pipeline of a gateway, with the control plane's store at the other end of its spool."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.facts = Facts()
        self.now = world.clock().timestamp()
        spool, seen = Spool(folder, 1 << 20, "test"), FirstUse(folder / "seen")
        self.pipeline = Pipeline(self.facts, spool, seen, lambda: self.now)

    def know(self, agent: AgentFact, files: tuple[tuple[str, str], ...] = FILES, schema: str = SCHEMA) -> None:
        """Facts as they come down, kept first as the publisher does."""
        service.keep_facts(self.world, [agent])
        now = self.world.clock()
        snapshot = Snapshot(version=1, issued_at=now, agents={f"{agent.workspace}/{agent.name}": agent})
        self.facts.replace(snapshot, {"default": compile_bundle(files, schema)})
        self.facts.good_from(self.facts.now())

    def call(self, resource: str, arguments: dict[str, Any], agent: AgentFact, approved: str = "", **who: Any) -> Event:
        """Decides and records one call."""
        kind = CallKind.TOOL if "/" in resource else CallKind.LLM
        principal = a_principal(agent, **who)
        call = self.pipeline.call(kind, resource, arguments, principal, {})
        verdict = self.pipeline.judge(call, principal, approved=bool(approved))
        if approved:
            verdict = msgspec.structs.replace(verdict, approval_id=approved)
        data = {"gen_ai.tool.call.arguments": arguments} if kind is CallKind.TOOL else {}

        async def record() -> Event:  # the spool wants a running loop for its timers
            return self.pipeline.record(call, principal, verdict, self.world.clock(), 1, data)

        event = asyncio.run(record())
        telemetry.ingest(self.world, GATEWAY, [event])
        return event


@pytest.fixture
def gateway(world: World, operator: Actor, tmp_path: Path) -> Iterator[Gateway]:
    with opened(world):
        service.publish(world, operator, FILES, "begin")
        yield Gateway(world, tmp_path / "spool")


@pytest.mark.req("R076")
def test_a_past_decision_is_made_again_with_the_same_result_and_says_why(gateway: Gateway) -> None:
    agent = an_agent()
    gateway.know(agent)
    held = gateway.call("shop/refund", {"amount": 500}, agent)
    gateway.know(replace(agent, purpose="something else", tools=()))  # what is known now is no matter
    found = hindsight.explain(gateway.world, "default", held.id)
    assert (found.same, found.missing) == (True, "")
    assert found.agent == agent
    assert found.again is not None
    assert (found.again.effect, found.again.reason) == (Effect.HOLD, "Refunds above 100 need a person.")
    assert {rule.id: applies for rule, applies in found.rules} == {"tools": True, "limit": True}


@pytest.mark.req("R076")
def test_whatever_was_decided_is_decided_again_alike(gateway: Gateway) -> None:
    pick = random.Random(7)  # noqa: S311 (the same calls each time)
    calls = []
    for number in range(120):
        level = pick.choice(list(Autonomy))
        agent = an_agent(
            tools=(ToolFact("shop", "refund", level), ToolFact("shop", "list"), ToolFact("files", "delete")),
            state=pick.choice([LifecycleState.PRODUCTION, LifecycleState.STAGING]),
            purpose=f"purpose {number % 5}",
        )
        gateway.know(agent)
        resource = pick.choice(["shop/refund", "shop/list", "files/delete", "files/none", "gpt", "other"])
        arguments: dict[str, Any] = pick.choice(
            [{}, {"amount": 100}, {"amount": 101}, {"amount": "101"}, {"amount": 99.5}, {"messages": 51}, {"q": "a"}]
        )
        approved = pick.choice(["", "", "ap1"])
        calls.append(
            gateway.call(resource, arguments, agent, approved, on_behalf_of=pick.choice([None, "ann@example.com"]))
        )
    explained = [hindsight.explain(gateway.world, "default", event.id) for event in calls]
    assert [one.same for one in explained] == [True] * len(calls)
    assert {one.past.decided.effect for one in explained} == set(Effect)
    report = hindsight.replay_candidate(gateway.world, "default", FILES, 1).found
    assert (report.calls, report.changed, report.unknown) == (len(calls), 0, 0)


@pytest.mark.req("R077")
def test_a_candidate_says_which_calls_it_would_have_decided_otherwise(gateway: Gateway) -> None:
    agent, other = an_agent(), an_agent(name="broker")
    for amount, who in ((50, agent), (90, agent), (90, other), (500, agent)):
        gateway.know(who)
        gateway.call("shop/refund", {"amount": amount}, who)
    gateway.know(agent)
    gateway.call("shop/refund", {"amount": 70}, agent, approved="ap1")
    stricter = [("p.cedar", PERMIT + LIMIT.replace("<= 100", "<= 60"))]
    replayed = hindsight.replay_candidate(gateway.world, "default", stricter, 7)
    found = replayed.found
    assert (found.calls, found.changed, found.skipped, found.inexact) == (5, 2, 0, 0)  # the approved one stays approved
    assert dict(found.counts) == {(Effect.ALLOW, Effect.HOLD, "clerk"): 1, (Effect.ALLOW, Effect.HOLD, "broker"): 1}
    assert {change.policies for change in found.changes} == {("limit",)}
    assert hindsight.replay_candidate(gateway.world, "default", stricter, 7, "broker").found.calls == 1
    gateway.world.clock.advance(3 * 86_400)  # type: ignore[attr-defined]  # the tests' clock
    assert hindsight.replay_candidate(gateway.world, "default", stricter, 2).found.calls == 0


def test_what_was_found_is_decided_by_again_though_it_is_not_kept(gateway: Gateway) -> None:
    agent = an_agent()
    gateway.know(agent)
    event = gateway.call("shop/list", {"q": SECRET}, agent)
    with gateway.world.read():
        found = hindsight.explain(gateway.world, "default", event.id)
    assert found.past.decided.policies == ("leak",)
    assert found.past.found.findings[:1] == ("secret",)
    assert (found.past.exact, found.same) == (False, True)
    assert "taken out" in found.missing


def test_what_no_policy_decided_is_not_asked_again(gateway: Gateway) -> None:
    agent = an_agent()
    gateway.know(agent)
    dead = gateway.call("shop/list", {}, agent, credential_epoch=0)
    found = hindsight.explain(gateway.world, "default", dead.id)
    assert (found.same, found.rules) == (None, ())
    assert "standing" in found.missing
    assert hindsight.replay_candidate(gateway.world, "default", FILES, 1).found.skipped == 1


def test_nothing_unknown_is_guessed(gateway: Gateway) -> None:
    agent = an_agent()
    gateway.know(agent)
    event = gateway.call("shop/list", {}, agent)
    lost = replace(event, id="f" * 32, data={**event.data, "tenure.facts": "sha256:gone"})
    telemetry.ingest(gateway.world, GATEWAY, [lost])
    assert hindsight.explain(gateway.world, "default", lost.id).missing == "what was known of its agent is not kept"
    assert hindsight.replay_candidate(gateway.world, "default", FILES, 1).found.unknown == 1
    with pytest.raises(Refused, match="No decided call"):
        hindsight.explain(gateway.world, "elsewhere", event.id)
    for days in (0, -1, 91):
        with pytest.raises(Refused, match="looked back"):
            hindsight.replay_candidate(gateway.world, "default", FILES, days)


def _published_then(gateway: Gateway, operator: Actor, text: str, schema: str) -> str:
    """Policies as a Tenure with these words published them, and a gateway of that time."""
    files = (("p.cedar", text),)
    checked = service.Checked(files, compile_bundle(files, schema), ())
    version = service._run(gateway.world, operator, "default", checked, how=How.PUBLISH, reason="before").version
    gateway.know(an_agent(), files, schema)
    return version


@pytest.mark.req("R076")
def test_a_decision_of_before_an_upgrade_is_made_again_with_the_same_result(gateway: Gateway, operator: Actor) -> None:
    agent, world = an_agent(), gateway.world
    version = _published_then(gateway, operator, PERMIT + LIMIT, OLDER)
    calls = [
        gateway.call(resource, given, agent, **who)
        for resource, given, who in (
            ("shop/refund", {"amount": 500}, {}),
            ("shop/refund", {"amount": 50}, {}),
            ("shop/list", {"q": SECRET}, {}),
            ("files/delete", {}, {"on_behalf_of": "ann@example.com"}),
            ("files/delete", {}, {}),
        )
    ]
    service.refresh(world, operator)  # the newer program starts
    newest = service.history(world, "default")[0]
    assert (newest.how, newest.before, newest.version != version) == (How.UPGRADE, version, True)
    assert service.version_schema(world, "default", version) == OLDER
    assert service.version_schema(world, "default", newest.version) == SCHEMA
    gateway.know(agent, FILES)
    after = gateway.call("shop/refund", {"amount": 500}, agent)
    explained = [hindsight.explain(world, "default", event.id) for event in calls]
    assert [(one.same, one.words, one.missing.partition(":")[0]) for one in explained] == [
        (True, "kept", "its arguments are not whole any more" if index == 2 else "") for index in range(5)
    ]
    assert {one.again.policy_version for one in explained if one.again} == {version}
    assert {one.again.effect for one in explained if one.again} == set(Effect)
    assert hindsight.explain(world, "default", after.id).words == "current"
    replayed = hindsight.replay_candidate(world, "default", FILES, 1).found
    assert (replayed.calls, replayed.changed, replayed.unknown) == (6, 0, 0)
    api = Api(world, router, past_router)
    api.actor = operator
    assert api("GET", f"/v1/decisions/{calls[0].id}")[1]["words"] == "kept"
    assert api("GET", f"/v1/policies/versions/{version}/schema")[1]["cedar"] == OLDER.strip() + "\n"
    with world.begin() as tx:  # as it was kept before words were
        tx.execute(policy_version.update().values(schema=""))
    assert hindsight.explain(world, "default", calls[0].id).missing.startswith("its policies are not kept")


@pytest.mark.req("R076")
def test_what_looks_at_something_that_is_not_known_any_more_is_not_guessed(gateway: Gateway, operator: Actor) -> None:
    other = OLDER.replace("spent_usd: Long", "spent_usd: String").replace(
        "owner: String,", "owner: String,\n  team: String,"
    )
    assert other.count("team: String") == 1
    rules = '@id("team") forbid(principal, action, resource == Tool::"shop/list") when { principal.team == "a" };'
    rules += '@id("rich") forbid(principal, action, resource == Model::"gpt") when { context.spent_usd == "a" };'
    _published_then(gateway, operator, PERMIT + rules, other)
    free = gateway.call("files/delete", {}, an_agent())
    calls = [  # which that program could decide
        replace(free, id=name * 32, data={**free.data, "tenure.resource": resource, "tenure.kind": kind})
        for name, resource, kind in (("a", "shop/list", "tool"), ("b", "gpt", "llm"))
    ]
    telemetry.ingest(gateway.world, GATEWAY, calls)
    service.refresh(gateway.world, operator)
    first, second, third = (hindsight.explain(gateway.world, "default", event.id) for event in (*calls, free))
    assert (first.again, second.again) == (None, None)
    assert "look at principal.team, which this Tenure does not know" in first.missing
    assert "look at context.spent_usd, which this Tenure does not know" in second.missing
    assert (third.same, third.words) == (True, "kept")


@pytest.mark.req("R076")
def test_an_explanation_names_the_link_and_its_template(gateway: Gateway, operator: Actor) -> None:
    limit = '@id("cap") forbid(principal == ?principal, action, resource == Tool::"shop/list");'
    link = {"templateId": "cap", "newId": "clerk-cap", "values": {"?principal": {"type": "Agent", "id": "clerk"}}}
    files = (("p.cedar", PERMIT + limit), ("l.links.json", json.dumps({"templateLinks": [link]})))
    service.publish(gateway.world, operator, files, "a template")
    agent = an_agent()
    gateway.know(agent, files)
    denied = gateway.call("shop/list", {}, agent)
    api = Api(gateway.world, router, past_router)
    api.actor = operator
    status, explained = api("GET", f"/v1/decisions/{denied.id}")
    assert (status, explained["same"], explained["decided"]["policies"]) == (200, True, ["clerk-cap"])
    told = next(rule for rule in explained["rules"] if rule["determined"])
    assert (told["template"], told["filled"]) == ("cap", {"?principal": 'Agent::"clerk"'})
    without = [("p.cedar", PERMIT + limit)]
    assert hindsight.replay_candidate(gateway.world, "default", without, 1).found.changed == 1


def test_over_http(gateway: Gateway, operator: Actor) -> None:
    agent = an_agent()
    gateway.know(agent)
    event = gateway.call("shop/refund", {"amount": 500}, agent)
    api = Api(gateway.world, router, past_router)
    assert api("GET", f"/v1/decisions/{event.id}")[0] == 401
    api.actor = operator
    status, explained = api("GET", f"/v1/decisions/{event.id}")
    assert (status, explained["same"], explained["decided"]["effect"]) == (200, True, "hold")
    assert [rule["id"] for rule in explained["rules"] if rule["determined"]] == ["limit"]
    body = {"files": [{"name": "p.cedar", "text": PERMIT}], "days": 1}
    status, replayed = api("POST", "/v1/policies/replay", body)
    assert (status, replayed["counts"]) == (
        200,
        [{"before": "hold", "after": "allow", "agent": "clerk", "calls": 1}],
    )
    body["files"] = [{"name": "p.cedar", "text": "permit("}]
    assert api("POST", "/v1/policies/replay", body)[0] == 422


@pytest.mark.req("R076")
def test_work_that_was_handed_on_is_decided_again_with_its_chain() -> None:
    told = {"effect": "deny", "policies": ["boss"]}
    data = {"tenure.decision": told, "tenure.resource": "shop/refund", "tenure.kind": "tool"}
    text = PERMIT + '@id("boss") forbid(principal, action, resource) when { context.chain.contains("boss") };'
    bundle, agent, at = compile_bundle([("p.cedar", text)]), an_agent(), datetime(2026, 1, 1, tzinfo=UTC)

    def again(**more: Any) -> Any:
        past = read_past("c", at, "clerk", "s", msgspec.json.encode(data | more).decode())
        assert past is not None
        return decide_again(past, agent, bundle)

    assert again(**{"tenure.chain": ["boss", "clerk"]}).policies == ("boss",)
    assert again(**{"tenure.chain": ["other", "clerk"]}).effect is Effect.ALLOW
    assert again().effect is Effect.ALLOW


@pytest.mark.req("R076")
def test_when_and_by_whom_a_call_was_made_is_kept_with_its_decision(gateway: Gateway) -> None:
    text = """@id("night") @zone("Europe/Berlin") forbid(principal, action, resource == Tool::"shop/refund")
        when { context.hour >= 18 || context.tier == "background" };
        @id("task") forbid(principal, action, resource == Tool::"shop/list")
        when { context.task == "case-7" || context.release == "sha256:0" || context.chain_depth > 1 };"""
    files = (("p.cedar", PERMIT + text),)
    service.publish(gateway.world, Actor("default", "person:op@example.com", frozenset({Role.OPERATOR})), files, "time")
    agent, berlin = an_agent(), ZoneInfo("Europe/Berlin")
    gateway.know(agent, files)
    found = []
    for hour, who in ((17, {}), (18, {}), (17, {"started": True}), (18, {"on_behalf_of": "ann@example.com"})):
        at = datetime(2026, 2, 28, hour, 59, 59, tzinfo=berlin).timestamp()
        gateway.now = at
        found.append(gateway.call("shop/refund", {}, agent, **who))
    told = ({"task": "case-7"}, {"release": "sha256:0"}, {"task": "case-8"})
    found += [gateway.call("shop/list", {}, agent, **who) for who in told]
    effects = [event.data["tenure.decision"]["effect"] for event in found]
    assert effects == ["allow", "deny", "deny", "deny", "deny", "deny", "allow"]
    assert [event.data["tenure.tier"] for event in found[:4]] == ["api", "api", "background", "interactive"]
    explained = [hindsight.explain(gateway.world, "default", event.id) for event in found]
    assert [one.same for one in explained] == [True] * len(found)


@pytest.mark.req("R076")
def test_without_its_content_a_decision_is_made_again_where_no_policy_read_it_and_refused_where_one_did(
    gateway: Gateway,
) -> None:
    agent = an_agent()
    gateway.know(agent)
    listed, held = (gateway.call(name, {"amount": 500}, agent) for name in ("shop/list", "shop/refund"))
    cut = gateway.call("shop/refund", {"amount": 500, "note": "n" * 9}, agent)
    for event, more in ((listed, {}), (held, {}), (cut, {"truncated": True, "bytes": 1, "json": "{"})):
        data = {name: value for name, value in event.data.items() if name != "gen_ai.tool.call.arguments"}
        data |= {"gen_ai.tool.call.arguments": more} if more else {}
        telemetry.ingest(gateway.world, GATEWAY, [replace(event, id=event.id[::-1], data=data)])

    def again(event: Event) -> tuple[bool | None, str]:
        found = hindsight.explain(gateway.world, "default", event.id[::-1])
        return found.same, found.missing

    assert again(listed) == (True, "")
    why = "its arguments are not kept, and policies in its scope read amount"
    assert again(held) == (None, why)
    assert again(cut) == (None, why)
    assert hindsight.explain(gateway.world, "default", held.id).same
    found = hindsight.replay_candidate(gateway.world, "default", FILES, 1).found
    assert found.inexact == 3
