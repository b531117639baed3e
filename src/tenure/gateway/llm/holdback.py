"""Holding back a stream as far as it must be looked at first: used only where policy decides on what comes back.

A piece is passed on when the words in it are complete: the last word that came, and the groups of digits before it, may
be the beginning of something. So a secret that is one word is cut off, or taken out, before any of it has gone; of an
order in several words ("ignore all previous ...") all but the last word has. A word of more than ``_LONGEST``
characters is passed on. An event from which something is taken out is written anew; all others keep their bytes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection
from typing import Any

import msgspec

from tenure.base.scan.texts import Counts, clean, look, spans, words
from tenure.gateway.llm.codec import parsed
from tenure.gateway.llm.stream import EVENT_MAX
from tenure.gateway.returned import Watch, Withheld, in_one_piece
from tenure.gateway.verdict import Verdict
from tenure.policy.model import redactions

_LONGEST = 8192
_TAIL = 2 * _LONGEST
_PATHS = 1000
_END = re.compile(rb"\r?\n\r?\n|\r\r")
_GROUP = re.compile(r"(?=[A-Z-]*\d)[A-Z0-9-]{1,7}")
_GROUPS = 8
# The names under which a provider's events carry the next part of a text, whatever their shape; all others are whole.
_PARTS = frozenset(
    {"content", "text", "delta", "arguments", "partial_json", "thinking", "refusal", "reasoning_content"}
)
_PLACES = ("index", "output_index", "content_index", "item_id")


class _Text:
    """One text that comes in parts: its end so far, how long it is, and where its last, incomplete word begins."""

    __slots__ = ("length", "marked", "open", "tail")

    def __init__(self) -> None:
        self.tail = ""
        self.length = self.open = 0
        self.marked: set[int] = set()  # where findings begin in whose place a mark was put

    def add(self, part: str) -> None:
        self.length += len(part)
        self.tail = (self.tail + part)[-_TAIL:]
        run = _run(self.tail)
        self.open = self.length - (run if run <= _LONGEST else 0)

    def without(self, part: str, end: int, what: Collection[str]) -> str:
        """The part that ends at ``end``, without the findings of ``what``: a mark where each begins, or where the rest
        of one begins that was passed on, and nothing for what else is of it."""
        base, start = self.length - len(self.tail), end - len(part)
        out, at = [], start
        for since, until, rule in spans(self.tail, what):
            first, last = since + base, until + base
            if last <= at or first >= end:
                continue
            out.append(part[at - start : max(first, at) - start])
            if first not in self.marked:
                self.marked.add(first)
                out.append(f"[redacted:{rule}]")
            at = min(last, end)
        return "".join([*out, part[at - start :]])


class _Spot:
    """A text in an event: where it stands, and, if it goes on in later events, of what it is a part."""

    __slots__ = ("end", "holder", "key", "part", "text")

    def __init__(self, holder: Any, key: Any, part: str) -> None:
        self.holder = holder
        self.key = key
        self.part = part
        self.text: _Text | None = None
        self.end = 0


class _Block:
    """One event, as it came and as it was read; ``value`` is None for one that is no JSON."""

    __slots__ = ("raw", "spots", "value")

    def __init__(self, raw: bytes, value: Any, spots: list[_Spot]) -> None:
        self.raw = raw
        self.value = value
        self.spots = spots

    @property
    def complete(self) -> bool:
        """Whether every word in it is."""
        return all(spot.text is None or spot.end <= spot.text.open for spot in self.spots)

    def without(self, what: Collection[str]) -> bytes:
        """The event without the findings of ``what``; its own bytes where there are none."""
        changed = False
        for spot in self.spots:
            text = spot.text
            now = clean(spot.part, what) if text is None else text.without(spot.part, spot.end, what)
            if now != spot.part and spot.holder is not None:
                spot.holder[spot.key] = now
                changed = True
        if not changed:
            return self.raw
        lines = [line for line in _lines(self.raw) if line and not line.startswith(b"data:")]
        return b"\n".join([*lines, b"data: " + msgspec.json.encode(self.value), b"", b""])


class Holdback:
    """One for each stream. ``is_events``: server-sent events; else it is looked at as one text. ``verdict`` is the one
    under which something is redacted, None while nothing is."""

    def __init__(self, watch: Watch, is_events: bool) -> None:
        self.verdict: Verdict | None = None
        self._watch = watch
        self._is_events = is_events
        self._rest = b""  # of an event that is not complete
        self._held: deque[_Block] = deque()
        self._texts: dict[Any, _Text] = {}
        self._known: set[str] = set()
        self._evidence: list[str] = []
        self._what: frozenset[str] = frozenset()

    def feed(self, chunk: bytes) -> bytes:
        """What of the stream may be passed on, now that ``chunk`` has come. Raises Withheld."""
        if not self._is_events:
            spot = _Spot(None, None, chunk.decode("utf-8", "replace"))
            return self._look_at([(_Block(chunk, None, [spot]), [()])])
        data = self._rest + chunk
        blocks, at = [], 0
        for match in _END.finditer(data):
            blocks.append(data[at : match.end()])
            at = match.end()
        self._rest = data[at:]
        if len(self._rest) > EVENT_MAX:  # too long to be read: looked at as it is
            blocks.append(self._rest)
            self._rest = b""
        return self._look_at([_read(block) for block in blocks])

    def end(self) -> bytes:
        """The rest, when the stream is over. Raises Withheld."""
        settled = self._look_at([_read(self._rest)]) if self._rest else b""
        return settled + b"".join(self._ready(block) for block in self._held)

    def _look_at(self, blocks: list[tuple[_Block, list[Any]]]) -> bytes:
        settled = []
        try:
            for block, paths in blocks:
                self._take(block, paths)
                settled.append(self._settled())
        except Withheld as withheld:
            withheld.settled = b"".join(settled)
            raise
        return b"".join(settled)

    def _take(self, block: _Block, paths: list[Any]) -> None:
        for spot, path in zip(block.spots, paths, strict=True):
            if path is None:
                self._look(spot.part, spot)
                continue
            text = self._texts.get(path)
            if text is None:
                while len(self._texts) >= _PATHS:
                    del self._texts[next(iter(self._texts))]
                text = self._texts[path] = _Text()
            text.add(spot.part)
            spot.text, spot.end = text, text.length
            self._look(text.tail, spot)
        self._held.append(block)

    def _look(self, text: str, spot: _Spot) -> None:
        found = look(text)
        fresh = set(found) - self._known
        if fresh:
            self._known |= fresh
            self._evidence.append(text)
            verdict = self._watch(self._evidence)
            if verdict is not None:
                if not verdict.allowed:
                    raise Withheld(verdict)
                self.verdict, self._what = verdict, redactions(verdict.decision)
        if self._what and found and not self._can_redact(text, found, spot):
            assert self.verdict is not None  # noqa: S101 (set together with _what)
            raise Withheld(in_one_piece(self.verdict, "redacts"))

    def _can_redact(self, text: str, found: Counts, spot: _Spot) -> bool:
        """Whether all that must go can be taken out where it stands: what is found only in JSON within a text that is
        still coming, or in bytes that are no event, cannot."""
        wanted = {rule for rule in found if self._what & words({rule: 1})}
        if spot.holder is not None and spot.text is None:
            return True
        return not wanted or (spot.holder is not None and wanted <= {rule for _, _, rule in spans(text, wanted)})

    def _ready(self, block: _Block) -> bytes:
        return block.without(self._what) if self._what else block.raw

    def _settled(self) -> bytes:
        out = []
        while self._held and self._held[0].complete:
            out.append(self._ready(self._held.popleft()))
        return b"".join(out)


def _run(text: str) -> int:
    """How many characters at the end of a text may be the beginning of something: its last word, and with it the short
    groups of digits and capitals before it."""
    start = _word(text, len(text))
    for _ in range(_GROUPS):
        if start == 0 or text[start - 1] != " ":
            break
        before = _word(text, start - 1)
        if not _GROUP.fullmatch(text, before, start - 1):
            break
        start = before
    return len(text) - start


def _word(text: str, end: int) -> int:
    return max(text.rfind(space, 0, end) for space in " \n\t\r") + 1


def _lines(block: bytes) -> list[bytes]:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def _read(raw: bytes) -> tuple[_Block, list[Any]]:
    """An event with its texts; and to each the name of the text that it is a part of, None for one that is whole."""
    data = b"\n".join(line[5:].removeprefix(b" ") for line in _lines(raw) if line.startswith(b"data:"))
    value = parsed(data)
    if value is None:
        return _Block(raw, None, [_Spot(None, None, raw.decode("utf-8", "replace"))]), [None]
    spots, paths = [], []
    stack: list[tuple[Any, Any, Any, Any]] = [((), None, None, value)]
    while stack:
        path, holder, key, item = stack.pop()
        if isinstance(item, dict):
            place = tuple(item[name] for name in _PLACES if isinstance(item.get(name), int | str))
            stack.extend(((*path, place, name), item, name, part) for name, part in reversed(item.items()))
        elif isinstance(item, list):
            stack.extend((path, item, at, item[at]) for at in reversed(range(len(item))))
        elif isinstance(item, str):
            spots.append(_Spot(holder, key, item))
            paths.append(path if path and path[-1] in _PARTS else None)
    return _Block(raw, value, spots), paths
