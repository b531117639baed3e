"""The facts that policies read: the table is whole, each is what it says, and none of them outlives its truth."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tenure.kernel.errors import Refused
from tenure.kernel.values import Call, CallKind, Effect, LifecycleState, tier_of
from tenure.policy.arguments import BAGS
from tenure.policy.context import FACTS
from tenure.policy.facts import AGENT, CONTEXT, TIERS, TIME, changes_at
from tenure.policy.model import compile_bundle, decide
from tenure.policy.system import POLICY_ERROR
from tests.sim.policy import a_principal, an_agent

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = """@zone("Europe/Berlin") permit(principal, action, resource)
when { context.hour >= 8 && context.hour < 18 && context.weekday < 6 && context.date != 20261225 };"""


def _asked(text: str, at: float = float("inf"), call: Call | None = None, **who: Any) -> Any:
    agent = an_agent(state=who.pop("state", LifecycleState.PRODUCTION))
    call = call or Call("c", CallKind.TOOL, "shop/refund", {"amount": 5})
    return decide(call, a_principal(agent, **who), agent, None, compile_bundle([("f.cedar", text)]), at=at)


def test_every_fact_of_the_schema_is_found_out_and_no_other() -> None:
    assert {fact.name for fact in CONTEXT} == {*FACTS, *BAGS, "approved"}
    assert len({fact.name for fact in (*AGENT, *CONTEXT)}) == len(AGENT) + len(CONTEXT)
    for fact in (*AGENT, *CONTEXT):
        assert fact.meaning
        assert fact.source
        of = "principal" if fact in AGENT else "context"
        assert f"{of}.{fact.name}" in fact.example


@pytest.mark.parametrize("fact", [*AGENT, *CONTEXT], ids=lambda fact: fact.name)
def test_each_example_is_a_policy_that_can_be_asked(fact: Any) -> None:
    zone = '@zone("UTC") ' if fact.name in TIME else ""
    kind = CallKind.LLM if fact.name == "models" else CallKind.AGENT if fact.name == "agents" else CallKind.TOOL
    resource = {CallKind.LLM: "gpt", CallKind.AGENT: "billing"}.get(kind, "shop/refund")
    action = {CallKind.LLM: "call_model", CallKind.AGENT: "call_agent"}.get(kind, "call_tool")
    text = f'{zone}permit(principal, action == Action::"{action}", resource) when {{ {fact.example} }};'
    decision = _asked(text, at=1e9, call=Call("c", kind, resource, {"amount": 5}))
    assert POLICY_ERROR not in decision.policies, decision.reason


@pytest.mark.parametrize(
    ("moment", "effect"),
    [
        ("2026-11-20 08:00", Effect.ALLOW),
        ("2026-11-20 07:59", Effect.DENY),
        ("2026-11-20 18:00", Effect.DENY),
        ("2026-11-21 12:00", Effect.DENY),  # a Saturday
        ("2026-12-25 12:00", Effect.DENY),
        ("2026-07-03 17:59", Effect.ALLOW),  # in summer the same hour is another one in UTC
    ],
)
def test_the_time_is_that_of_the_declared_zone(moment: str, effect: Effect) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=BERLIN).timestamp()
    assert _asked(OFFICE, at).effect is effect


@pytest.mark.asi("ASI10", "An agent that acts outside of its hours is refused, also when it began within them")
@pytest.mark.twin("ASI10")
def test_a_decision_by_the_hour_is_kept_for_the_hour_and_no_longer() -> None:
    bundle, agent = compile_bundle([("f.cedar", OFFICE)]), an_agent()
    call, who = Call("c", CallKind.TOOL, "shop/refund"), a_principal(agent)
    at = datetime(2026, 11, 20, 17, 58, tzinfo=BERLIN).timestamp()
    found = [decide(call, who, agent, None, bundle, at=at + 60 * minute).effect for minute in range(4)]
    assert found == [Effect.ALLOW, Effect.ALLOW, Effect.DENY, Effect.DENY]
    assert len(bundle._known["default/clerk"].memo) == 2
    assert changes_at(at) == at + 120


def test_where_the_moment_is_not_known_what_looks_at_it_denies() -> None:
    for at in (float("inf"), 0.0):
        assert _asked(OFFICE, at).policies == (POLICY_ERROR,)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("permit(principal, action, resource) when { context.hour > 5 };", "by whose clock"),
        ('@zone("Mars/Olympus") permit(principal, action, resource) when { context.hour > 5 };', "no such zone"),
        ('@zone("UTC") permit(principal, action, resource);', "does not look at the time"),
        (OFFICE + '\n@zone("UTC") forbid(principal, action, resource) when { context.hour < 5 };', "one clock"),
        ('permit(principal, action, resource) when { context.tier == "robot" };', "which it never is"),
        ('permit(principal, action, resource) unless { ["prod"].contains(context.environment) };', "never is"),
    ],
)
def test_what_could_never_be_meant_is_a_fault(text: str, fault: str) -> None:
    with pytest.raises(Refused, match=fault):
        compile_bundle([("f.cedar", text)])


@pytest.mark.asi("ASI03", "Who stands behind a call is what its token says, whatever the caller says")
def test_who_stands_behind_a_call_cannot_be_claimed() -> None:
    own = a_principal(an_agent())
    person = replace(own, on_behalf_of="ann@example.com")
    assert [tier_of(replace(own, started=started)) for started in (True, False)] == ["background", "api"]
    assert tier_of(person) == "interactive"
    assert tier_of(replace(person, chain=("broker",))) == "subagent"
    for said in (*TIERS, "nonsense"):
        assert tier_of(own, said) == "api"
        assert tier_of(replace(own, chain=("broker",)), said) == "subagent"
    assert [tier_of(person, said) for said in TIERS] == ["interactive", "background", "background", "api"]


@pytest.mark.req("R032")
@pytest.mark.twin("ASI03")
def test_each_of_the_facts_about_who_and_where_is_seen() -> None:
    def allowed(condition: str, **who: Any) -> bool:
        text = f"permit(principal, action, resource) when {{ {condition} }};"
        return bool(_asked(text, 1e9, **who).effect is Effect.ALLOW)

    assert allowed('context.tier == "interactive"', on_behalf_of="ann@example.com")
    assert not allowed('context.tier == "interactive"', on_behalf_of="ann@example.com", chain=("broker",))
    assert allowed('context.task == "case-7"', task="case-7")
    assert allowed('context.task == ""')
    assert allowed("context.chain_depth == 2", chain=("a", "b"))
    assert allowed('context.release == "r2"', release="r2")
    assert allowed('context.environment == "staging"', state=LifecycleState.STAGING)
    assert allowed('context.environment == "production"', state=LifecycleState.DRAINING)
