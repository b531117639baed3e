"""A transit engine in a process of its own: the part of the HTTP API of OpenBao and Vault that Tenure speaks, with real
AES-GCM under versioned keys. It is a simulator: no OpenBao or Vault runs in these tests."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.sim.gateway import Process

TOKEN = "root-of-the-simulator"
KEYS: list[bytes] = [os.urandom(32)]


def encrypted(plaintext: str) -> dict[str, Any]:
    """One result of ``encrypt``."""
    nonce = os.urandom(12)
    sealed = nonce + AESGCM(KEYS[-1]).encrypt(nonce, base64.b64decode(plaintext), None)
    return {"ciphertext": f"vault:v{len(KEYS)}:{base64.b64encode(sealed).decode()}", "key_version": len(KEYS)}


def decrypted(ciphertext: str) -> dict[str, Any]:
    """One result of ``decrypt``."""
    _, version, text = ciphertext.split(":")
    sealed = base64.b64decode(text)
    try:
        plain = AESGCM(KEYS[int(version[1:]) - 1]).decrypt(sealed[:12], sealed[12:], None)
    except InvalidTag:
        return {"error": "invalid ciphertext: message authentication failed"}
    return {"plaintext": base64.b64encode(plain).decode()}


class Handler(BaseHTTPRequestHandler):
    """``/v1/transit/...`` for the one key ``tenure``."""

    def _answer(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _allowed(self) -> bool:
        if self.headers.get("x-vault-token") == TOKEN:
            return True
        self._answer(403, {"errors": ["permission denied"]})
        return False

    def do_GET(self) -> None:
        """Reads the key."""
        if self._allowed() and self.path == "/v1/transit/keys/tenure":
            self._answer(200, {"data": {"name": "tenure", "latest_version": len(KEYS)}})

    def do_POST(self) -> None:
        """Encrypts, decrypts, rotates."""
        given = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))) or b"{}")
        if not self._allowed():
            return
        if self.path == "/v1/transit/keys/tenure/rotate":
            KEYS.append(os.urandom(32))
            self._answer(200, {"data": {"latest_version": len(KEYS)}})
        elif self.path == "/v1/transit/encrypt/tenure":
            self._answer(
                200, {"data": {"batch_results": [encrypted(one["plaintext"]) for one in given["batch_input"]]}}
            )
        elif self.path == "/v1/transit/decrypt/tenure":
            done = [decrypted(one["ciphertext"]) for one in given["batch_input"]]
            self._answer(200, {"data": {"batch_results": done}})
        else:
            self._answer(404, {"errors": []})

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


@contextmanager
def transit() -> Iterator[dict[str, str]]:
    """The variables that lead to a running one."""
    with Process(["tests.sim.transit"]) as process:
        yield {"VAULT_ADDR": process.url, "VAULT_TOKEN": TOKEN}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"ready http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
