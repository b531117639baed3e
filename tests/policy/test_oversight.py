"""The four levels hold whatever the policy files say; of level and policy the stricter wins; boundaries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.kernel.snapshot import PeerGrant, ToolFact
from tenure.kernel.values import Autonomy, Effect, strictest
from tenure.policy.boundary import bounds_of, looks_at, speaks
from tenure.policy.model import compile_bundle, is_violation
from tests.sim.policy import PERMIT, an_agent, ask, with_autonomy

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
