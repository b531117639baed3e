"""Messages on their way to one client."""

from __future__ import annotations

import asyncio
from collections import deque


class Outbox:
    """What is told during one request, in its order, and then the answer. Lighter than a queue with a timeout around
    it: every call of a tool has one, and most are answered before anything is told."""

    __slots__ = ("_items", "_most", "_waiter")

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[tuple[bytes, bool]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def tell(self, message: bytes) -> bool:
        """Takes a message, unless so many wait already; whether it did."""
        if len(self._items) >= self._most:
            return False
        self._put((message, False))
        return True

    def answer(self, message: bytes) -> None:
        """Takes the answer, for which there is always room."""
        self._put((message, True))

    def _put(self, item: tuple[bytes, bool]) -> None:
        self._items.append(item)
        if self._waiter is not None:
            _ring(self._waiter)

    async def next(self, within_s: float | None = None) -> tuple[bytes, bool] | None:
        """The next message and whether it is the answer; None when there is none ``within_s`` seconds."""
        if not self._items:
            loop = asyncio.get_running_loop()
            self._waiter = waiter = loop.create_future()
            timer = loop.call_later(within_s, _ring, waiter) if within_s is not None else None
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return self._items.popleft() if self._items else None


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
