"""The four levels hold whatever the policy files say; of level and policy the stricter wins; boundaries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.gateway.confidence import HEADER, percent, with_stated
from tenure.kernel.snapshot import ModelFact, PeerGrant, ToolFact, Upstream
from tenure.kernel.values import Autonomy, Call, CallKind, Decision, Effect, strictest
from tenure.policy.boundary import bounds_of, looks_at, speaks
from tenure.policy.model import compile_bundle, decide, is_violation
from tests.sim.policy import PERMIT, a_principal, an_agent, ask, with_autonomy

FORBID = '@id("veto") forbid(principal, action, resource);'
ASK = '@id("ask") @obligation("approve") forbid(principal, action, resource) unless { context.approved };'
LOOSE = 'permit(principal, action, resource) when { context.autonomy == "human_only" };'
_STRICT = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}
_ALONE = {
    (Autonomy.AUTONOMOUS, False): Effect.ALLOW,
    (Autonomy.NOTIFY, False): Effect.ALLOW,
    (Autonomy.APPROVE, False): Effect.HOLD,
    (Autonomy.HUMAN_ONLY, False): Effect.DENY,
    (Autonomy.AUTONOMOUS, True): Effect.ALLOW,
    (Autonomy.NOTIFY, True): Effect.ALLOW,
    (Autonomy.APPROVE, True): Effect.ALLOW,
    (Autonomy.HUMAN_ONLY, True): Effect.DENY,
}


@pytest.mark.req("R060", "R078")
@given(st.sampled_from(list(Autonomy)), st.sampled_from(["", FORBID, ASK, LOOSE]), st.booleans())
def test_of_level_and_policy_the_stricter_wins(level: Autonomy, text: str, approved: bool) -> None:
    bundle = compile_bundle([("p.cedar", PERMIT + text)])
    policy = ask(bundle, approved=approved).effect
    both = ask(bundle, agent=with_autonomy(level), approved=approved)
    assert both.effect is max(policy, _ALONE[level, approved], key=_STRICT.__getitem__)
    assert not (level is Autonomy.HUMAN_ONLY and policy is not Effect.DENY and is_violation(both))
    assert ("notify" in both.obligations) == (level is Autonomy.NOTIFY and both.effect is not Effect.DENY)


@pytest.mark.req("R060")
def test_a_precedent_stands_for_the_approval_that_the_level_asks_for_and_for_no_stricter_level() -> None:
    made = """@id("small") @obligation("precedent") @expires("2100-01-01T00:00:00Z") @lifts("system/approve")
    @arguments("amount")
    permit(principal == Agent::"clerk", action == Action::"call_tool", resource == Tool::"shop/refund")
    when { context.longs.hasTag("amount") && context.longs.getTag("amount") <= 50 };"""
    bundle = compile_bundle([("p.cedar", PERMIT + made)])
    held = with_autonomy(Autonomy.APPROVE)
    small = ask(bundle, arguments={"amount": 50}, agent=held, at=0.0)
    assert (small.effect, small.policies) == (Effect.ALLOW, ("small", "tools"))
    assert ask(bundle, arguments={"amount": 51}, agent=held, at=0.0).policies == ("system/approve",)
    assert ask(bundle, arguments={"amount": 50}, agent=held).effect is Effect.HOLD  # it has ended
    never = ask(bundle, arguments={"amount": 50}, agent=with_autonomy(Autonomy.HUMAN_ONLY), at=0.0)
    assert never.policies == ("system/human-only",)


@given(st.lists(st.sampled_from(list(Autonomy)), min_size=1, max_size=4))
def test_the_strictest_of_some_levels_is_one_of_them_and_adding_one_never_relaxes(levels: list[Autonomy]) -> None:
    order = list(Autonomy)
    assert strictest(*levels) in levels
    assert all(order.index(strictest(*levels)) >= order.index(one) for one in levels)


@pytest.mark.req("R071", "R078")
def test_a_boundary_says_what_may_proceed_needs_approval_or_must_stop_and_what_else_is_looked_at() -> None:
    limit = """
    @id("large") @obligation("approve") @reason("Large ones need a person.")
    forbid(principal, action == Action::"call_tool", resource == Tool::"shop/refund")
    unless { context.approved || (context.longs.hasTag("amount") && context.longs.getTag("amount") <= 100) };
    @id("never") forbid(principal, action, resource == Tool::"files/delete");
    """
    tools = (ToolFact("shop", "refund"), ToolFact("shop", "list", Autonomy.APPROVE), ToolFact("files", "delete"))
    agent = replace(an_agent(tools=tools), agents=(PeerGrant("helper"),))
    found = {one.resource: one for one in bounds_of(agent, compile_bundle([("p.cedar", PERMIT + limit)]), 0.0)}
    assert {name: one.decision.effect for name, one in found.items()} == {
        "shop/refund": Effect.ALLOW,
        "shop/list": Effect.HOLD,
        "files/delete": Effect.DENY,
        "helper": Effect.DENY,  # no policy permits calls of agents here
        "gpt": Effect.ALLOW,
    }
    (rule,) = found["shop/refund"].further
    assert (rule.id, speaks(rule), looks_at(rule)) == ("large", "approval", ("amount",))
    assert found["shop/list"].decision.policies == ("system/approve",)
    assert found["files/delete"].decision.policies == ("never",)


_ORDER = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}
_SAYS = [
    "",
    "@id('low') forbid(principal, action, resource) when { context has confidence && context.confidence < 30 };",
    """@id('ask') @obligation('approve') forbid(principal, action, resource)
    when { context has confidence && context.confidence < 70 } unless { context.approved };""",
    "@id('must') forbid(principal, action, resource) unless { context has confidence && context.confidence > 90 };",
    "@id('bold') permit(principal, action, resource) when { context has confidence && context.confidence > 90 };",
]


@pytest.mark.req("R061", "R067")
@given(
    st.sampled_from(_SAYS),
    st.booleans(),
    st.integers(0, 100),
    st.integers(0, 100),
    st.sampled_from(list(Autonomy)),
    st.booleans(),
    st.booleans(),
)
def test_what_an_agent_states_of_its_confidence_only_ever_tightens(  # noqa: PLR0917 (one draw of everything that matters)
    text: str, granted: bool, confidence: int, below: int, level: Autonomy, approved: bool, memoise: bool
) -> None:
    bundle = compile_bundle([("p.cedar", (PERMIT if granted else "") + text.replace("'", '"'))])
    bundle = replace(bundle, memoise=memoise)
    agent = an_agent(tools=(ToolFact("shop", "refund", level, ask_below=below),))

    def decided(stated: int | None) -> Decision:
        call = Call("c", CallKind.TOOL, "shop/refund", confidence=stated)
        return decide(call, a_principal(agent), agent, None, bundle, approved=approved)

    silent, stated = decided(None), decided(confidence)
    assert _ORDER[stated.effect] >= _ORDER[silent.effect]
    assert decided(None) == silent
    assert decided(confidence) == stated
    if confidence < below and silent.effect is not Effect.DENY and not approved:
        assert stated.effect is not Effect.ALLOW
        assert stated.effect is Effect.DENY or "system/confidence" in stated.policies


@pytest.mark.req("R067")
def test_low_confidence_asks_a_person_for_guidance() -> None:
    agent = an_agent(tools=(ToolFact("shop", "refund", ask_below=70),))
    bundle = compile_bundle([("p.cedar", PERMIT)])

    def decided(stated: int, *, approved: bool = False) -> Decision:
        call = Call("c", CallKind.TOOL, "shop/refund", confidence=stated)
        return decide(call, a_principal(agent), agent, None, bundle, approved=approved)

    assert decided(70).effect is Effect.ALLOW
    low = decided(40)
    assert (low.effect, low.policies, low.obligations) == (Effect.HOLD, ("system/confidence",), ("approve",))
    assert low.reason == "The agent is 40 % sure of this and asks for guidance below 70 %."
    assert decided(40, approved=True).effect is Effect.ALLOW
    assert decided(0).effect is Effect.HOLD
    assert decided(90).effect is Effect.ALLOW, "no decision is kept for another confidence"
    assert ask(bundle, agent=agent).effect is Effect.ALLOW


@pytest.mark.req("R061", "R067")
def test_agents_and_models_have_their_own_thresholds() -> None:
    agent = replace(
        an_agent(tools=(ToolFact("shop", "refund"),)),
        agents=(PeerGrant("helper", ask_below=60), PeerGrant("clerk")),
        models=(ModelFact("big", Upstream("http://x/v1"), ask_below=30), ModelFact("small", Upstream("http://x/v1"))),
    )
    bundle = compile_bundle([("p.cedar", "permit (principal, action, resource);")])

    def decided(kind: CallKind, name: str, stated: int) -> Effect:
        call = Call("c", kind, name, confidence=stated)
        return decide(call, a_principal(agent), agent, None, bundle).effect

    assert decided(CallKind.AGENT, "helper", 59) is Effect.HOLD
    assert decided(CallKind.AGENT, "helper", 60) is Effect.ALLOW
    assert decided(CallKind.AGENT, "clerk", 0) is Effect.ALLOW
    assert decided(CallKind.LLM, "big", 29) is Effect.HOLD
    assert decided(CallKind.LLM, "big", 30) is Effect.ALLOW
    assert decided(CallKind.LLM, "small", 0) is Effect.ALLOW


@pytest.mark.parametrize(
    ("stated", "percents"),
    [("0.4", 40), ("0.29", 29), ("1", 100), ("7", 100), ("-1", 0), ("nan", 0), ("inf", 100), ("very", 0), ("", 0)],
)
def test_a_statement_is_read_as_a_number_or_counts_as_none(stated: str, percents: int) -> None:
    assert percent(stated) == percents
    assert percent(with_stated({HEADER: "0.5"}, stated)[HEADER]) == min(50, percents)
    assert with_stated({"a": "b"}, None) == {"a": "b"}
