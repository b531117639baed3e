"""Policies that end by themselves, and precedents: made from a person's approval, for what that approval was for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tenure.gateway.firstuse import FirstUse
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.gateway.verdict import NoLongerAllowed
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import Snapshot
from tenure.kernel.values import Autonomy, Call, CallKind, Effect
from tenure.policy import service
from tenure.policy.model import compile_bundle
from tests.sim.policy import PERMIT, a_principal, an_agent, ask, with_autonomy

END = datetime(2026, 12, 21, 12, tzinfo=UTC).timestamp()
LIMIT = """
@id("limit") @obligation("approve") @reason("Refunds above 10 need a person.")
forbid(principal, action == Action::"call_tool", resource == Tool::"shop/refund")
unless { context.approved || (context.longs.hasTag("amount") && context.longs.getTag("amount") <= 10) };
"""
PRECEDENT = """
@id("up-to-50") @obligation("precedent") @lifts("limit") @arguments("amount note") @expires("2026-12-21T12:00:00Z")
@reason("Ann approved this.")
permit(principal == Agent::"clerk", action == Action::"call_tool", resource == Tool::"shop/refund")
when { context.longs.hasTag("amount") && context.longs.getTag("amount") <= 50 };
"""
POLICIES = LIMIT + PRECEDENT


@pytest.mark.req("R065")
def test_a_precedent_stands_for_the_approval_within_its_bounds_and_until_its_end() -> None:
    allowed = ask(POLICIES, arguments={"amount": 50}, at=END - 0.001)
    assert (allowed.effect, allowed.policies) == (Effect.ALLOW, ("up-to-50", "tools"))
    assert (allowed.reason, allowed.obligations) == ("Ann approved this.", ())
    assert ask(POLICIES, arguments={"amount": 51}, at=0).effect is Effect.HOLD
    assert ask(POLICIES, arguments={}, at=0).effect is Effect.HOLD  # leaving the argument out does not dodge the bound
    for at in (END, END + 1):
        ended = ask(POLICIES, arguments={"amount": 50}, at=at)
        assert (ended.effect, ended.policies) == (Effect.HOLD, ("limit",))
    assert ask(POLICIES, arguments={"amount": 50}).effect is Effect.HOLD  # whoever does not say when gets no benefit
    assert ask(POLICIES, arguments={"amount": 5}, at=END).effect is Effect.ALLOW
    assert ask(POLICIES, arguments={"amount": 50, "note": "x"}, at=0).effect is Effect.ALLOW
    for unseen in ({"amount": 50, "currency": "USD"}, {"amount": 50, "note": [1]}, {"amount": 50, "note": {"a": 1}}):
        assert ask(POLICIES, arguments=unseen, at=0).effect is Effect.HOLD  # nobody looked at that when approving
    other = an_agent(name="otter")
    assert ask(POLICIES, arguments={"amount": 50}, agent=other, at=0).effect is Effect.HOLD


def test_a_precedent_does_not_stand_for_the_approval_of_two() -> None:
    two = LIMIT.replace('@obligation("approve")', '@obligation("approve:2")')
    assert two != LIMIT
    assert ask(POLICIES, arguments={"amount": 50}, at=0).effect is Effect.ALLOW
    assert ask(two + PRECEDENT, arguments={"amount": 50}, at=0).effect is Effect.HOLD
    assert ask(POLICIES, agent=an_agent(risk_tier=4), arguments={"amount": 50}, at=0).effect is Effect.HOLD


@pytest.mark.req("R065", "R054")
def test_a_precedent_permits_nothing_by_itself_and_lifts_only_what_the_approval_was_for() -> None:
    alone = compile_bundle([("p.cedar", PRECEDENT)])
    assert ask(alone, arguments={"amount": 5}, at=0).effect is Effect.DENY
    never = POLICIES + '@id("never") forbid(principal, action, resource);'
    assert ask(never, arguments={"amount": 50}, at=0).policies == ("never",)
    human = with_autonomy(Autonomy.HUMAN_ONLY)
    rule = '@id("human") forbid(principal, action, resource) when { context.autonomy == "human_only" };'
    assert ask(POLICIES + rule, arguments={"amount": 50}, agent=human, at=0).effect is Effect.DENY
    second = '@id("secrets") @obligation("approve") forbid(principal, action, resource) unless { context.approved };'
    both = ask(POLICIES + second, arguments={"amount": 50}, at=0)
    assert (both.effect, both.policies) == (Effect.HOLD, ("limit", "secrets"))
    wider = POLICIES.replace('@lifts("limit")', '@lifts("limit secrets")') + second
    assert ask(wider, arguments={"amount": 50}, at=0).effect is Effect.ALLOW
    granted = an_agent(tools=())
    assert ask(POLICIES, arguments={"amount": 50}, agent=granted, at=0).policies == ("system/grant",)


def test_endings_of_several_policies_each_take_effect_at_their_moment_and_the_version_stays() -> None:
    later = PRECEDENT.replace("up-to-50", "up-to-99").replace("<= 50", "<= 99").replace("2026-12-21", "2026-12-22")
    plain = '@id("plain") @expires("2026-12-23T12:00:00+00:00") permit(principal, action, resource == Model::"gpt");'
    bundle = compile_bundle([("p.cedar", PERMIT.split(";")[0] + ";" + POLICIES + later + plain)])
    day = 86_400
    effects = [
        [
            ask(bundle, arguments={"amount": amount}, at=at).effect.value
            for at in (END - 1, END, END + day, END + 2 * day)
        ]
        for amount in (50, 99)
    ]
    assert effects == [["allow", "allow", "hold", "hold"], ["allow", "allow", "hold", "hold"]]
    assert ask(bundle, arguments={"amount": 50}, at=END - 1).policies == ("up-to-50", "up-to-99", "tools")
    assert ask(bundle, arguments={"amount": 50}, at=END).policies == ("up-to-99", "tools")
    assert [ask(bundle, "gpt", at=END + 2 * day + off).effect for off in (-1, 0)] == [Effect.ALLOW, Effect.DENY]
    assert ask(bundle, "gpt", at=END * 2).policy_version == bundle.version


def test_a_precedent_that_reads_another_type_than_is_given_refuses_nothing() -> None:
    text = '@id("ask") @obligation("approve") forbid(principal, action, resource) unless { context.approved };'
    precedent = PRECEDENT.replace('@lifts("limit")', '@lifts("ask")')
    for amount in ("50", [50], {"x": 1}, 1e300):
        assert ask(text, arguments={"amount": amount}, at=0).effect is Effect.HOLD
        assert ask(text + precedent, arguments={"amount": amount}, at=0).effect is Effect.HOLD
    assert ask(text + precedent, arguments={"amount": 50}, at=0).effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('@id("x") @expires("soon") permit(principal, action, resource);', "is no moment"),
        ('@id("x") @expires("2026-12-21T12:00:00") permit(principal, action, resource);', "is no moment"),
        ('@id("x") @expires("2026-12-21T12:00:00Z") forbid(principal, action, resource);', "is for permits"),
        ('@id("x") @lifts("limit") permit(principal, action, resource);', "@lifts is for precedents"),
        (PRECEDENT.replace('principal == Agent::"clerk"', "principal"), "for one agent and one resource"),
        (PRECEDENT.replace('resource == Tool::"shop/refund"', "resource"), "for one agent and one resource"),
        (PRECEDENT.replace('@expires("2026-12-21T12:00:00Z")', ""), "says when it ends"),
        (PRECEDENT.replace('@lifts("limit")', ""), "says when it ends"),
        (PRECEDENT.replace('@arguments("amount note")', ""), "says when it ends"),
        (PRECEDENT.replace("<= 50", "<= 50 && context.approved"), "cannot ask for it"),
    ],
)
def test_what_ends_or_lifts_unclearly_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        compile_bundle([("p.cedar", text)])


def test_tests_of_policies_say_when() -> None:
    tests = """
