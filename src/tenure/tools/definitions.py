"""Definitions of tools as a person reads them: which one is pinned, which one waits, and what differs. No I/O."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from tenure.kernel.fingerprint import fingerprint
from tenure.kernel.json import Json, JsonObject

FIRST_SIGHT = "system:tools"
"""Who pinned what was first seen in staging: nobody has read it yet."""
MOST = 100
"""Differences that are told."""
_TEXT = 4000
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition by its fingerprint. ``content`` is the fingerprint of all of it but the name; ``body`` is None for
    one that was too large to be sent."""

    workspace: str
    fingerprint: str
    content: str
    parts: Mapping[str, str]
    body: JsonObject | None


@dataclass(frozen=True, slots=True)
class Pin:
    """What is known of the definition of one agent's tool. ``pinned`` is the fingerprint under which it may be called,
    by whom and since when; ``seen`` another one that its server gave last and nobody accepted; ``like`` names another
    tool of the workspace that has or had ``seen`` for its own definition. ``rejected_by``: a person has said no to
    ``seen``."""

    workspace: str
    agent: str
    server: str
    tool: str
    pinned: str | None = None
    pinned_by: str = ""
    pinned_at: datetime | None = None
    seen: str | None = None
    seen_at: datetime | None = None
    like: str = ""
    rejected_by: str = ""
    reason: str = ""

    @property
    def resource(self) -> str:
        """``<server>/<tool>``."""
        return f"{self.server}/{self.tool}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two definitions differ: its path, and what stood and stands there, as JSON; None where nothing
    does. ``characters``: those of the new text that the old one lacks and that no eye can tell or would expect."""

    path: str
    before: str | None
    after: str | None
    characters: tuple[str, ...] = ()


def content_of(definition: JsonObject) -> str:
    """The fingerprint of all of a definition but its name."""
    return fingerprint({name: value for name, value in definition.items() if name != "name"}).digest


def differences(before: JsonObject, after: JsonObject) -> list[Difference]:
    """Where two definitions differ, by path, at most ``MOST`` places."""
    return list(islice(_walk("", before, after), MOST))


def _walk(path: str, before: Json, after: Json) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _walk(inner, before.get(name, _MISSING), after.get(name, _MISSING))
    elif _text(before) != _text(after):
        yield Difference(path, _text(before), _text(after), unusual(_text(after) or "", _text(before) or ""))


def _text(value: Json) -> str | None:
    if value is _MISSING:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}… ({len(text):,} characters)"


def unusual(text: str, known: str = "") -> tuple[str, ...]:
    """The characters of ``text`` beyond ASCII that ``known`` lacks, as ``U+0430 CYRILLIC SMALL LETTER A``: a letter
    that only looks like another, or one that is not seen at all, is told by its name."""
    found = dict.fromkeys(char for char in text if not char.isascii() and char not in known and char != "…")
    return tuple(f"U+{ord(char):04X} {unicodedata.name(char, 'unnamed')}" for char in islice(found, 20))
