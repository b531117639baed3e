"""What a change of sequence rules lets through more or less, told by sessions that show it."""

from __future__ import annotations

import pytest

from tenure.policy.diff.sequels import RuleChange, changed_rules
from tenure.policy.model import Bundle, compile_bundle
from tests.sim.policy import PERMIT

REFUNDS = """
  - id: refunds
    deny: {tool: shop/refund}
    per: case
    count: {tool: shop/refund, failed: ignored}
    reached: 3
    within: 1h
"""
SEND = """
  - id: send
    deny: {tool: mail/send, where: {to: {unlike: "*@example.com"}}}
    once: {tool: crm/read}
    since: {tool: privacy/clear}
"""
WRITE = """
  - id: write
    hold: {tool: docs/write}
    per: record
    never: {tool: docs/read, per: id}
"""


ONE = "shop/refund (case k1)"


def _bundle(rules: str) -> Bundle:
    files = [("p.cedar", PERMIT), *([("s.sequence.yaml", "rules:" + rules)] if rules else [])]
    return compile_bundle(files)


def _one(before: str, after: str) -> RuleChange:
    found = changed_rules(_bundle(before), _bundle(after))
    assert len(found) == 1, found
    return found[0]


def _said(change: RuleChange) -> tuple[str, str]:
    return (change.more.session if change.more else "", change.less.session if change.less else "")


def test_a_rule_that_is_new_or_gone_is_told_by_the_shortest_session_that_it_is_about() -> None:
    new = _one("", SEND)
    assert (new.what, new.fields) == ("added", ())
    assert _said(new) == ("", "crm/read, then mail/send (to ~another)")
    assert new.less is not None
    assert new.less.words.endswith("the last is denied, and passed until now")
    gone = _one(SEND + WRITE, WRITE)
    assert (gone.what, _said(gone)) == ("removed", ("crm/read, then mail/send (to ~another)", ""))
    assert _said(_one("", WRITE)) == ("", "docs/write (record k1)")


@pytest.mark.req("R073")
@pytest.mark.parametrize(
    ("old", "new", "field", "more", "less"),
    [
        ("reached: 3", "reached: 5", "reached", f"{ONE} 3 times, then {ONE}", ""),
        ("reached: 3", "reached: 2", "reached", "", f"{ONE} 2 times, then {ONE}"),
        ("within: 1h", "within: 2h", "within", "", f"{ONE} 3 times 3601 s before, then {ONE}"),
        ("    within: 1h\n", "", "within", "", f"{ONE} 3 times 3601 s before, then {ONE}"),
        ("deny:", "hold:", "effect", "shop/refund", ""),  # one that does not say its case was refused at once
        (", failed: ignored", "", "pattern", "", f"{ONE} 2 times, then {ONE[:-1]}; failed), then {ONE}"),
    ],
)
def test_a_changed_bound_is_told_in_its_direction(old: str, new: str, field: str, more: str, less: str) -> None:
    change = _one(REFUNDS, REFUNDS.replace(old, new))
    assert (change.what, change.fields) == ("rewritten", (field,))
    assert _said(change) == (more, less)


def test_what_gives_here_and_takes_there_is_told_both_ways() -> None:
    change = _one(SEND, SEND.replace("*@example.com", "*@example.org"))
    assert change.fields == ("trigger",)
    assert all(_said(change))


def test_another_reason_or_place_is_no_change_and_no_difference_is_said_to_be_none() -> None:
    moved = "\n  # moved\n" + REFUNDS.replace("deny:", "reason: so it is\n    deny:")
    assert changed_rules(_bundle(REFUNDS), _bundle(moved)) == ()
    twice = REFUNDS + REFUNDS.replace("id: refunds", "id: again")
    change = _one(REFUNDS, twice)
    assert (change.what, _said(change)) == ("added", ("", ""))
    assert change.traces > 20
