"""Holding back a stream as far as it must be looked at first: used only where policy decides on what comes back.

A piece is passed on when the words in it are complete: the last word that came, and the groups of digits before it, may
be the beginning of something. So a secret that is one word is cut off before any of it has gone; of an order in several
words ("ignore all previous ...") all but the last word has. A word of more than ``_LONGEST`` characters is passed on.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from tenure.base.scan.texts import look
from tenure.gateway.llm.codec import parsed
from tenure.gateway.llm.stream import EVENT_MAX
from tenure.gateway.returned import Watch, Withheld

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

    __slots__ = ("length", "open", "tail")

    def __init__(self) -> None:
        self.tail = ""
        self.length = self.open = 0

    def add(self, part: str) -> None:
        self.length += len(part)
        self.tail = (self.tail + part)[-_TAIL:]
        run = _run(self.tail)
        self.open = self.length - (run if run <= _LONGEST else 0)


class Holdback:
    """One for each stream. ``is_events``: server-sent events; else it is looked at as one text."""

    def __init__(self, watch: Watch, is_events: bool) -> None:
        self._watch = watch
        self._is_events = is_events
        self._rest = b""  # of an event that is not complete
        self._held: deque[tuple[bytes, dict[Any, int]]] = deque()
        self._texts: dict[Any, _Text] = {}
        self._known: set[str] = set()
        self._evidence: list[str] = []

    def feed(self, chunk: bytes) -> bytes:
        """What of the stream may be passed on, now that ``chunk`` has come. Raises Withheld."""
        if not self._is_events:
            return self._look_at([(chunk, [((), chunk.decode("utf-8", "replace"), True)])])
        data = self._rest + chunk
        blocks, at = [], 0
        for match in _END.finditer(data):
            blocks.append(data[at : match.end()])
            at = match.end()
        self._rest = data[at:]
        if len(self._rest) > EVENT_MAX:  # too long to be read: looked at as it is
            blocks.append(self._rest)
            self._rest = b""
        return self._look_at([(block, _parts(block)) for block in blocks])

    def end(self) -> bytes:
        """The rest, when the stream is over. Raises Withheld."""
        settled = self._look_at([(self._rest, _parts(self._rest))]) if self._rest else b""
        return settled + b"".join(block for block, _ in self._held)

    def _look_at(self, blocks: list[tuple[bytes, list[tuple[Any, str, bool]]]]) -> bytes:
        settled = []
        try:
            for block, parts in blocks:
                self._take(block, parts)
                settled.append(self._settled())
        except Withheld as withheld:
            withheld.settled = b"".join(settled)
            raise
        return b"".join(settled)

    def _take(self, block: bytes, parts: list[tuple[Any, str, bool]]) -> None:
        ends: dict[Any, int] = {}
        for path, part, goes_on in parts:
            if not goes_on:
                self._look(part)
                continue
            text = self._texts.get(path)
            if text is None:
                while len(self._texts) >= _PATHS:
                    del self._texts[next(iter(self._texts))]
                text = self._texts[path] = _Text()
            text.add(part)
            self._look(text.tail)
            ends[path] = text.length
        self._held.append((block, ends))

    def _look(self, text: str) -> None:
        fresh = set(look(text)) - self._known
        if fresh:
            self._known |= fresh
            self._evidence.append(text)
            verdict = self._watch(self._evidence)
            if verdict is not None:
                raise Withheld(verdict)

    def _settled(self) -> bytes:
        out = []
        while self._held:
            block, ends = self._held[0]
            if any(path in self._texts and end > self._texts[path].open for path, end in ends.items()):
                break
            out.append(block)
            self._held.popleft()
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


def _parts(block: bytes) -> list[tuple[Any, str, bool]]:
    """The texts of one event: where each belongs, what it says, and whether it goes on in later events."""
    lines = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
    value = parsed(data)
    if value is None:
        return [((), block.decode("utf-8", "replace"), False)]
    out: list[tuple[Any, str, bool]] = []
    stack: list[tuple[Any, Any]] = [((), value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            place = tuple(item[name] for name in _PLACES if isinstance(item.get(name), int | str))
            stack.extend(((*path, place, name), part) for name, part in reversed(item.items()))
        elif isinstance(item, list):
            stack.extend((path, part) for part in reversed(item))
        elif isinstance(item, str):
            out.append((path, item, bool(path) and path[-1] in _PARTS))
    return out
