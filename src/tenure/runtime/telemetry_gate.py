"""The way of a confined process's spans: OTLP to the control plane, and nothing else that the control plane serves."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2

SIGNALS = ("/otlp/v1/traces", "/otlp/v1/metrics", "/otlp/v1/logs")
"""What passes: the addresses that OTLP over HTTP has for each signal."""

_PASSED_ON = ("content-type", "content-encoding", "authorization")
_MAX_BYTES = 16 << 20
_TIMEOUT_S = 30.0


def serve(listener: socket.socket, origin: str) -> None:
    """Serves ``listener`` in threads that end with this process. ``origin``: scheme, host and port of the control
    plane."""
    gate = _Gate(listener, origin)
    threading.Thread(target=gate.serve_forever, daemon=True).start()


class _Gate(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, origin: str) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.far = httpx2.Client(base_url=origin, timeout=_TIMEOUT_S, trust_env=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S
    server: _Gate

    def do_POST(self) -> None:
        """Passes spans on as they came."""
        length = self.headers.get("content-length", "")
        if self.path not in SIGNALS:
            self._answer(404, b"Only OTLP passes here.\n")
        elif not length.isascii() or not length.isdigit():
            self._answer(411, b"Send content-length.\n")
        elif int(length) > _MAX_BYTES:
            self._answer(413, b"Send at most 16 MiB at once.\n")
        else:
            headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
            try:
                told = self.server.far.post(self.path, content=self.rfile.read(int(length)), headers=headers)
            except httpx2.TransportError:
                self._answer(503, b"The control plane cannot be reached.\n")
            else:
                self._answer(told.status_code, told.content, told.headers.get("content-type", "text/plain"))

    def _answer(self, status: int, body: bytes, media: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("content-type", media)
        self.send_header("content-length", str(len(body)))
        if status in {404, 411, 413}:  # the body was not read
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
        """Standard error is the command's."""
