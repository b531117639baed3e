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
