"""Slicing by scope and the memo change no decision: held against the whole set, asked afresh, over random policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import Autonomy, Call, CallKind, LifecycleState
from tenure.policy import model, slices
from tenure.policy.arguments import carry, lookup
from tenure.policy.facts import TIME
from tenure.policy.known import MEMO_LIMIT
from tenure.policy.model import compile_bundle, decide
from tenure.policy.system import POLICY_ERROR
from tests.sim.policy import a_principal, an_agent

SCOPES = [
    "principal, action, resource",
    'principal, action == Action::"call_tool", resource',
    'principal, action in [Action::"call_model"], resource',
    'principal == Agent::"clerk", action, resource',
    'principal in Agent::"other", action, resource',
    'principal is Agent, action, resource == Tool::"shop/refund"',
    'principal, action, resource in Server::"shop"',
    'principal, action, resource is Tool in Server::"files"',
    "principal, action, resource is Model",
    'principal, action, resource == Model::"gpt"',
]
CONDITIONS = [
    "",
    'when { principal.purpose == "refunds" && principal.owner like "*@*" }',
    "when { principal.risk_tier >= 2 }",
    'when { principal.data_classes.contains("financial") }',
    "unless { context.approved }",
    'when { context.autonomy == "notify" }',
    'when { context has on_behalf_of && context.on_behalf_of == "ann" }',
    'when { context.session == "s2" }',
    "when { context.unrepresentable }",
    'when { context.longs.hasTag("n") && context.longs.getTag("n") > 1 }',
    'when { context.longs.hasTag("n") && context.longs.getTag("n") * 9000000000000000000 > 1 }',
    'when { context.bools.hasTag("n") && context.bools.getTag("n") }',
    'when { context.decimals.hasTag("n") && context.decimals.getTag("n").lessThan(decimal("1.5")) }',
    'unless { context.approved || (context.strings.hasTag("a.b") && context.strings.getTag("a.b") like "x*") }',
    'when { context.longs.hasTag("l.length") && context.longs.getTag("l.length") > 1 }',
    'when { principal.state == "staging" }',
    'when { context.findings.contains("contact") }',
    'when { context.findings.containsAny(["secret", "contact/email"]) && !context.findings.isEmpty() }',
    'when { context.returned.contains("contact") }',
    'when { context.tier == "interactive" }',
    'unless { context.tier == "subagent" && context.chain_depth > 1 }',
    'when { context.task == "t1" || context.release == "r1" }',
    'when { context.environment == "staging" }',
    "when { context.hour >= 18 }",
    "when { context.weekday > 5 && context.date < 20260301 }",
]
EFFECTS = ["permit", "permit", "permit", "forbid", "forbid", "@final forbid"]
ZONE = '@zone("Europe/Berlin")'
MOMENTS = st.sampled_from([
    datetime(2026, month, day, hour, 30, tzinfo=UTC).timestamp()
    for month, day, hour in ((1, 1, 0), (2, 28, 16), (2, 28, 17), (3, 1, 21), (3, 2, 23), (7, 4, 16))
])  # fmt: skip
whos = st.fixed_dictionaries(
    {"release": st.sampled_from(["r1", "r2"])},
    optional={
        "task": st.sampled_from(["t1", "t2"]),
        "chain": st.sampled_from([("a",), ("a", "b")]),
        "started": st.booleans(),
    },
)
policies = st.lists(
    st.tuples(
        st.sampled_from(EFFECTS),
        st.sampled_from(SCOPES),
        st.sampled_from(CONDITIONS),
    ),
    max_size=8,
)
scalars = st.sampled_from(
    [None, 0, 1, 1.0, True, False, 2, 1.25, 1.23456, 2**63, "x", "y", "x" * 300, [1, 2], "a@b.org"]
)
arguments = st.fixed_dictionaries(
    {},
    optional={
        "n": scalars,
        "a": st.one_of(scalars, st.fixed_dictionaries({"b": scalars})),
        "a.b": scalars,
        "l": st.lists(scalars, max_size=3),
    },
)
agents = st.builds(
    lambda tier, level, classes, state: an_agent(
        risk_tier=tier,
        tools=(ToolFact("shop", "refund", level), ToolFact("files", "delete")),
        data_classes=classes,
        state=state,
    ),
    st.sampled_from([1, 2]),
    st.sampled_from(list(Autonomy)),
    st.sampled_from([(), ("financial",)]),
    st.sampled_from([LifecycleState.STAGING, LifecycleState.PRODUCTION]),
)
calls = st.lists(
    st.tuples(
        agents,
        st.sampled_from(["shop/refund", "files/delete", "gpt"]),
        arguments,
        st.booleans(),
        st.sampled_from([None, "ann"]),
        st.sampled_from(["s1", "s2"]),
        whos,
        MOMENTS,
    ),
    min_size=1,
    max_size=12,
)


def text_of(parts: Sequence[tuple[str, str, str]]) -> str:
    """Policies of these parts; those that look at the time say by whose clock."""
    return "\n".join(
        f'@id("p{number}") {ZONE if any(name in condition for name in TIME) else ""} {effect}({scope}) {condition};'
        for number, (effect, scope, condition) in enumerate(parts)
    )


@pytest.mark.req("R078")
@settings(max_examples=120, deadline=None)
@given(policies, calls)
def test_memo_and_unmemoised_decide_alike(parts: list[tuple[str, str, str]], asked: list[Any]) -> None:
    kept = compile_bundle([("f.cedar", text_of(parts))])
    for agent, resource, given_arguments, approved, person, session, who, at in [*asked, *asked]:
        principal = a_principal(agent, **{"on_behalf_of": person, "session": session, **who})
        call = Call("c", CallKind.TOOL if "/" in resource else CallKind.LLM, resource, given_arguments)
        afresh = replace(kept, memoise=False, _known={}, _slices={})
        assert decide(call, principal, agent, None, kept, approved=approved, at=at) == decide(
            call, principal, agent, None, afresh, approved=approved, at=at
        )


@settings(max_examples=120, deadline=None)
@given(policies, agents, st.sampled_from(["shop/refund", "files/delete", "gpt"]), arguments, st.booleans(), MOMENTS)
def test_slices_decide_as_the_whole_set_does(  # noqa: PLR0917 (what hypothesis draws)
    parts: list[tuple[str, str, str]], agent: AgentFact, resource: str, given_arguments: Any, approved: bool, at: float
) -> None:
    bundle = compile_bundle([("f.cedar", text_of(parts))])
    call = Call("c", CallKind.TOOL if "/" in resource else CallKind.LLM, resource, given_arguments)
    sliced = decide(call, a_principal(agent), agent, None, bundle, approved=approved, at=at)
    if sliced.policies == (model.ARGUMENTS,):
        return  # the rule about types looks only at what policies in scope read, on purpose
    principal = a_principal(agent)
    whole = replace(bundle, memoise=False, _known={}, _slices={})
    part = slices.build_slice(bundle.rules)
    known = model._known(whole, agent)
    known.slices[call.kind, call.resource] = replace(part, paths=_readable(part, given_arguments))
    everything = decide(call, principal, agent, None, whole, approved=approved, at=at)
    if everything.effect != sliced.effect or everything.policies != sliced.policies:
        assert POLICY_ERROR in everything.policies
        assert POLICY_ERROR in sliced.policies


def _readable(part: slices.Slice, given_arguments: Any) -> Any:
    """The paths that can be carried, so that policies out of scope do not refuse by the rule about types."""
    return tuple(
        entry
        for entry in part.paths
        if (value := lookup(given_arguments, entry[1])) is None or entry[2].intersection(carry(value))
    )


def test_the_memo_is_used_and_forgets_with_the_agents_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    real = cedarpy.is_authorized

    def counted(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        return real(*args)

    monkeypatch.setattr(cedarpy, "is_authorized", counted)
    text = 'permit(principal, action, resource) unless { context.longs.hasTag("n") && context.longs.getTag("n") > 5 };'
    bundle = compile_bundle([("f.cedar", text)])
    agent = an_agent()

    def times(fact: AgentFact, **arguments: Any) -> int:
        before = asked
        decide(Call("c", CallKind.TOOL, "shop/refund", arguments), a_principal(fact), fact, None, bundle)
        return asked - before

    assert times(agent, n=1) == 1
    assert times(agent, n=1) == 0
    assert times(agent, n=1, other="never read") == 0
    assert times(agent, n=2) == 1
    assert times(an_agent(), n=2) == 0  # an equal fact out of a new Snapshot
    assert times(an_agent(risk_tier=2), n=2) == 1
    for number in range(MEMO_LIMIT + 10):
        times(agent, n=number)
    assert len(model._known(bundle, agent).memo) <= MEMO_LIMIT


def test_what_no_policy_looks_at_is_decided_once_for_all_of_the_same_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    real = cedarpy.is_authorized

    def counted(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        return real(*args)

    monkeypatch.setattr(cedarpy, "is_authorized", counted)
    names = ("free", "like", "told", "drafted", "named", "looked")
    more: dict[str, dict[str, Any]] = {"told": {"autonomy": Autonomy.NOTIFY}, "drafted": {"mode": "draft"}}
    agent = an_agent(tools=tuple(ToolFact("shop", name, **more.get(name, {})) for name in names))

    def told(text: str, name: str) -> tuple[Any, str, int]:
        before = asked
        bundle = bundles.setdefault(text, compile_bundle([("f.cedar", text)]))
        decision = decide(Call("c", CallKind.TOOL, f"shop/{name}"), a_principal(agent), agent, None, bundle)
        return (decision.policies, decision.obligations), decision.reason, asked - before

    bundles: dict[str, model.Bundle] = {}
    tools = 'principal, action == Action::"call_tool", resource'
    permit = f'@id("p") permit({tools}) when {{ principal.tools.contains(resource) }};'
    named = '@id("n") permit(principal, action, resource == Tool::"shop/named");'
    every = permit + named
    assert [told(every, name)[::2] for name in (*names[:5], *names[:2])] == [
        ((("p",), ()), 1), ((("p",), ()), 0),
        ((("p", "system/notify"), ("notify",)), 1), ((("p", "system/mode"), ("draft-only",)), 1),
        ((("p", "n"), ()), 1), ((("p",), ()), 0), ((("p",), ()), 0),
    ]  # fmt: skip
    looks = permit + f'@id("f") forbid({tools}) when {{ resource == Tool::"shop/looked" }};'
    assert [told(looks, name)[::2] for name in ("free", "like", "looked")] == [
        ((("p",), ()), 1), ((("p",), ()), 1), ((("f",), ()), 1),
    ]  # fmt: skip
    for name in ("free", "like", "free"):  # a reason that names what was called is of that only
        assert told(named, name)[1] == f"No policy permits agent clerk to call shop/{name}."
    assert told(named, "like")[2] == 0


def test_values_that_python_takes_for_equal_are_kept_apart() -> None:
    text = """permit(principal, action, resource) when { context.longs.hasTag("n") };
    forbid(principal, action, resource) when { context.bools.hasTag("n") && context.bools.getTag("n") };"""
    bundle = compile_bundle([("f.cedar", text)])
    agent = an_agent()
    effects = [
        decide(Call("c", CallKind.TOOL, "shop/refund", {"n": n}), a_principal(agent), agent, None, bundle).effect.value
        for n in (True, 1, 1.0, True)
    ]
    assert effects == ["deny", "allow", "allow", "deny"]


@settings(max_examples=120, deadline=None)
@given(policies, agents, st.sampled_from(["shop/refund", "files/delete", "gpt"]))
def test_the_index_finds_the_rules_whose_scope_covers_a_call(
    parts: list[tuple[str, str, str]], agent: AgentFact, resource: str
) -> None:
    bundle = compile_bundle([("f.cedar", text_of(parts))])
    tool = "/" in resource
    action, uid = ("call_tool", ("Tool", resource)) if tool else ("call_model", ("Model", resource))
    parents = frozenset({("Server", resource.split("/", maxsplit=1)[0])} if tool else set())
    asked = (("Agent", agent.name), action, uid, parents)
    assert bundle.index.of(*asked) == [rule for rule in bundle.rules if rule.scope.covers(*asked)]
