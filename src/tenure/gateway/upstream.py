"""A pooled HTTP/1.1 client for what the gateway calls: model providers, MCP servers over HTTP, the control plane.

It knows nothing of calls or agents. Bytes go out as they were given; chunks come back as they arrive.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from urllib.parse import urlsplit

from tenure.gateway.deadlines import Deadlines
from tenure.gateway.wire import Connection, Reply, UpstreamError
from tenure.kernel.snapshot import Timeouts

__all__ = ["Client", "Reply", "Target", "UpstreamError", "target"]

_IDLE_MAX_S = 30.0  # providers close idle connections after 60 s or more; a younger one is seldom stale
_IDLE_PER_HOST = 256
_OPEN_PER_HOST = 2048
_CONNECT_S = 10.0
_ANY_TIME = Timeouts()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a base URL points. ``host`` is the value of the Host header."""

    scheme: str
    address: str
    port: int
    host: bytes
    prefix: bytes


@lru_cache(maxsize=1024)
def target(base_url: str) -> Target:
    """Takes a base URL apart. Raises UpstreamError (connect_failed) for one that is not http or https."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise UpstreamError("connect_failed", f"{base_url} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UpstreamError("connect_failed", f"{base_url} is not an http or https URL")
    shown = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = shown if port is None else f"{shown}:{port}"
    return Target(
        parts.scheme,
        parts.hostname,
        port or (443 if parts.scheme == "https" else 80),
        host.encode("idna" if not host.isascii() else "ascii"),
        parts.path.rstrip("/").encode(),
    )


class _Host:
    """The connections to one origin."""

    def __init__(self, where: Target, tls: ssl.SSLContext | None, deadlines: Deadlines) -> None:
        self._where = where
        self._deadlines = deadlines
        self._tls = tls
        self._idle: deque[Connection] = deque()
        self._open = 0

    def take(self, now: float) -> Connection | None:
        """The idle connection that was used last, unless it is too old."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and now - connection.idle_since < _IDLE_MAX_S:
                return connection
            connection.abort()
        return None

    async def connect(self, timeout_s: float = _CONNECT_S) -> Connection:
        """A new connection. Raises UpstreamError."""
        if self._open >= _OPEN_PER_HOST:
            raise UpstreamError("busy", f"{self._open} connections to {self._where.address} are open already")
        loop = asyncio.get_running_loop()
        self._open += 1
        shown = f"{self._where.address}:{self._where.port}"
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.idle, self.lost, self._deadlines),
                    self._where.address,
                    self._where.port,
                    ssl=self._tls if self._where.scheme == "https" else None,
                )
        except TimeoutError:
            self._open -= 1
            raise UpstreamError("connect_timeout", f"{shown} did not accept within {timeout_s:g} s") from None
        except (OSError, ssl.SSLError) as error:
            self._open -= 1
            raise UpstreamError("connect_failed", f"cannot connect to {shown}: {error}") from None
        except BaseException:
            self._open -= 1
            raise
        return connection

    def idle(self, connection: Connection) -> None:
        """Takes back a connection whose answer is complete."""
        if len(self._idle) >= _IDLE_PER_HOST:
            connection.abort()
        else:
            connection.idle_since = self._deadlines.now()
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Closes what is idle."""
        while self._idle:
            self._idle.pop().abort()


class Client:
    """``timeout_s``: how long an upstream may stay silent, before its head and between two chunks. ``answer_s``: how
    long it may take until its answer is whole; 0 for ever."""

    def __init__(self, timeout_s: float = 300.0, answer_s: float = 0.0) -> None:
        self._timeout_s = timeout_s
        self._answer_s = answer_s
        self._hosts: dict[tuple[str, str, int], _Host] = {}
        self._deadlines = Deadlines()
        self._tls: ssl.SSLContext | None = None

    def _host(self, where: Target) -> _Host:
        key = (where.scheme, where.address, where.port)
        host = self._hosts.get(key)
        if host is None:
            if where.scheme == "https" and self._tls is None:
                self._tls = ssl.create_default_context()
                self._tls.set_alpn_protocols(["http/1.1"])
            host = self._hosts[key] = _Host(where, self._tls, self._deadlines)
        return host

    async def send(
        self,
        base_url: str,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        admit: Callable[[], None] | None = None,
        timeout_s: float | None = None,
        timeouts: Timeouts = _ANY_TIME,
        replay: bool = True,
    ) -> Reply:
        """Sends a request to ``base_url`` + ``path`` and returns when the head of the answer is there.

        ``admit`` is called immediately before the bytes are written, with no await between, and may raise to stop it:
        connecting takes time in which a breaker can trip. A pooled connection that turns out to be closed before any
        byte came back is replaced once, unless ``replay`` is false: for a request whose effect must not happen twice.
        ``timeouts`` go before ``timeout_s``, which bounds every silence. Raises UpstreamError.
        """
        where = target(base_url)
        host = self._host(where)
        data = _head(where, method, path, headers, len(body)) + body
        timeout = timeout_s or self._timeout_s
        within = (timeouts.first_byte_s or timeout, timeouts.idle_s or timeout, timeouts.total_s or self._answer_s)
        begun = self._deadlines.now()
        connection = host.take(begun)
        if connection is not None:
            _admitted(admit, host, connection)
            try:
                return await self._exchange(connection, data, begun, within)
            except UpstreamError as error:
                if not replay or error.kind != "reset" or connection.answered:
                    raise
        connection = await host.connect(timeouts.connect_s or _CONNECT_S)
        _admitted(admit, host, connection)
        return await self._exchange(connection, data, begun, within)

    @staticmethod
    async def _exchange(connection: Connection, data: bytes, begun: float, within: tuple[float, float, float]) -> Reply:
        first_s, idle_s, total_s = within
        head = connection.send(data, idle_s)
        silence = min(first_s, total_s) if total_s else first_s
        deadlines = connection.deadlines
        deadlines.set(connection, deadlines.now() + silence, partial(connection.timed_out, silence))
        try:
            reply = await head
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            deadlines.lift(connection)
        if total_s:
            reply.end_by(begun + total_s, total_s)
        return reply

    def close(self) -> None:
        """Closes idle connections. Those in use close with their replies, and keep their time limits."""
        for host in self._hosts.values():
            host.close()


def _admitted(admit: Callable[[], None] | None, host: _Host, connection: Connection) -> None:
    """Asks ``admit``; a connection that it keeps from being used goes back to the others."""
    if admit is None:
        return
    try:
        admit()
    except BaseException:
        host.idle(connection)
        raise


def _head(where: Target, method: str, path: str, headers: Iterable[tuple[str, str]], length: int) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    text = f"content-length: {length}\r\n{''.join(lines)}\r\n"
    return b"%s %s%s HTTP/1.1\r\nhost: %s\r\n%s" % (
        method.encode(),
        where.prefix,
        path.encode(),
        where.host,
        text.encode("latin-1"),
    )