tests:
  - {name: within, tool: shop/refund, agent: clerk, arguments: {amount: 50}, expect: allow, policies: [up-to-50]}
  - {name: over, tool: shop/refund, agent: clerk, arguments: {amount: 50}, expect: hold, at: 2026-12-21T12:00:00Z}
agents:
  clerk: {tools: [shop/refund]}
"""
    good = service.check([("p.cedar", PERMIT + POLICIES), ("p.test.yaml", tests)])
    assert good.faults == ()
    wrong = service.check([("p.cedar", PERMIT + POLICIES), ("p.test.yaml", tests.replace("12:00:00Z", "11:59:59Z"))])
    assert ["over" in fault.problem for fault in wrong.faults] == [True]
    naive = service.check([("p.cedar", PERMIT + POLICIES), ("p.test.yaml", tests.replace("12:00:00Z", "12:00:00"))])
    assert ["without its zone" in fault.problem for fault in naive.faults] == [True]


@pytest.mark.req("R065", "R045")
def test_a_precedent_ends_at_the_gateway_by_its_clock_with_no_news_from_anywhere(tmp_path: Path) -> None:
    now = [END - 10.0]
    facts = Facts()
    pipeline = Pipeline(facts, Spool(tmp_path, 1 << 20, "test"), FirstUse(tmp_path / "seen"), lambda: now[0])
    agent = an_agent()
    snapshot = Snapshot(version=1, issued_at=datetime.now(UTC), agents={"default/clerk": agent})
    facts.replace(snapshot, {"default": compile_bundle([("p.cedar", PERMIT + POLICIES)])})
    facts.good_from(facts.now())
    principal = a_principal(agent)
    call = Call("c1", CallKind.TOOL, "shop/refund", {"amount": 50})
    under_way = pipeline.judge(call, principal)
    assert under_way.decision.effect is Effect.ALLOW
    now[0] = END - 0.001
    assert pipeline.standing(call, principal, under_way) is under_way
    now[0] = END
    assert pipeline.judge(call, principal).decision.effect is Effect.HOLD
    with pytest.raises(NoLongerAllowed):  # admitted a moment ago, not sent yet, or a stream that goes on
        pipeline.standing(call, principal, under_way)
