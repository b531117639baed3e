"""Every fault of a policy file comes with its file and line, and nothing is half compiled."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.kernel.errors import Refused
from tenure.policy.model import Bundle, compile_bundle
from tests.sim.policy import PERMIT


def _faults(text: str, name: str = "bad.cedar") -> list[dict[str, Any]]:
    with pytest.raises(Refused) as refused:
        compile_bundle([("good.cedar", PERMIT), (name, text)])
    assert refused.value.code == "policy_invalid"
    faults: list[dict[str, Any]] = refused.value.details["faults"]
    assert f"{faults[0]['file']} line {faults[0]['line']}" in refused.value.message
    assert all(fault["file"] == name for fault in faults)
    return faults


GOOD = '// words; with a semicolon\npermit(principal, action, resource)\n  when { context.session == "a;\\"b" };\n'

BROKEN: list[tuple[str, int, str]] = [
    ("permit(principal, action, resource)\npermit(principal, action, resource);", 2, "unexpected token"),
    ("permit(principal, action, resource)\nwhen {\n  context.approved &&\n};", 4, "unexpected token"),
    ('permit(principal, action, resource)\nwhen {\n  "never closed };', 3, "invalid token"),
    ("permit(principal,\n  action)\n;", 1, "missing the `resource`"),
    ("\n\npermitt(principal, action, resource);", 3, "invalid policy effect"),
    ("permit(principal, action, resource)\nwhen {\n  foo(1)\n};", 3, "not a valid function"),
    ("permit(principal, action, resource)\nwhen {\n  context.surprise\n};", 3, "`surprise`"),
    ('permit(principal,\n  action == Action::"fly", resource);', 2, "unrecognized action"),
    ('permit(principal, action, resource)\nwhen { context.longs.getTag(\n "amount") > 1 };', 3, "access to tag"),
    ("permit(principal, action, resource)\nwhen { principal.risk_tier\n  > 1.5 };", 3, "unexpected token"),
    ("permit(principal, action, resource) when { true\n  && 99999999999999999999 > 1 };", 2, "number too large"),
    ("permit(principal == ?principal, action, resource);", 1, "a template needs an @id"),
    ('\n@id("tools")\npermit(principal, action, resource);', 2, "is taken by good.cedar line 2"),
    ('@id("system/grant")\npermit(principal, action, resource);', 1, "belong to the rules"),
    ('@obligation("aprove")\nforbid(principal, action, resource);', 1, "is not known"),
    ('@obligation("approve")\nforbid(principal, action, resource);', 1, "never reads context.approved"),
    ("forbid(principal, action, resource)\nwhen { context.longs == context.longs };", 1, "name is not written out"),
    ("forbid(principal, action, resource)\nwhen { context.longs.hasTag(context.session) };", 1, "not written out"),
    ('forbid(principal, action, resource) when { Longs::"call".hasTag("a") };', 1, "not written out"),
    ("permit(principal, action, resource);\n€", 2, "invalid token"),
]


@pytest.mark.parametrize(("text", "line", "words"), BROKEN)
def test_a_fault_has_its_line_wherever_the_policy_stands(text: str, line: int, words: str) -> None:
    assert any(fault["line"] == line and words in fault["problem"] for fault in _faults(text)), _faults(text)
    later = _faults(GOOD * 2 + text)
    assert any(fault["line"] == line + 6 and words in fault["problem"] for fault in later), later


def test_every_fault_is_told_not_only_the_first() -> None:
    text = "permit(principal, action);\npermit(principal, action, resource) when { context.no };\n" + GOOD
    assert [fault["line"] for fault in _faults(text)][:2] == [1, 2]


def test_a_policy_without_id_is_named_by_its_place() -> None:
    bundle = compile_bundle([("a.cedar", "\n" + GOOD)])
    assert [(rule.id, rule.line) for rule in bundle.rules] == [("a.cedar:3", 3)]


def test_no_files_and_empty_files_are_policies_that_permit_nothing() -> None:
    assert compile_bundle([]).rules == compile_bundle([("a.cedar", "// nothing yet\n")]).rules == ()


def test_the_version_tells_names_texts_and_order_apart() -> None:
    versions = {
        compile_bundle(files).version
        for files in (
            [("a", GOOD), ("b", "")],
            [("a", ""), ("b", GOOD)],
            [("b", ""), ("a", GOOD)],
            [("a", GOOD + " "), ("b", "")],
        )
    }
    assert len(versions) == 4


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=string.printable + "€;\"'\\/@{}()", max_size=200))
def test_any_text_compiles_or_is_refused_with_a_line_of_the_file(text: str) -> None:
    try:
        assert isinstance(compile_bundle([("f.cedar", text)]), Bundle)
    except Refused as refused:
        for fault in refused.details["faults"]:
            assert 1 <= fault["line"] <= text.count("\n") + 1
