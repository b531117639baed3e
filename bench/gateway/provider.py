"""The least a model provider can be: one JSON answer, or a stream whose chunks come at a steady pace.

Answers are made beforehand, so that what is measured is not this. ``python -m bench.gateway.provider`` prints where it
listens.
"""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import uvloop

MODEL = "bench"
CHUNKS = 100
PACE_S = 0.002  # between two chunks of a stream: each is an event of its own to whoever forwards it

_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "A refund. " * 20}, "finish_reason": "stop"}
_USAGE = {"prompt_tokens": 1010, "completion_tokens": 40, "total_tokens": 1050}
_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [_CHOICE],
        "usage": _USAGE,
    }
).encode()
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_ANSWER),
    _ANSWER,
)
_DELTA = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
_EVENT = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": MODEL,
    "choices": [_DELTA],
}
_DATA = b"data: %s\n\n" % json.dumps(_EVENT).encode()
_CHUNK = b"%x\r\n%s\r\n" % (len(_DATA), _DATA)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Provider(asyncio.Protocol):
    """One connection; one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport: Any = transport
        self._data = b""
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Answers when the whole request is there."""
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._data[:end].lower()
        at = head.find(b"content-length: ")
        if at < 0:  # a proxy that sends the body in chunks
            whole = self._data.endswith(b"\r\n0\r\n\r\n")
        else:
            whole = len(self._data) - end - 4 >= int(head[at + 16 :].split(b"\r\n", 1)[0])
        if not whole:
            return
        streams = self._data.rfind(b'"stream": true') > 0 or self._data.rfind(b'"stream":true') > 0
        self._data = b""
        if streams:
            self._transport.write(_HEAD + _CHUNK)
            self._loop.call_later(PACE_S, self._more, CHUNKS - 1)
        else:
            self._transport.write(_WHOLE)

    def _more(self, left: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(_CHUNK if left > 1 else _CHUNK + _END)
        if left > 1:
            self._loop.call_later(PACE_S, self._more, left - 1)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a pause would be counted as somebody else's
    uvloop.run(_serve())
