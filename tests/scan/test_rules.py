"""Each rule finds what it is for and passes by what only looks like it; ordinary text is left alone."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenure.base.scan.rules import CLASSES, FIELD, FLAGGING, NAMES, RULES, Rule
from tenure.base.scan.scanner import scan

ORDINARY = Path(__file__).with_name("ordinary.txt").read_text(encoding="utf-8")
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def rules_of(text: str) -> set[str]:
    return {finding.rule for finding in scan(text.encode())}


@pytest.mark.req("R092", "R058")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_finds_its_example_wherever_it_stands_and_not_what_is_near(rule: Rule) -> None:
    for text in (rule.example, f"so: {rule.example} .", f"first\n{rule.example}\nlast", f'"{rule.example}"'):
        assert rule.id in rules_of(text), text
    assert rule.id not in rules_of(rule.near)


def test_ids_are_unique_and_of_a_known_class() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert {rule.kind for rule in RULES} == set(CLASSES)
    assert set(CLASSES) >= FLAGGING
    assert {FIELD, "secret", *ids} <= NAMES


@pytest.mark.req("R092")
@pytest.mark.twin("ASI01")
def test_ordinary_text_raises_no_alarm() -> None:
    lines = {line: found for line in ORDINARY.splitlines() if (found := rules_of(line))}
    assert lines == {}


def _recorded() -> Iterator[str]:
    """Every text of the recorded sessions."""
    airline = json.loads(lzma.decompress((DATA / "tau-bench" / "gpt-4o-airline.json.xz").read_bytes()))
    lines = lzma.decompress((DATA / "who-and-when" / "algorithm-generated.jsonl.xz").read_bytes()).splitlines()
    stack: list[Any] = [airline, *map(json.loads, lines)]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


@pytest.mark.req("R092")
@pytest.mark.skipif(not DATA.exists(), reason="the recorded sessions (shared/data) are not here")
def test_recorded_sessions_hold_what_they_hold_and_raise_no_false_alarm() -> None:
    """5.3 MB of real sessions: all that is found is true (addresses, telephone numbers, dates of birth)."""
    truth = {
        "contact/email": r"@[a-z]",
        "contact/phone": r"\d{3}\D+\d{4}$",
        "personal/date-of-birth": r"^\d{4}-\d\d-\d\d$",
    }
    found = 0
    for text in _recorded():
        raw = text.encode()
        for finding in scan(raw):
            found += 1
            told = raw[finding.start : finding.end].decode()
            assert finding.rule in truth, f"{finding.rule}: {told}"
            assert re.search(truth[finding.rule], told, re.IGNORECASE), f"{finding.rule}: {told}"
    assert found > 1000
