"""Reading a stream while it passes, for the record: the facts of one of any length, its content up to a bound. Pure.

What is fed in is a copy; nothing here is between the upstream and the agent.
"""

from __future__ import annotations

import codecs
import json
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from tenure.gateway.llm.codec import CAPTURE_MAX, Stream, parsed
from tenure.kernel.json import JsonObject

EVENT_MAX = 16 << 20
"""Longest single event that is read, in bytes. A longer one is passed on and not read."""
_BATCH = 32 << 10  # reading many chunks at once is cheaper, and a short stream is not read before it is over


class Capture:
    """Keeps what passes until it is worth reading."""

    __slots__ = ("_chunks", "_size", "_stream", "passed")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._chunks: list[bytes] = []
        self._size = 0
        self.passed = 0

    def add(self, chunk: bytes) -> None:
        """One chunk has been passed on."""
        self._chunks.append(chunk)
        size = len(chunk)
        self.passed += size
        self._size += size
        if self._size >= _BATCH:
            self._read()

    def _read(self) -> None:
        chunks, self._chunks, self._size = self._chunks, [], 0
        self._stream.feed(b"".join(chunks))

    def attributes(self) -> dict[str, Any]:
        """What the stream has told."""
        self._read()
        return self._stream.attributes()


class Room:
    """What may still be kept of a stream's content, so that memory has a bound. ``full`` once something was not."""

    __slots__ = ("_left", "full")
    _EACH = 64  # what a piece takes besides its text

    def __init__(self, size: int = CAPTURE_MAX) -> None:
        self._left = size
        self.full = False

    def take(self, size: int) -> bool:
        """Whether a piece of that size may be kept. After the first that may not, none may: no text has a hole."""
        self._left -= size + self._EACH
        if self._left < 0:
            self.full = True
        return not self.full


class Events:
    """Takes server-sent events (WHATWG HTML section 9.2) apart; ``lost`` once one was longer than is read."""

    __slots__ = ("_rest", "_size", "_skipping", "lost")

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of an event that is not complete
        self._size = 0
        self._skipping = False
        self.lost = False

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that is complete."""
        if self._size > _BATCH and b"\r" not in data and b"\n\n" not in self._rest[-1][-1:] + data:
            self._keep(data)  # in the middle of a long one: it is put together once, at its end
            return []
        data = b"".join((*self._rest, data))
        held = b""
        if b"\r" in data:
            held = b"\r" if data.endswith(b"\r") else b""  # it may be half of a line's end
            data = data[: len(data) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, rest = data.split(b"\n\n")
        if self._skipping and blocks:
            self._skipping = False
            del blocks[0]
        self._rest, self._size = [], 0
        self._keep(rest + held)
        return [found for block in blocks if (found := _data(block)) is not None]

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self._rest.append(data)
        self._size += len(data)
        if self._size > EVENT_MAX:
            self._rest, self._size, self._skipping, self.lost = [data[-1:]], 1, True, True

    def end(self) -> list[bytes]:
        """The data of an event that nothing came after."""
        found = None if self._skipping else _data(b"".join(self._rest).replace(b"\r", b"\n"))
        self._rest, self._size = [], 0
        return [] if found is None else [found]


def _data(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block:  # as most are
        return block[6:]
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


class Elements:
    """Takes a JSON array of objects apart as it grows; ``broken`` once it is none, or one of them is too long."""

    __slots__ = ("_decoder", "_rest", "_wanted", "broken")
    _READER = json.JSONDecoder()

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._wanted = 0  # an element that is not whole yet is looked at again when there is twice as much of it
        self.broken = False

    def feed(self, data: bytes) -> list[JsonObject]:
        """The objects that are complete."""
        if self.broken:
            return []
        rest = self._rest = self._rest + self._decoder.decode(data)
        if len(rest) < self._wanted:
            return []
        found: list[JsonObject] = []
        at, size = 0, len(rest)
        while True:
            while at < size and rest[at] in "[, \t\r\n]":
                at += 1
            if at == size:
                break
            if rest[at] != "{":
                self.broken = True
                break
            try:
                value, at = self._READER.raw_decode(rest, at)
            except (ValueError, RecursionError):
                self.broken = size - at > EVENT_MAX
                break
            found.append(value)
        self._rest = "" if self.broken else rest[at:]
        self._wanted = 2 * len(self._rest) if size - at > _BATCH else 0
        return found


class EventStream:
    """A stream of server-sent events whose data are JSON objects. A wire adds what an event means to it.

    ``error`` is what went wrong, as attributes; ``said`` the room for what the model says, ``called`` that for the
    arguments of the tools it calls, which are told however much was said before.
    """

    def __init__(self) -> None:
        self._events = Events()
        self.error: dict[str, Any] = {}
        self.ended = False
        self.said = Room()
        self.called = Room()

    @abstractmethod
    def event(self, value: JsonObject) -> None:
        """Takes one event's object."""

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """The attributes of all that was taken, but for ``error``."""

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        for one in self._events.feed(data):
            self._take(one)

    def _take(self, data: bytes) -> None:
        value = parsed(data)
        if isinstance(value, dict):
            self.event(value)
        elif data == b"[DONE]":
            self.ended = True
        else:
            self.error = {"error.type": "garbage"}

    def attributes(self) -> dict[str, Any]:
        """What the stream has told; ``error.type`` incomplete when it ended before its end."""
        for one in self._events.end():
            self._take(one)
        out = self.told()
        if self.said.full or self.called.full or self._events.lost:
            out["tenure.capture.truncated"] = True
        return out | (self.error or ({} if self.ended else {"error.type": "incomplete"}))


def read(streamed: Callable[[], Stream], body: bytes) -> dict[str, Any]:
    """The attributes of a stream that is here as a whole."""
    stream = streamed()
    stream.feed(body)
    return stream.attributes()
