"""Sequence rules as people write them, and as tests beside policies speak of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenure.kernel.errors import Refused
from tenure.policy import service
from tenure.policy.model import compile_bundle
from tenure.sequences.model import read_rules

PERMIT = ("all.cedar", '@id("all") permit (principal, action, resource);')
SEND = """
rules:
  - id: no-send-after-customer-data
    reason: Nothing goes out after customer data came in.
    deny: {tool: mail/send, where: {to: {unlike: "*@example.com"}}}
    once: {tool: [crm/read, crm/search]}
    since: {tool: privacy/clear}
    within: 2h
"""
REFUNDS = """
rules:
  - id: three-refunds-per-case
    deny: {tool: shop/refund}
    per: case
    count: {tool: shop/refund}
    reached: 3
    within: 24h
"""
WRITE = """
rules:
  - id: write-after-read
    hold: {tool: docs/write}
    per: record
    never: {tool: docs/read, per: id}
    since: {tool: docs/write}
"""


def outcome(rules: str, tests: str) -> list[str]:
    """The problems of tests beside rules; a file that does not read is one too."""
    checked = service.check([PERMIT, ("one.sequence.yaml", rules), ("one.test.yaml", "tests:\n" + tests)])
    return [fault.problem for fault in checked.faults]


@pytest.mark.req("R052")
@pytest.mark.parametrize(
    ("rules", "test"),
    [
        (SEND, "{tool: mail/send, arguments: {to: x@evil.com}, expect: allow}"),
        (SEND, "{tool: mail/send, arguments: {to: x@evil.com}, before: [{tool: crm/read}], expect: deny}"),
        (SEND, "{tool: mail/send, arguments: {to: a@example.com}, before: [{tool: crm/read}], expect: allow}"),
        (SEND, "{tool: mail/send, arguments: {to: [a@example.com, b@x]}, before: [{tool: crm/read}], expect: deny}"),
        (SEND, "{tool: mail/send, before: [{tool: crm/read}], expect: deny}"),  # whoever it goes to
        (SEND, "{tool: mail/send, before: [{tool: crm/read, running: true}], expect: deny}"),
        (SEND, "{tool: mail/send, before: [{tool: crm/read, failed: true}], expect: deny}"),
        (SEND, "{tool: mail/send, before: [{tool: crm/read, ago: 3h}], expect: allow}"),
        (SEND, "{tool: mail/send, before: [{tool: crm/read}, {tool: privacy/clear}], expect: allow}"),
        (SEND, "{tool: mail/send, before: [{tool: crm/read}, {tool: privacy/clear, failed: true}], expect: deny}"),
        (SEND, "{tool: mail/send, before: [{tool: crm/read}, {tool: privacy/clear, running: true}], expect: deny}"),
        (SEND, "{tool: mail/send, before: [{tool: privacy/clear}, {tool: crm/search}], expect: deny}"),
        (SEND, "{tool: mail/send, before: [{tool: crm/read, session: other}], expect: allow}"),
        (SEND, "{tool: mail/list, before: [{tool: crm/read}], expect: allow}"),
        (REFUNDS, "{tool: shop/refund, arguments: {case: 7}, before: [X, X], expect: allow}"),
        (REFUNDS, "{tool: shop/refund, arguments: {case: 7}, before: [X, X, X], expect: deny}"),
        (REFUNDS, "{tool: shop/refund, arguments: {case: 8}, before: [X, X, X], expect: allow}"),
        (REFUNDS, '{tool: shop/refund, arguments: {case: " 7.0"}, before: [X, X, X], expect: deny}'),
        (REFUNDS, "{tool: shop/refund, before: [], expect: deny}"),  # which case, it does not say
        (REFUNDS, "{tool: shop/refund, arguments: {case: 8}, before: [Y, Y, Y], expect: deny}"),  # might be any case
        (WRITE, "{tool: docs/write, arguments: {record: a}, expect: hold, policies: [write-after-read]}"),
        (WRITE, "{tool: docs/write, arguments: {record: a}, before: [R], expect: allow}"),
        (WRITE, "{tool: docs/write, arguments: {record: A}, before: [R], expect: hold}"),
        (WRITE, "{tool: docs/write, arguments: {record: a}, before: [R], approved: true, expect: allow}"),
        (WRITE, "{tool: docs/write, arguments: {record: a}, approved: true, expect: allow}"),
        (WRITE, "{tool: docs/write, arguments: {record: a}, before: [R, W], expect: hold}"),
        (WRITE, "{tool: docs/write, arguments: {record: a}, before: [{tool: docs/read}], expect: hold}"),
        (WRITE, "{tool: docs/write, arguments: {record: a}, before: [F], expect: hold}"),
    ],
)
def test_a_rule_says_what_it_reads(rules: str, test: str) -> None:
    short = {
        "X": "{tool: shop/refund, arguments: {case: 7}}",
        "Y": "{tool: shop/refund}",
        "R": "{tool: docs/read, arguments: {id: a}}",
        "W": "{tool: docs/write, arguments: {record: a}}",
        "F": "{tool: docs/read, arguments: {id: a}, failed: true}",
    }
    test = re.sub(r"\b([XYRWF])\b(?=[,\]])", lambda found: short[found[1]], test)
    assert outcome(rules, f"  - {{name: t, {test[1:]}") == []


def test_what_came_back_and_what_goes_out_are_told_by_what_is_found_in_them() -> None:
    rules = """
