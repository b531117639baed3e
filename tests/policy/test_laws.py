"""What holds of every set of policies: a permit only opens, a forbid only closes, an approval only lifts a hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Call, CallKind, Effect
from tenure.policy.model import ARGUMENTS, compile_bundle, decide
from tenure.policy.system import POLICY_ERROR
from tests.policy.test_memo import CONDITIONS, SCOPES, agents, arguments, policies
from tests.sim.policy import a_principal

OPEN = {Effect.DENY: 0, Effect.HOLD: 1, Effect.ALLOW: 2}
RESOURCES = st.sampled_from(["shop/refund", "files/delete", "gpt"])
MORE = st.tuples(st.sampled_from(SCOPES), st.sampled_from(CONDITIONS))
# Fail closed goes before: a policy that cannot be evaluated, or reads an argument in another type, denies.
CLOSED = {ARGUMENTS, POLICY_ERROR}


def _decided(
    parts: list[tuple[str, str, str]], agent: AgentFact, resource: str, given_arguments: Any, **how: Any
) -> Any:
    text = "\n".join(
        f'@id("p{number}") {effect}({scope}) {condition};' for number, (effect, scope, condition) in enumerate(parts)
    )
    call = Call("c", CallKind.TOOL if "/" in resource else CallKind.LLM, resource, given_arguments)
    return decide(call, a_principal(agent), agent, None, compile_bundle([("f.cedar", text)]), **how)


@settings(max_examples=200, deadline=None)
@given(policies, MORE, agents, RESOURCES, arguments)
def test_another_permit_never_denies(
    parts: list[tuple[str, str, str]], more: tuple[str, str], agent: AgentFact, resource: str, given_arguments: Any
) -> None:
    before = _decided(parts, agent, resource, given_arguments)
    after = _decided([*parts, ("permit", *more)], agent, resource, given_arguments)
    assert OPEN[after.effect] >= OPEN[before.effect] or CLOSED.intersection(after.policies)


@settings(max_examples=200, deadline=None)
@given(policies, MORE, agents, RESOURCES, arguments, st.booleans())
def test_another_forbid_never_allows(  # noqa: PLR0917 (what hypothesis draws)
    parts: list[tuple[str, str, str]],
    more: tuple[str, str],
    agent: AgentFact,
    resource: str,
    given_arguments: Any,
    approved: bool,
) -> None:
    before = _decided(parts, agent, resource, given_arguments, approved=approved)
    after = _decided([*parts, ("forbid", *more)], agent, resource, given_arguments, approved=approved)
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
