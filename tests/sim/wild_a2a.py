"""An A2A peer that misbehaves, in a thread: its path says how (``/hang``, ``/reset``, ``/garbage``, ...)."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from typing import Any, Self

_HTML = b"<html>nothing to see</html>"
_EVENT = b'data: {"jsonrpc":"2.0","id":1,"result":{"statusUpdate":{"taskId":"t","contextId":"c"}}}\n\n'


def _answer(body: bytes, kind: bytes = b"application/json", status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: %s\r\n%scontent-length: %d\r\n\r\n"
    return head % (status, kind, more, len(body)) + body


_ANSWERS = {
    "garbage": _answer(_HTML, b"text/html"),
    "array": _answer(b"[1,2]"),
    "other": _answer(b'{"jsonrpc":"2.0","id":"another","result":{}}'),
    "neither": _answer(b'{"jsonrpc":"2.0","id":1}'),
    "error": _answer(_HTML, b"text/html", b"500 Oh"),
    "forbidden": _answer(b'{"error":{}}', status=b"403 No"),
    "redirect": _answer(b"", status=b"307 Go", more=b"location: http://127.0.0.1:1/\r\n"),
    "http": b"what is this\r\n\r\n",
    "late-error": _answer(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no such task"}}'),
}
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            line = self.rfile.readline().split()
            while self.rfile.readline().strip():
                pass
            how = line[1].decode().strip("/").partition("/")[0] if len(line) > 1 else ""
            acting = _ACTS.get(how)
            if acting is None:
                self.wfile.write(_ANSWERS[how])
                self.server.stopping.wait(0.05)
            else:
                acting(self)

    def hang(self) -> None:
        self.server.stopping.wait(20)

    def reset(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def forever(self) -> None:
        self.wfile.write(_STREAM)
        while not self.server.stopping.is_set():
            self.wfile.write(_EVENT * 2000)

    def endless(self) -> None:
        self.wfile.write(_STREAM + b"data: ")
        while not self.server.stopping.is_set():
            self.wfile.write(b"x" * 65536)

    def broken(self) -> None:
        self.wfile.write(_STREAM + _EVENT + b"data: {not json}\n\n")

    def quiet(self) -> None:
        self.wfile.write(_STREAM + _EVENT)
        self.server.stopping.wait(20)


_ACTS: dict[str, Callable[[_Handler], None]] = {
    name: getattr(_Handler, name) for name in ("hang", "reset", "forever", "endless", "broken", "quiet")
}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some of the tests are about."""


class WildPeer:
    """Listens as long as it is entered."""

    def __enter__(self) -> Self:
        self._server = _Server()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.stopping.set()
        self._server.shutdown()
        self._server.server_close()
