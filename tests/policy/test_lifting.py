"""What an approval would change is foreseen where it can be, and then it is what Cedar says when it is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.kernel.values import Call, CallKind
from tenure.policy import asking
from tenure.policy.model import compile_bundle, decide
from tests.policy.test_memo import SCOPES
from tests.sim.policy import PERMIT, a_principal, an_agent, ask

FAILS = "9223372036854775807 + principal.risk_tier > 0"
LIFTED = [
    "unless { context.approved }",
    'unless { context.session == "s2" || context.approved }',
    "unless { context.approved || principal.risk_tier > 1 }",
    "when { !context.approved && principal.risk_tier > 1 }",
    "when { principal.risk_tier > 1 && !context.approved }",
    'when { !(context.session == "s2" || context.approved) }',
    'when { context.session == "s1" } unless { context.approved }',
    f"when {{ !context.approved && {FAILS} }}",
]
OTHERS = [
    "",
    "when { principal.risk_tier > 1 }",
    "when { context.approved }",
    "when { !context.approved || principal.risk_tier > 1 }",
    "unless { context.approved && principal.risk_tier > 1 }",
    "when { context.approved == false }",
    f"when {{ (if context.approved then {FAILS} else true) && !context.approved }}",
    "when { if context.approved then false else true }",
    f"when {{ {FAILS} }}",
]
rules = st.lists(
    st.tuples(
        st.sampled_from(["permit", "forbid", "forbid", "forbid", "@final forbid"]),
        st.sampled_from(SCOPES),
        st.sampled_from([*LIFTED, *OTHERS]),
    ),
    max_size=6,
)


@pytest.mark.parametrize("condition", [*LIFTED, *OTHERS])
def test_only_what_an_approval_surely_ends_counts_as_lifted(condition: str) -> None:
    (rule,) = compile_bundle([("a.cedar", f"forbid(principal, action, resource) {condition};")]).rules
    assert rule.lifted is (condition in LIFTED)
    (permit,) = compile_bundle([("a.cedar", f"permit(principal, action, resource) {condition};")]).rules
    assert permit.lifted is False


@pytest.mark.req("R078")
@settings(max_examples=150, deadline=None)
@given(rules, st.sampled_from([1, 2]), st.sampled_from(["s1", "s2"]))
def test_what_is_foreseen_is_what_cedar_says(parts: list[tuple[str, str, str]], tier: int, session: str) -> None:
    text = PERMIT + "\n".join(
        f'@id("p{number}") {effect}({scope}) {condition};' for number, (effect, scope, condition) in enumerate(parts)
    )
    bundle = compile_bundle([("f.cedar", text)])
    asked = replace(bundle, memoise=False, _known={}, _slices={})
    agent = an_agent(risk_tier=tier)
    who = a_principal(agent, session=session)
    for resource in ("shop/refund", "files/delete", "gpt"):
        call = Call("c", CallKind.TOOL if "/" in resource else CallKind.LLM, resource)
        assert decide(call, who, agent, None, bundle) == decide(call, who, agent, None, asked)


def test_a_denial_that_no_approval_could_lift_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[bool] = []
    answer = asking.answer

    def noted(question: asking.Question, approved: bool, policies: Any) -> asking.Answer:
        questions.append(approved)
        return answer(question, approved, policies)

    monkeypatch.setattr(asking, "answer", noted)
    held = '@id("held") forbid(principal, action, resource == Tool::"shop/refund") unless { context.approved };'
    never = '@id("never") forbid(principal, action, resource == Tool::"shop/refund");'
    assert ask(held + never).policies == ("never",)
    assert questions == [False]
    assert ask(held).policies == ("held",)  # whether a permit waits behind it is asked
    assert questions == [False, False, True]