rules:
  - id: no-secret-leaves
    deny: {tool: mail/send, found: [contact]}
    once: {tool: "files/*", returned: [secret]}
"""
    key = "AKIAIOSFODNN7EXAMPLQ"
    read = f"{{tool: files/read, returned: 'aws_access_key_id = {key}'}}"
    send = "tool: mail/send, arguments: {text: 'write to ann@example.org'}"
    assert outcome(rules, f"  - {{name: a, {send}, before: [{read}], expect: deny}}") == []
    assert (
        outcome(rules, f"  - {{name: b, {send}, before: [{{tool: files/read, returned: nothing}}], expect: allow}}")
        == []
    )
    assert outcome(rules, f"  - {{name: c, tool: mail/send, before: [{read}], expect: allow}}") == []


def test_rules_are_part_of_the_version_and_a_broken_one_is_refused_with_its_line() -> None:
    good = compile_bundle([PERMIT, ("a.sequence.yaml", SEND)])
    other = compile_bundle([PERMIT, ("a.sequence.yaml", SEND.replace("2h", "3h"))])
    assert good.version != other.version != compile_bundle([PERMIT]).version
    broken = REFUNDS.replace("reached: 3", "reached: 0").replace(
        "shop/refund}\n    per", "shop/refund, wher: {}}\n    per"
    )
    with pytest.raises(Refused) as caught:
        compile_bundle([PERMIT, ("a.sequence.yaml", broken)])
    faults = caught.value.details["faults"]
    assert {(fault["file"], fault["line"]) for fault in faults} == {("a.sequence.yaml", 4), ("a.sequence.yaml", 7)}
    with pytest.raises(Refused, match="there is a Cedar policy all already"):
        compile_bundle([PERMIT, ("a.sequence.yaml", REFUNDS.replace("three-refunds-per-case", "all"))])
    twice = REFUNDS + REFUNDS.removeprefix("\nrules:\n")
    assert "two rules" in read_rules([("a.sequence.yaml", twice)]).faults[0].problem


def test_a_rule_that_no_test_decides_by_is_told() -> None:
    checked = service.check([PERMIT, ("a.sequence.yaml", SEND), ("b.sequence.yaml", REFUNDS)])
    assert checked.report is not None
    assert set(checked.report.untested) == {"all", "no-send-after-customer-data", "three-refunds-per-case"}


def test_the_folder_is_read_with_its_sequence_rules(tmp_path: Path) -> None:
    for name, text in (PERMIT, ("a.sequence.yaml", SEND), ("a.txt", "no")):
        (tmp_path / name).write_text(text)
    files, faults = service.read_folder(tmp_path)
    assert [name for name, _ in files] == ["a.sequence.yaml", "all.cedar"]
    assert faults == ()


def test_the_most_that_a_rule_keeps_is_stated() -> None:
    (send,) = read_rules([("a.sequence.yaml", SEND)]).rules
    (refunds,) = read_rules([("a.sequence.yaml", REFUNDS)]).rules
    assert send.state_bytes < 100
    assert refunds.state_bytes == 201 * (3 * 66 + 25)


def test_the_examples_of_the_docs_run() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sequence-policy.md").read_text()
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in blocks] == ["mail.sequence.yaml", "mail.test.yaml"]
    checked = service.check([PERMIT, *blocks])
    assert [fault.problem for fault in checked.faults] == []
    assert checked.report is not None
    assert checked.report.untested == ()
