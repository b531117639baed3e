"""Calls at a steady rate, in a process of their own, until stdin ends: ``python -m bench.feed.load``.

One JSON object on stdin: ``lines`` (each a ``port`` and a ``token``: one agent, one kept-alive connection, one call at
a time), ``rate`` (calls a second of all together), ``seconds``. A line whose answer is late makes its next call at once
and is not behind for ever: what was due meanwhile is counted as ``missed``. Prints one JSON object: calls, missed,
failed, how long they took in ms, and the CPU that this process took for each in microseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import Any

import uvloop

_ASKED = json.dumps(
    {"model": "bench", "messages": [{"role": "user", "content": "Is invoice 2026-1187 paid? " * 8}]}
).encode()


class _Line(asyncio.Protocol):
    """One connection. A protocol and no stream: what it costs is taken from those who are measured."""

    def __init__(self, token: str) -> None:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(_ASKED)}\r\n\r\n"
        )
        self._request = head.encode() + _ASKED
        self._data = b""
        self._loop = asyncio.get_running_loop()
        self.done = self._loop.create_future()
        self.took: list[float] = []
        self.missed = self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport: Any = transport

    def begin(self, first: float, every: float, end: float) -> None:
        """Makes calls from ``first`` on, seconds of the event loop's clock."""
        self._due, self._every, self._end = first, every, end
        self._loop.call_at(first, self._call)

    def _call(self) -> None:
        self._began = self._loop.time()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Notes an answer that is whole, and plans the next call."""
        self._data = data = self._data + data if self._data else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = data[:end].lower()
        if len(data) < end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        self._data = b""
        self.failed += not head.startswith(b"http/1.1 200")
        now = self._loop.time()
        self.took.append(1000 * (now - self._began))
        late = int((now - self._due) / self._every)
        self.missed += late
        self._due += (1 + late) * self._every
        if self._due < self._end:
            self._loop.call_at(self._due, self._call)
        else:
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """A gateway that hangs up in the middle ends the run."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the gateway hung up"))


async def _run(order: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    lines = []
    for line in order["lines"]:
        _, one = await loop.create_connection(partial(_Line, line["token"]), "127.0.0.1", line["port"])
        lines.append(one)
    every, begin = len(lines) / order["rate"], loop.time() + 0.2
    for at, one in enumerate(lines):
        one.begin(begin + every * at / len(lines), every, begin + order["seconds"])
    await asyncio.gather(*(one.done for one in lines))
    took = sorted(value for one in lines for value in one.took)
    return {
        "calls": len(took),
        "missed": sum(one.missed for one in lines),
        "failed": sum(one.failed for one in lines),
        "cpu_us": round(1e6 * time.process_time() / len(took)),
        "call_ms": {"p50": round(took[len(took) // 2], 2), "p99": round(took[len(took) * 99 // 100], 2)},
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_run(json.loads(sys.stdin.readline())))))
