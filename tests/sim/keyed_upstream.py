"""A model provider in a process of its own that knows which keys it believes: others are answered with 401."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

from tests.sim.gateway import Process

BELIEVED: set[str] = set()
SEEN: dict[str, int] = {}
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """``/v1/chat/completions``; ``PUT /_keys`` sets what is believed, ``GET /_seen`` says what was shown how often."""

    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """What was shown."""
        self._answer(200, SEEN)

    def do_PUT(self) -> None:
        """What is believed from now on."""
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with LOCK:
            BELIEVED.clear()
            BELIEVED.update(given)
        self._answer(200, {})

    def do_POST(self) -> None:
        """An answer, for whoever shows a key that is believed."""
        self.rfile.read(int(self.headers.get("content-length", "0")))
        key = str(self.headers.get("authorization", "")).removeprefix("Bearer ")
        with LOCK:
            SEEN[key] = SEEN.get(key, 0) + 1
            known = key in BELIEVED
        if not known:
            self._answer(401, {"error": {"message": "Incorrect API key provided.", "code": "invalid_api_key"}})
            return
        message = {"role": "assistant", "content": "yes"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._answer(200, {"id": "1", "object": "chat.completion", "model": "echo", "choices": [choice]})

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


class KeyedUpstream(Process):
    """The running process. ``url`` is its base address, with ``/v1``."""

    def __init__(self) -> None:
        super().__init__(["tests.sim.keyed_upstream"])

    def believe(self, *keys: str) -> None:
        """Only these keys from now on."""
        httpx2.put(self.url.removesuffix("/v1") + "/_keys", json=keys, trust_env=False).raise_for_status()

    def seen(self) -> dict[str, int]:
        """Keys that were shown, and how often."""
        found: dict[str, int] = httpx2.get(self.url.removesuffix("/v1") + "/_seen", trust_env=False).json()
        return found


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"ready http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()
