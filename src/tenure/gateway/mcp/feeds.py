"""An event stream on which a client is told of changes: each one once, however often it happened since it was told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

from tenure.gateway.mcp import codec

Key: TypeAlias = tuple[str, str]
"""A change: the notification's method and, for a resource, its URI. ``("", "")`` tells nothing but the event's id."""
NOTHING: Key = ("", "")
_MOST = 1024


class Feed:
    """One client's stream. ``frame`` makes the event that tells of a change. It ends by ``end``, when the client reads
    so slowly that ``_MOST`` different changes wait, and at ``until`` (Unix seconds), when its credential expires."""

    def __init__(self, frame: Callable[[Key], bytes], until: float) -> None:
        self._frame = frame
        self._until = until
        self._waiting: dict[Key, None] = {}
        self._wake = asyncio.Event()
        self._last: bytes | None = None

    def tell(self, key: Key) -> None:
        """Puts a change into the stream, unless it waits there already."""
        self._waiting.pop(key, None)  # to the end: a client goes on after the number of the last that it saw
        self._waiting[key] = None
        if len(self._waiting) > _MOST:
            self._waiting.clear()
            self.end()
        self._wake.set()

    def end(self, last: bytes = b"") -> None:
        """Ends the stream after what waits, with ``last`` as the last thing said."""
        if self._last is None:
            self._last = last
        self._wake.set()

    async def body(self, first: bytes, last: bytes, ping_s: float) -> AsyncIterator[bytes]:
        """The stream's bytes. ``last`` is what it ends with when nothing else was said to be."""
        yield first
        while True:
            waiting, self._waiting = self._waiting, {}
            if waiting:
                if NOTHING in waiting:
                    waiting[NOTHING] = waiting.pop(NOTHING)
                yield b"".join(map(self._frame, waiting))
                continue
            if self._last is None and time.time() >= self._until:
                self._last = last
            if self._last is not None:
                if self._last:
                    yield self._last
                return
            try:
                async with asyncio.timeout(min(ping_s, max(0.01, self._until - time.time()))):
                    await self._wake.wait()
            except TimeoutError:
                yield codec.WORKING
            self._wake.clear()
