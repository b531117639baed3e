"""Calls at a steady rate, in a process of their own, until stdin ends: ``python -m bench.feed.load``.

One JSON object on stdin: ``lines`` (each a ``port`` and a ``token``: one agent, one kept-alive connection, one call at
a time), ``rate`` (calls a second of all together), ``seconds``. A line whose answer is late makes its next call at once
and is not behind for ever: what was due meanwhile is counted as ``missed``. Prints one JSON object: calls, missed,
failed, and how long they took in ms.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

_ASKED = json.dumps(
    {"model": "bench", "messages": [{"role": "user", "content": "Is invoice 2026-1187 paid? " * 8}]}
).encode()


class _Line:
    def __init__(self, port: int, token: str) -> None:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(_ASKED)}\r\n\r\n"
        )
        self._port, self._request = port, head.encode() + _ASKED
        self.took: list[float] = []
        self.missed = self.failed = 0

    async def run(self, first: float, every: float, end: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        due = first
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            self.failed += not head.startswith(b"HTTP/1.1 200")
            now = time.monotonic()
            self.took.append(1000 * (now - began))
            late = int((now - due) / every)
            self.missed += late
            due += (1 + late) * every
        writer.close()


async def _run(order: dict[str, Any]) -> dict[str, Any]:
    lines = [_Line(line["port"], line["token"]) for line in order["lines"]]
    every, begin = len(lines) / order["rate"], time.monotonic() + 0.2
    end = begin + order["seconds"]
    await asyncio.gather(*(one.run(begin + every * at / len(lines), every, end) for at, one in enumerate(lines)))
    took = sorted(value for one in lines for value in one.took)
    return {
        "calls": len(took),
        "missed": sum(one.missed for one in lines),
        "failed": sum(one.failed for one in lines),
        "call_ms": {"p50": round(took[len(took) // 2], 2), "p99": round(took[len(took) * 99 // 100], 2)},
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_run(json.loads(sys.stdin.readline())))))
