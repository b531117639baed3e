"""The door of an agent's process: two ports of the loopback that lead to its wires and attach its token, so that the
process holds none, and a newer token needs no restart.

The process is given a *pass* in the token's place: 256 random bits that are good at this door, while it is open, and
nowhere else. Where a request shows the pass (as a bearer, ``x-api-key``, ``x-goog-api-key`` or ``?key=``), the token
stands when it goes on; a request that shows none is answered here with 401, so that neither other users of the machine
nor a page in a browser can act as the agent. Whoever can read the process's environment (its own user, root) can act
through the door while it is open, as they could with a token; what they read is of no use elsewhere or later.

Only heads of requests are read. Bodies, answers and streams pass as the bytes they came as, each connection over one of
its own to the gateway.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import socket
import ssl
import threading
from urllib.parse import urlsplit

import httptools

from tenure.base.box.ways import address_of

_CONNECT_S = 10.0
_HEAD_MAX = 64 << 10
_BACKLOG = 1024
_KEYS = frozenset({b"x-api-key", b"x-goog-api-key"})


class Door:
    """``gateway`` and ``control`` are addresses, of which the second gets spans only. ``token`` may be replaced while
    the door is open. Opens at once, in a thread that ends with the process. Raises OSError."""

    def __init__(self, gateway: str, control: str, token: str) -> None:
        self.token = token
        self.key = f"tnp_{secrets.token_urlsafe(32)}"
        self.calls = 0
        self._ways = (_Way(self, gateway, ""), _Way(self, control, "/otlp/v1/"))
        self._sockets = [socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) for _ in self._ways]
        self.gateway, self.control = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in self._sockets)
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for way, listener in zip(self._ways, self._sockets, strict=True):
            listener.setblocking(False)
            await loop.create_server(lambda way=way: _Near(way), sock=listener)  # type: ignore[misc]  # (bound now)
        await asyncio.Event().wait()

    def wired(self, env: dict[str, str], gateway: str, control: str, token: str) -> dict[str, str]:
        """``env`` with the door's addresses in the place of the wires', and its pass in the token's."""
        out = {}
        for name, value in env.items():
            for origin, door in ((gateway, self.gateway), (control, self.control)):
                if value == origin or value.startswith(f"{origin}/"):
                    value = door + value.removeprefix(origin)  # noqa: PLW2901 (one value on its way)
                    break
            out[name] = value.replace(token, self.key)
        return out


class _Way:
    """Where one port leads: to ``url``, for targets that begin with ``only``."""

    def __init__(self, door: Door, url: str, only: str) -> None:
        self.door, self.only = door, only.encode()
        self.host, self.port, tls = address_of(url)
        self.tls = ssl.create_default_context() if tls else None
        self.netloc = urlsplit(url).netloc.rpartition("@")[2].encode()

    def shown(self, value: bytes) -> bool:
        return hmac.compare_digest(value, self.door.key.encode())


class _Far(asyncio.Protocol):
    """The connection to the wire: what comes from there goes on as it is."""

    def __init__(self, near: _Near) -> None:
        self._near = near

    def data_received(self, data: bytes) -> None:
        self._near.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._near.far = None
        self._near.transport.close()

    def pause_writing(self) -> None:
        self._near.transport.pause_reading()

    def resume_writing(self) -> None:
        self._near.transport.resume_reading()


class _Near(asyncio.Protocol):
    """A connection of the process. Its requests are framed anew; the answers are the far side's bytes."""

    transport: asyncio.Transport

    def __init__(self, way: _Way) -> None:
        self._way = way
        self.far: asyncio.Transport | None = None
        self._waiting: list[bytes] | None = None  # what came while the far side was being reached
        self._parser = httptools.HttpRequestParser(self)
        self._over = False
        self._connecting: asyncio.Task[None] | None = None
        self.on_message_begin()

    # -- asyncio's side
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (asyncio's promise)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, httptools.HttpParserCallbackError):
            self._answer(400, "bad_request", "This is not HTTP/1.1 as the door of an agent speaks it.")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._over = True
        if self.far is not None:
            self.far.close()

    def pause_writing(self) -> None:
        if self.far is not None:
            self.far.pause_reading()

    def resume_writing(self) -> None:
        if self.far is not None:
            self.far.resume_reading()

    # -- httptools' side
    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._chunked = False

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        self._count(name)
        self._count(value)

    def _count(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > _HEAD_MAX:
            raise ValueError("the head is too long")

    def on_headers_complete(self) -> None:
        way, shown = self._way, False
        token = way.door.token.encode()
        head = [b"", b"host: " + way.netloc]
        for name, value in self._headers:
            lower, sent = name.lower(), value
            if lower == b"authorization":
                scheme, _, rest = value.partition(b" ")
                if scheme.lower() == b"bearer" and way.shown(rest.strip()):
                    shown, sent = True, b"Bearer " + token
            elif lower in _KEYS and way.shown(value.strip()):
                shown, sent = True, token
            elif lower == b"transfer-encoding":
                self._chunked = True
            if lower != b"host":
                head.append(name + b": " + sent)
        url, question, query = self._url.partition(b"?")
        pairs = query.split(b"&")
        for index, pair in enumerate(pairs):
            if pair[:4] == b"key=" and way.shown(pair[4:]):
                shown, pairs[index] = True, b"key=" + token
        if not shown:
            self._answer(401, "no_pass", "This door is for one agent's process: send the key that it was started with.")
        elif not url.startswith(way.only):
            self._answer(404, "not_found", "Only OTLP passes here.")
        else:
            head[0] = self._parser.get_method() + b" " + url + question + b"&".join(pairs) + b" HTTP/1.1"
            if self._parser.get_http_version() == "1.0":
                head.append(b"connection: close")
            way.door.calls += 1
            self._send(b"\r\n".join((*head, b"", b"")))

    def on_body(self, body: bytes) -> None:
        self._send(b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body)

    def on_message_complete(self) -> None:
        if self._chunked:
            self._send(b"0\r\n\r\n")

    # -- the way out
    def _send(self, data: bytes) -> None:
        if self._over:
            return
        if self.far is not None:
            self.far.write(data)
        elif self._waiting is not None:
            self._waiting.append(data)
        else:
            self._waiting = [data]
            self.transport.pause_reading()
            self._connecting = asyncio.ensure_future(self._reach())

    async def _reach(self) -> None:
        way = self._way
        try:
            async with asyncio.timeout(_CONNECT_S):
                far, _ = await asyncio.get_running_loop().create_connection(
                    lambda: _Far(self), way.host, way.port, ssl=way.tls
                )
        except OSError:  # a timeout as well
            self._answer(502, "gateway_unreachable", "The gateway cannot be reached.")
            return
        if self._over:
            far.close()
            return
        self.far = far
        far.writelines(self._waiting or [])
        self._waiting = None
        self.transport.resume_reading()

    def _answer(self, status: int, code: str, message: str) -> None:
        """An answer of the door itself, and the end of the connection."""
        if self._over:
            return
        self._over = True
        body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}}).encode()
        head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()
        if self.far is not None:
            self.far.close()
