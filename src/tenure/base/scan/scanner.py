"""Looks for all rules at once, in time that grows with the length of the text and nothing else.

Two passes. The first asks hyperscan which rules may match anywhere; each reports once at most, so a text without
findings costs one pass and makes no object, whatever it holds. Only for the rules that did, the second walks from
finding to finding: hyperscan says where the next one begins, ``re`` (anchored there) how far it reaches, the rule's
check whether it is one. No byte is looked at more than a fixed number of times for a rule.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import hyperscan

from tenure.base.scan.rules import FIELD_NAME, RULES, Rule


@dataclass(frozen=True, slots=True)
class Finding:
    """``rule`` matched ``text[start:end]`` (bytes); ``kind`` is its class."""

    rule: str
    kind: str
    start: int
    end: int


class _Scratch(threading.local):
    """Hyperscan's working memory: one for each thread, grown to every database it is used with."""

    def __init__(self) -> None:
        self.known: dict[int, hyperscan.Scratch] = {}

    def of(self, key: int, database: hyperscan.Database) -> hyperscan.Scratch:
        """The one for ``database``, which is known as ``key``."""
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = hyperscan.Scratch(database)
        return found


_scratch = _Scratch()
_lock = threading.Lock()
_databases: dict[int, hyperscan.Database] = {}
_ALL = -1
_NAME = len(RULES)  # what the database of all rules says for FIELD_NAME, which is no rule
_FINDINGS, _CANDIDATES = 1000, 20_000
"""How often one rule may find something in a text, or ask its check; then all the rest is taken for one finding."""


def _compiled(key: int) -> hyperscan.Database:
    """The database of all rules (``_ALL``), or of the one at that place; compiled once for the process."""
    known = _databases.get(key)
    if known is not None:
        return known
    with _lock:
        if key not in _databases:
            chosen = range(len(RULES)) if key == _ALL else [key]
            patterns = [RULES[index].pattern for index in chosen]
            if key == _ALL:
                chosen, patterns = [*chosen, _NAME], [*(rule.hint or rule.pattern for rule in RULES), FIELD_NAME]
            # Where it begins is asked of one rule only: of all together that would cost nine times as much.
            flag = hyperscan.HS_FLAG_SINGLEMATCH if key == _ALL else hyperscan.HS_FLAG_SOM_LEFTMOST
            database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            database.compile(
                expressions=[pattern.encode("ascii") for pattern in patterns],
                ids=list(chosen),
                flags=[flag] * len(chosen),
            )
            _databases[key] = database
        return _databases[key]


@lru_cache(maxsize=len(RULES))
def _extent(index: int) -> re.Pattern[bytes]:
    return re.compile((RULES[index].extent or RULES[index].pattern).encode("ascii"))


def prepare() -> None:
    """Compiles the rules, so that the first text need not wait for it."""
    _compiled(_ALL)


def hits(text: bytes) -> list[int]:
    """The places in ``RULES`` of the rules whose hint matches anywhere, and maybe their pattern."""
    return [index for index in _fired(text) if index != _NAME]


def suspect(text: bytes) -> bool:
    """Whether the pattern of any rule matches anywhere, or the text is JSON with a field that a secret may be in."""
    return bool(_fired(text))


def ends(text: bytes) -> list[int]:
    """As ``suspect``, where the first match of each rule ends, and of the field's name."""
    return [end for _, end in _matched(text)]


def _fired(text: bytes) -> list[int]:
    return [index for index, _ in _matched(text)]


def _matched(text: bytes) -> list[tuple[int, int]]:
    """(place in ``RULES``, end of its first match) of what matches anywhere."""
    found: list[tuple[int, int]] = []
    database = _compiled(_ALL)
    database.scan(text, match_event_handler=_note, context=found, scratch=_scratch.of(_ALL, database))
    return found


def _note(index: int, _start: int, end: int, _flags: int, found: Any) -> None:
    found.append((index, end))


def _first(index: int, start: int, end: int, _flags: int, found: Any) -> bool:  # noqa: ARG001 (hyperscan's signature)
    found.append((start, end))
    return True


def scan(text: bytes) -> tuple[Finding, ...]:
    """Everything that is found, by where it begins."""
    fired = hits(text)
    return find(text, fired) if fired else ()


def find(text: bytes, fired: Iterable[int]) -> tuple[Finding, ...]:
    """As ``scan``, for the rules that ``hits`` named."""
    found = [finding for index in fired for finding in _walk(index, RULES[index], text)]
    return tuple(sorted(found, key=lambda finding: (finding.start, -finding.end)))


def _walk(index: int, rule: Rule, text: bytes) -> Iterable[Finding]:
    database, extent = _compiled(index), _extent(index)
    scratch = _scratch.of(index, database)
    view: Any = memoryview(text)  # hyperscan's stub knows bytes only
    at = 0
    found = asked = 0
    while at < len(text):
        if found == _FINDINGS or asked == _CANDIDATES:
            yield Finding(rule.id, rule.kind, at, len(text))
            return
        asked += 1
        place: list[tuple[int, int]] = []
        with contextlib.suppress(hyperscan.ScanTerminated):  # by us, at the first match
            database.scan(view[at:], match_event_handler=_first, context=place, scratch=scratch)
        if not place:
            return
        start, end = at + place[0][0], at + place[0][1]
        match = extent.match(text, start)
        inner = (start, end)
        if match is not None:
            inner, end = match.span(match.lastindex or 0), max(end, match.end())
        if rule.check is None or rule.check(text[inner[0] : inner[1]]):
            yield Finding(rule.id, rule.kind, *inner)
            found += 1
        at = end


def redact(text: bytes, findings: Iterable[Finding]) -> bytes:
    """``text`` with ``[redacted:RULE]`` in place of each finding; of two that overlap, of the one that begins first."""
    out, at = [], 0
    for finding in findings:
        if finding.start >= at:
            out.append(text[at : finding.start] + b"[redacted:" + finding.rule.encode() + b"]")
            at = finding.end
        elif finding.end > at:
            at = finding.end  # what overlaps goes with it
    return b"".join([*out, text[at:]])
