"""The load generator, in a process of its own: what it is told comes in on stdin, what it saw goes out on stdout.

One JSON object a line. ``{"port", "request", "lines", "warm"}`` opens so many connections to a port and sends ``warm``
requests on each; ``{"count"}`` or ``{"seconds"}`` then runs them, each sending its next request as soon as an answer is
whole, and answers with the times. No futures and no tasks between two requests: a callback that has read an answer
writes the next request.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from time import perf_counter_ns
from typing import Any

import uvloop


class Line(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: Any = None
        self._head = b""
        self._tail = b""
        self._left = -1  # bytes of the body still to come; -1 while the head is not complete, -2 for a chunked body
        self._begun = 0
        self._first = 0
        self._until = 0
        self._count = 0
        self._done: asyncio.Future[None] | None = None
        self.times: list[int] = []
        self.firsts: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that will not come any more."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError(f"the server hung up: {exc}"))

    def go(self, count: int, until: int) -> asyncio.Future[None]:
        """Sends up to ``count`` requests, none after ``until`` (perf_counter_ns)."""
        self.times, self.firsts = [], []
        self._count, self._until = count, until
        self._done = asyncio.get_running_loop().create_future()
        self._ask()
        return self._done

    def _ask(self) -> None:
        self._head, self._tail, self._left, self._first = b"", b"", -1, 0
        self._begun = perf_counter_ns()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Takes what arrived, and asks again when the answer is whole."""
        now = perf_counter_ns()
        if self._left == -1:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200") and self._done is not None and not self._done.done():
                self._done.set_exception(ValueError((head + data)[:2000].decode("latin-1")))
                return
            low = head.lower()
            at = low.find(b"content-length:")
            self._left = int(low[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -2
        if data and not self._first:
            self._first = now
        if self._left >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._answered(now)
        else:
            self._tail = (self._tail + data)[-7:]
            if self._tail == b"\r\n0\r\n\r\n":
                self._answered(now)

    def _answered(self, now: int) -> None:
        self.times.append(now - self._begun)
        self.firsts.append(self._first - self._begun)
        if len(self.times) < self._count and now < self._until:
            self._ask()
        elif self._done is not None and not self._done.done():
            self._done.set_result(None)

    def close(self) -> None:
        """Hangs up."""
        self._done = None
        self._transport.close()


async def _open(order: dict[str, Any]) -> list[Line]:
    loop = asyncio.get_running_loop()
    request = order["request"].encode("latin-1")
    lines = [
        (await loop.create_connection(lambda: Line(request), "127.0.0.1", order["port"]))[1]
        for _ in range(order["lines"])
    ]
    await asyncio.gather(*(line.go(order["warm"], 1 << 62) for line in lines))
    return lines


async def _run(lines: list[Line], order: dict[str, Any]) -> dict[str, Any]:
    gc.collect()
    begun = perf_counter_ns()
    until = begun + int(order.get("seconds", 3600) * 1e9)
    await asyncio.gather(*(line.go(order.get("count", 1 << 30), until) for line in lines))
    took = perf_counter_ns() - begun
    return {
        "took_s": took / 1e9,
        "times_us": [time / 1000 for line in lines for time in line.times],
        "firsts_us": [first / 1000 for line in lines for first in line.firsts],
    }


async def _obey() -> None:
    lines: list[Line] = []
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while order := await reader.readline():
        given = json.loads(order)
        answer: dict[str, Any] = {}
        try:
            if "port" in given:
                for line in lines:
                    line.close()
                lines = await _open(given)
            else:
                answer = await _run(lines, given)
        except (ConnectionError, ValueError) as error:
            answer = {"problem": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    gc.freeze()
    gc.disable()  # collected between two runs instead
    uvloop.run(_obey())
