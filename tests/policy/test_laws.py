"""What holds of every set of policies: a permit only opens, a forbid only closes, an approval only lifts a hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Autonomy, Call, CallKind, Effect
from tenure.policy.model import ARGUMENTS, Bundle, compile_bundle, decide, in_scope
from tenure.policy.system import POLICY_ERROR
from tests.policy.test_memo import CONDITIONS, SCOPES, agents, arguments, policies, text_of
from tests.sim.policy import a_principal

AT = datetime(2026, 2, 28, 17, tzinfo=UTC).timestamp()  # a Saturday, six in the evening in Berlin
OPEN = {Effect.DENY: 0, Effect.HOLD: 1, Effect.ALLOW: 2}
RESOURCES = st.sampled_from(["shop/refund", "files/delete", "gpt"])
MORE_PARTS = (st.sampled_from(SCOPES), st.sampled_from(CONDITIONS))
MORE = st.tuples(*MORE_PARTS)
FORBIDS = st.sampled_from(["forbid", "@final forbid"])
# Fail closed goes before: a policy that cannot be evaluated, or reads an argument in another type, denies.
CLOSED = {ARGUMENTS, POLICY_ERROR}


def _decided(
    parts: list[tuple[str, str, str]], agent: AgentFact, resource: str, given_arguments: Any, **how: Any
) -> Any:
    call = Call("c", CallKind.TOOL if "/" in resource else CallKind.LLM, resource, given_arguments)
    return decide(call, a_principal(agent), agent, None, _bundle(parts), at=AT, **how)


def _bundle(parts: list[tuple[str, str, str]]) -> Bundle:
    return compile_bundle([("f.cedar", text_of(parts))])


@settings(max_examples=200, deadline=None)
@given(policies, MORE, agents, RESOURCES, arguments)
def test_another_permit_never_denies(
    parts: list[tuple[str, str, str]], more: tuple[str, str], agent: AgentFact, resource: str, given_arguments: Any
) -> None:
    before = _decided(parts, agent, resource, given_arguments)
    after = _decided([*parts, ("permit", *more)], agent, resource, given_arguments)
    assert OPEN[after.effect] >= OPEN[before.effect] or CLOSED.intersection(after.policies)


@settings(max_examples=200, deadline=None)
@given(policies, st.tuples(FORBIDS, *MORE_PARTS), agents, RESOURCES, arguments, st.booleans())
def test_another_forbid_never_allows(  # noqa: PLR0917 (what hypothesis draws)
    parts: list[tuple[str, str, str]],
    more: tuple[str, str, str],
    agent: AgentFact,
    resource: str,
    given_arguments: Any,
    approved: bool,
) -> None:
    before = _decided(parts, agent, resource, given_arguments, approved=approved)
    after = _decided([*parts, more], agent, resource, given_arguments, approved=approved)
    assert OPEN[after.effect] <= OPEN[before.effect]


@pytest.mark.req("R078")
@settings(max_examples=200, deadline=None)
@given(policies, agents, RESOURCES, arguments)
def test_a_hold_is_what_an_approval_would_allow_and_nothing_else(
    parts: list[tuple[str, str, str]], agent: AgentFact, resource: str, given_arguments: Any
) -> None:
    plain = _decided(parts, agent, resource, given_arguments)
    approved = _decided(parts, agent, resource, given_arguments, approved=True)
    assert approved.effect is not Effect.HOLD
    if plain.effect is Effect.HOLD:
        assert approved.effect is Effect.ALLOW
    elif plain.effect is Effect.DENY:
        assert approved.effect is Effect.DENY


@pytest.mark.req("R073")
@settings(max_examples=200, deadline=None)
@given(policies, agents, RESOURCES, arguments, st.sampled_from([None, "ann"]), st.booleans())
def test_the_strongest_layer_decides_and_nothing_goes_before_a_final_forbid(  # noqa: PLR0917 (what hypothesis draws)
    parts: list[tuple[str, str, str]],
    agent: AgentFact,
    resource: str,
    given_arguments: Any,
    person: str | None,
    approved: bool,
) -> None:
    bundle = _bundle(parts)
    call = Call("c", CallKind.TOOL if "/" in resource else CallKind.LLM, resource, given_arguments)
    who = a_principal(agent, on_behalf_of=person)
    agent = replace(agent, tools=tuple(replace(tool, autonomy=Autonomy.AUTONOMOUS) for tool in agent.tools))
    decision = decide(call, who, agent, None, bundle, approved=approved, at=AT)
    holding = [rule for rule, holds in in_scope(call, who, agent, bundle, approved=approved, at=AT) if holds]
    if CLOSED.intersection(decision.policies):
        return
    permits, forbids = ([rule for rule in holding if rule.permits is side] for side in (True, False))
    strongest = max((rule.layer for rule in holding), default=None)
    allowed = (
        any(rule.layer == strongest for rule in permits)
        and not any(rule.layer == strongest for rule in forbids)
        and not any(rule.final for rule in forbids)
    )
    assert (decision.effect is Effect.ALLOW) == allowed
    if allowed:
        assert set(decision.policies) == {rule.id for rule in permits}
        assert set(decision.over) == {rule.id for rule in forbids}
    if set(decision.over) & {rule.id for rule in permits}:
        assert any(rule.final for rule in forbids)


MODE_PERMIT = st.sampled_from([
    '@fail_mode("open") permit(principal, action, resource == Tool::"shop/refund");',
    '@fail_mode("open") permit(principal, action, resource == Model::"gpt");',
    '@fail_mode("open") permit(principal == Agent::"clerk", action, resource == Tool::"files/delete");',
])  # fmt: skip


@pytest.mark.req("R049")
@pytest.mark.asi("ASI08", "What goes on without the control plane is what was declared for it, and never more")
@settings(max_examples=100, deadline=None)
@given(policies, st.lists(MODE_PERMIT, max_size=2), agents, RESOURCES, arguments, st.booleans())
def test_what_goes_on_without_the_control_plane_is_never_more_than_with_it(  # noqa: PLR0917 (what hypothesis draws)
    parts: list[tuple[str, str, str]],
    modes: list[str],
    agent: AgentFact,
    resource: str,
    given_arguments: Any,
    more: bool,
) -> None:
    """Neither a permit that fails open nor its absence changes a decision while the control plane is there, but that it
    permits; and without it nothing is let go on that a forbid denies or a person would be asked about."""
    named = "\n".join(f'@id("m{number}") {text}' for number, text in enumerate(modes))
    plain, open_ = _bundle(parts), compile_bundle([("f.cedar", text_of(parts) + "\n" + named)])
    call = Call("c", CallKind.TOOL if "/" in resource else CallKind.LLM, resource, given_arguments)
    who = a_principal(agent)
    before, after = (decide(call, who, agent, None, one, at=AT) for one in (plain, open_))
    assert OPEN[after.effect] >= OPEN[before.effect] or CLOSED.intersection(after.policies)
    cut = decide(call, who, agent, None, open_, at=AT, stale=True)
    assert cut.effect is not Effect.HOLD
    assert OPEN[cut.effect] <= OPEN[after.effect]
    if cut.effect is Effect.ALLOW:
        assert {name for name in cut.policies if name.startswith("m")}
        assert "fail_open" in cut.obligations
    if more:  # one forbid more lets nothing through there either
        text = text_of([*parts, ("forbid", "principal, action, resource", "")]) + "\n" + named
        shut = decide(call, who, agent, None, compile_bundle([("f.cedar", text)]), at=AT, stale=True)
        assert shut.effect is Effect.DENY or OPEN[shut.effect] <= OPEN[cut.effect]


@pytest.mark.req("R043")
@pytest.mark.asi("ASI03", "Whatever bounds work, it does nothing that it could not do without")
@settings(max_examples=100, deadline=None)
@given(
    policies,
    agents,
    RESOURCES,
    arguments,
    st.lists(
        st.lists(st.sampled_from(["tool:shop/*", "tool:files/delete", "model:*", "agent:*"]), max_size=3), max_size=3
    ),
)
def test_work_that_is_bounded_does_nothing_that_it_could_not_do_unbounded(
    parts: list[tuple[str, str, str]], agent: AgentFact, resource: str, given_arguments: Any, bounds: list[list[str]]
) -> None:
    bundle = _bundle(parts)
    call = Call("c", CallKind.TOOL if "/" in resource else CallKind.LLM, resource, given_arguments)
    chain = ("boss",)
    free = decide(call, a_principal(agent, chain=chain), agent, None, bundle, at=AT)
    for count in range(len(bounds) + 1):  # each bound more takes away or changes nothing
        held = tuple(tuple(one) for one in bounds[:count])
        bound = decide(call, a_principal(agent, chain=chain, bounds=held), agent, None, bundle, at=AT)
        assert OPEN[bound.effect] <= OPEN[free.effect]
        free = bound
