"""What a change of policies gives and takes is told exactly: every row is true, and nothing is left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.kernel.snapshot import AgentFact, PeerGrant, ToolFact
from tenure.kernel.values import Autonomy, Call, CallKind, Decision, Effect, LifecycleState
from tenure.policy.context import Found
from tenure.policy.diff.changes import ACTIONS, Change, Comparison, Example, compare, gained
from tenure.policy.model import Bundle, compile_bundle, decide
from tests.policy.test_memo import CONDITIONS, EFFECTS, SCOPES, arguments, text_of
from tests.sim.policy import PERMIT, a_principal, an_agent

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 2, 28, 16, tzinfo=BERLIN).timestamp()
MORE = [
    *CONDITIONS,
    "when { context.spent_usd > 80 }",
    'when { context.chain.contains("boss") }',
    'when { context.strings.hasTag("a.b") && context.strings.getTag("a.b") == "y" }',
    'when { context.strings.hasTag("n") && ["x", "y"].contains(context.strings.getTag("n")) }',
    'when { context.longs.hasTag("n") && 1 != context.longs.getTag("n") && !(context.longs.getTag("n") < 0) }',
    'when { principal in Agent::"other" || resource in Server::"shop" }',
    'when { if context.approved then true else context.session == "s1" }',
]
policies = st.lists(
    st.tuples(st.sampled_from(EFFECTS), st.sampled_from(SCOPES), st.sampled_from(MORE)),
    max_size=5,
)
fleets = st.lists(
    st.builds(
        lambda name, tier, level, classes: an_agent(
            name=name,
            risk_tier=tier,
            tools=(ToolFact("shop", "refund", level), ToolFact("files", "delete")),
            data_classes=classes,
        ),
        st.sampled_from(["clerk", "other", "third"]),
        st.sampled_from([1, 2]),
        st.sampled_from([Autonomy.AUTONOMOUS, Autonomy.NOTIFY]),
        st.sampled_from([(), ("financial",)]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda agent: agent.name,
)
asked = st.lists(
    st.tuples(
        st.sampled_from(["shop/refund", "files/delete", "gpt"]),
        arguments,
        st.sampled_from([None, "ann", "bob"]),
        st.sampled_from(["s1", "s2"]),
        st.sampled_from([(0, 0, 0), (0, 0, 81)]),
        st.sampled_from([(), ("boss",), ("boss", "clerk")]),
    ),
    min_size=1,
    max_size=6,
)


def _bundle(parts: list[tuple[str, str, str]], granted: bool) -> Bundle:
    return compile_bundle([("f.cedar", (PERMIT if granted else "") + text_of(parts))])


def _what(decision: Decision) -> tuple[Effect, tuple[str, ...]]:
    return decision.effect, tuple(sorted(decision.obligations))


def _again(example: Example, agents: dict[str, AgentFact], bundle: Bundle) -> Decision:
    facts = example.facts
    agent = agents[example.agent]
    arguments = dict(example.arguments)
    if facts.get("unrepresentable"):
        arguments["odd"] = 1e300
    spent = tuple(facts.get(name, 0) for name in ("spent_calls", "spent_tokens", "spent_usd"))
    chain = facts.get("chain", ())
    chain += tuple(f"~{number}" for number in range(len(chain), facts.get("chain_depth", 0)))
    who = a_principal(
        agent,
        session=facts.get("session", ""),
        on_behalf_of=facts.get("on_behalf_of"),
        chain=chain,
        release=facts.get("release", agent.release),
        task=facts.get("task"),
    )
    call = Call("c", example.kind, example.resource, arguments, spent=spent, tier=facts.get("tier", ""))
    found = Found(facts.get("findings", ()), facts.get("returned", ()))
    return decide(call, who, agent, None, bundle, found=found, at=_when(facts))


def _when(facts: Mapping[str, Any]) -> float:
    """A moment at which the clock in Berlin shows what the example says."""
    for step in range(24 * 8 if {"hour", "weekday"} & facts.keys() else 1):
        then = datetime.fromtimestamp(AT, BERLIN) + timedelta(hours=step)
        if facts.get("hour", then.hour) == then.hour and facts.get("weekday", then.isoweekday()) == then.isoweekday():
            return then.timestamp()
    raise AssertionError(facts)


@pytest.mark.req("R073")
@settings(max_examples=60, deadline=None)
@given(policies, policies, fleets, asked, st.booleans())
def test_every_row_is_true_and_no_call_is_left_out(
    old: list[Any], new: list[Any], fleet: list[AgentFact], calls: list[Any], granted: bool
) -> None:
    before, after = _bundle(old, granted), _bundle(new, granted)
    found = compare(before, after, fleet, AT)
    agents = {agent.name: agent for agent in fleet}
    for change in found.changes:
        was, now = (_again(change.example, agents, one) for one in (before, after))
        assert _what(was) == change.before.what
        assert _what(now) == change.after.what
        assert change.before.what != change.after.what
    for resource, given_arguments, person, session, spent, chain in calls:
        kind = CallKind.TOOL if "/" in resource else CallKind.LLM
        call = Call("c", kind, resource, given_arguments, spent=spent)
        for agent in fleet:
            who = a_principal(agent, on_behalf_of=person, session=session, chain=chain)
            pair = tuple(_what(decide(call, who, agent, None, one, at=AT)) for one in (before, after))
            if pair[0] != pair[1]:
                assert found.gaps or pair in _told(found, agent.name, ACTIONS[kind], resource)


def _told(found: Comparison, agent: str, action: str, resource: str) -> list[Any]:
    return [
        (change.before.what, change.after.what)
        for change in found.changes
        if agent in change.agents and change.action == action and resource in change.resources
    ]


LIMIT = """
@id("limit") @obligation("approve")
forbid(principal, action == Action::"call_tool", resource == Tool::"shop/refund")
unless { context.approved || (context.longs.hasTag("amount") && context.longs.getTag("amount") <= 100) };
"""


def _one(before: str, after: str, *agents: AgentFact) -> Change:
    found = compare(_text(before), _text(after), agents or (an_agent(),))
    assert found.gaps == []
    assert len(found.changes) == 1, found.changes
    return found.changes[0]


def _text(text: str) -> Bundle:
    return compile_bundle([("f.cedar", PERMIT + text)])


def test_a_lower_limit_is_told_as_the_amounts_between() -> None:
    change = _one(LIMIT, LIMIT.replace("<= 100", "<= 60"), an_agent(), an_agent(name="broker"))
    assert (gained(change), change.agents, change.resources) == ("lost", ("broker", "clerk"), ("shop/refund",))
    assert (change.before.effect, change.after.effect) == (Effect.ALLOW, Effect.HOLD)
    assert change.when == (("amount above 60, up to 100",),)
    assert change.example.arguments == {"amount": 61}
    assert gained(_one(LIMIT.replace("<= 100", "<= 60"), LIMIT)) == "gained"


@pytest.mark.parametrize(
    ("rule", "when"),
    [
        ("", ()),
        ('when { context.strings.hasTag("to") && context.strings.getTag("to") == "bob" }', ("to is 'bob'",)),
        (
            'unless { context.decimals.hasTag("n") && context.decimals.getTag("n").lessThan(decimal("1.5")) }',
            ("n not given or from 1.5",),
        ),
        ('when { context.longs.hasTag("items.length") && context.longs.getTag("items.length") > 2 }',
         ("items.length above 2",)),
        ('when { context has on_behalf_of && context.on_behalf_of like "*@b.org" }', ("on_behalf_of like '*@b.org'",)),
        ('when { context.findings.contains("secret") }', ("findings has secret or has secret, others",)),
        ("when { context.arguments_from_untrusted && context.tainted }",
         ("arguments_from_untrusted is true", "tainted is true")),
        ('when { context.tier == "subagent" }', ("tier is 'subagent'",)),
        ("when { context.chain_depth > 2 }", ("chain_depth above 2",)),
        ("when { context.risk >= 60 }", ("risk from 60, up to 100",)),
        ('when { context.spent_usd >= 80 && context.session == "s" }', ("session is 's'", "spent_usd from 80")),
    ],
)  # fmt: skip
def test_conditions_are_told_as_what_is_so(rule: str, when: tuple[str, ...]) -> None:
    forbid = f'@id("more") forbid(principal, action, resource == Tool::"files/delete") {rule};'
    found = compare(_text(""), _text(forbid), (an_agent(),))
    said = [case for change in found.changes for case in change.when if change.after.policies == ("more",)]
    assert said == [when]
    assert {change.resources for change in found.changes} == {("files/delete",)}


def test_hours_and_days_are_told_by_the_declared_clock() -> None:
    late = '@id("late") @zone("Europe/Berlin") forbid(principal, action, resource == Tool::"files/delete") '
    change = _one("", late + "when { context.hour >= 18 || context.weekday > 5 };")
    assert set(change.when) == {("hour from 18, up to 23",), ("hour from 0, below 18", "weekday above 5, up to 7")}
    found = compare(_text(""), _text(late + "when { context.date > 20261224 };"), (an_agent(),))
    assert [gap.what for gap in found.gaps] == ["date: cannot be set in a call that is made up"]


def test_an_example_has_lists_where_the_policy_means_lists() -> None:
    rule = 'forbid(principal, action, resource == Tool::"shop/list") when { context.longs.hasTag("l.1.n") };'
    found = compare(_text(""), _text(rule), (an_agent(),))
    lists = [change.example.arguments["l"] for change in found.changes]
    assert [items[0] for items in lists] == [None, None]
    assert {"n": 0} in [items[1] for items in lists]


def test_what_cannot_be_looked_at_is_told() -> None:
    odd = 'when { context.longs.hasTag("n") && context.longs.getTag("n") * 3 > 7 }'
    rule = f'@id("odd") forbid(principal, action, resource) {odd};'
    fleet = (an_agent(state=LifecycleState.SUSPENDED), an_agent(name="gone", state=LifecycleState.RETIRED))
    found = compare(_text(""), _text(rule), fleet)
    told = {gap.what: gap.whose for gap in found.gaps}
    assert told["n: used in odd otherwise than compared with a value"] == ("odd",)
    assert found.waiting == ("clerk",)
    assert (found.agents, found.grants) == (1, 4)


def test_pairs_that_differ_in_nothing_that_is_looked_at_are_decided_once() -> None:
    fleet = [an_agent(name=f"a{n}", agents=(PeerGrant("courier"),)) for n in range(60)]
    found = compare(_text(LIMIT), _text(""), fleet)
    assert (found.agents, found.grants) == (60, 300)
    assert found.calls < 10
    assert len(found.changes[0].agents) == 60
    one = compare(_text(LIMIT), _text(LIMIT), fleet)
    assert (one.calls, one.changes, one.gaps) == (0, [], [])


def test_what_ends_by_itself_is_told_as_it_stands_now() -> None:
    short = '@id("short") @expires("2026-12-21T12:00:00Z") permit(principal, action, resource == Tool::"shop/list");'
    found = compare(compile_bundle([]), compile_bundle([("f.cedar", short)]), (an_agent(),), at=0.0)
    assert [(gained(change), change.resources) for change in found.changes] == [("gained", ("shop/list",))]
    assert found.gaps[0].whose == ("short",)
    assert compare(compile_bundle([]), compile_bundle([("f.cedar", short)]), (an_agent(),), at=2e9).changes == []


def test_a_precedent_lifts_by_name_so_a_new_name_is_a_change() -> None:
    lift = """@id("as-before") @obligation("precedent") @lifts("limit") @arguments("amount")
    @expires("2036-12-21T12:00:00Z")
    permit(principal == Agent::"clerk", action, resource == Tool::"shop/refund");"""
    found = compare(_text(LIMIT + lift), _text(LIMIT.replace('"limit"', '"cap"') + lift), (an_agent(),), at=0.0)
    assert [(change.before.effect, change.after.effect) for change in found.changes] == [(Effect.ALLOW, Effect.HOLD)]
