"""A pooled HTTP/1.1 client for what the gateway calls: model providers, MCP servers over HTTP, the control plane.

It knows nothing of calls or agents. Bytes go out as they were given; chunks come back as they arrive.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

import httptools

_HIGH_WATER = 256 << 10  # bytes read ahead of the consumer before the socket is left alone
_IDLE_MAX_S = 30.0  # providers close idle connections after 60 s or more; a younger one is seldom stale
_IDLE_PER_HOST = 256
_OPEN_PER_HOST = 2048
_CONNECT_S = 10.0
_MAX_HEAD = 64 << 10


class UpstreamError(Exception):
    """The upstream could not be reached or broke off. ``kind`` is the ``error.type`` of the Event: connect_failed,
    connect_timeout, timeout, reset, garbage, too_large or busy."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


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


class Reply:
    """A response whose head has arrived. Read it with ``read`` or iterate over its chunks; ``close`` it if you stop
    early, which closes the connection."""

    __slots__ = ("_chunks", "_connection", "_error", "_finished", "_size", "_timeout_s", "_waiter", "headers", "status")

    def __init__(self, connection: _Connection, timeout_s: float) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self._connection: _Connection | None = connection
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._finished = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timeout_s = timeout_s

    def header(self, name: str, default: str = "") -> str:
        """The first header of that lower-case name."""
        return next((value for key, value in self.headers if key == name), default)

    def _push(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > _HIGH_WATER and self._connection is not None:
            self._connection.pause()
        self._wake()

    def _end(self, error: UpstreamError | None = None) -> None:
        if not self._finished:
            self._finished, self._error, self._connection = True, error, None
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def next_chunk(self) -> bytes:
        """The bytes that have arrived since the last call, waiting for some; empty at the end. Raises UpstreamError."""
        while not self._chunks:
            if self._finished:
                if self._error is not None:
                    raise self._error
                return b""
            await self._more()
        if len(self._chunks) == 1:
            chunk = self._chunks.popleft()
        else:
            chunk = b"".join(self._chunks)
            self._chunks.clear()
        self._size = 0
        if self._connection is not None:
            self._connection.resume()
        return chunk

    async def _more(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(self._timeout_s, self._timed_out)
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()

    def _timed_out(self) -> None:
        connection = self._connection
        self._end(UpstreamError("timeout", f"the upstream sent nothing for {self._timeout_s:g} s"))
        if connection is not None:
            connection.abort()

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamError, also when it is longer than ``limit`` bytes."""
        parts: list[bytes] = []
        size = 0
        while chunk := await self.next_chunk():
            size += len(chunk)
            if size > limit:
                self.close()
                raise UpstreamError("too_large", f"the upstream's answer is longer than {limit} bytes")
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self.next_chunk():
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """Gives up what has not arrived yet."""
        connection = self._connection
        if connection is not None:
            self._end(UpstreamError("reset", "closed by this side"))
            connection.abort()


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pool: _Host) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._head: asyncio.Future[Reply] | None = None
        self._headers: list[tuple[str, str]] = []
        self._head_size = 0
        self._framed = False
        self._paused = False
        self.answered = False
        self.idle_since = 0.0
        self.closed = False

    # -- asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._reply is None:  # bytes that nobody asked for
            self.abort()
            return
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(UpstreamError("garbage", f"the upstream does not speak HTTP: {error}"))
            return
        if self._head is not None:
            self._head_size += len(data)
            if self._head_size > _MAX_HEAD:
                self._fail(UpstreamError("garbage", f"the upstream's headers are longer than {_MAX_HEAD} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._pool.lost(self)
        if self._reply is None:
            return
        if self._head is None and not self._framed and exc is None:
            self._reply._end()
            self._reply = None
        else:
            self._fail(UpstreamError("reset", "the upstream closed the connection" + (f" ({exc})" if exc else "")))

    # -- httptools
    def on_message_begin(self) -> None:
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((_name(name), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._reply is None or self._head is None:
            return
        reply = self._reply
        reply.status, reply.headers = status, self._headers
        self._framed = status in (204, 304) or any(
            name in ("content-length", "transfer-encoding") for name, _ in self._headers
        )
        head, self._head = self._head, None
        if not head.done():
            head.set_result(reply)

    def on_body(self, chunk: bytes) -> None:
        if self._reply is not None:
            self._reply._push(chunk)

    def on_message_complete(self) -> None:
        if self._head is not None or self._reply is None:  # the end of a 1xx answer
            return
        reply, self._reply = self._reply, None
        reply._end()
        if self._parser.should_keep_alive() and self._framed:
            self.resume()
            self._pool.idle(self)
        else:
            self.abort()

    # -- for the pool and the Reply
    def send(self, data: bytes, timeout_s: float) -> asyncio.Future[Reply]:
        """Writes a request; the future is done when the head of its answer has arrived."""
        assert self._transport is not None  # noqa: S101 (create_connection returns after connection_made)
        loop = asyncio.get_running_loop()
        self._head = loop.create_future()
        self._reply = Reply(self, timeout_s)
        self._head_size, self._framed, self.answered = 0, False, False
        self._transport.write(data)
        return self._head

    def timed_out(self, timeout_s: float) -> None:
        """No head within the time."""
        self._fail(UpstreamError("timeout", f"the upstream did not answer within {timeout_s:g} s"))

    def _fail(self, error: UpstreamError) -> None:
        head, self._head = self._head, None
        reply, self._reply = self._reply, None
        if head is not None and not head.done():
            head.set_exception(error)
        if reply is not None:
            reply._end(error)
        self.abort()

    def abort(self) -> None:
        """Closes at once, whatever is under way."""
        self._reply, self._head = None, None
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Leaves further bytes in the socket."""
        if not self._paused and self._transport is not None and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Takes bytes from the socket again."""
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()


class _Host:
    """The connections to one origin."""

    def __init__(self, where: Target, tls: ssl.SSLContext | None) -> None:
        self._where = where
        self._tls = tls
        self._idle: deque[_Connection] = deque()
        self._open = 0

    def take(self, now: float) -> _Connection | None:
        """The idle connection that was used last, unless it is too old."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and now - connection.idle_since < _IDLE_MAX_S:
                return connection
            connection.abort()
        return None

    async def connect(self) -> _Connection:
        """A new connection. Raises UpstreamError."""
        if self._open >= _OPEN_PER_HOST:
            raise UpstreamError("busy", f"{self._open} connections to {self._where.address} are open already")
        loop = asyncio.get_running_loop()
        self._open += 1
        shown = f"{self._where.address}:{self._where.port}"
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self),
                    self._where.address,
                    self._where.port,
                    ssl=self._tls if self._where.scheme == "https" else None,
                )
        except TimeoutError:
            self._open -= 1
            raise UpstreamError("connect_timeout", f"{shown} did not accept within {_CONNECT_S:g} s") from None
        except (OSError, ssl.SSLError) as error:
            self._open -= 1
            raise UpstreamError("connect_failed", f"cannot connect to {shown}: {error}") from None
        except BaseException:
            self._open -= 1
            raise
        return connection

    def idle(self, connection: _Connection) -> None:
        """Takes back a connection whose answer is complete."""
        if len(self._idle) >= _IDLE_PER_HOST:
            connection.abort()
        else:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Closes what is idle."""
        while self._idle:
            self._idle.pop().abort()


class Client:
    """``timeout_s``: how long an upstream may stay silent, before its head and between two chunks."""

    def __init__(self, timeout_s: float = 300.0) -> None:
        self._timeout_s = timeout_s
        self._hosts: dict[tuple[str, str, int], _Host] = {}
        self._tls: ssl.SSLContext | None = None

    def _host(self, where: Target) -> _Host:
        key = (where.scheme, where.address, where.port)
        host = self._hosts.get(key)
        if host is None:
            if where.scheme == "https" and self._tls is None:
                self._tls = ssl.create_default_context()
                self._tls.set_alpn_protocols(["http/1.1"])
            host = self._hosts[key] = _Host(where, self._tls)
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
        replay: bool = True,
    ) -> Reply:
        """Sends a request to ``base_url`` + ``path`` and returns when the head of the answer is there.

        ``admit`` is called immediately before the bytes are written, with no await between, and may raise to stop it:
        connecting takes time in which a breaker can trip. A pooled connection that turns out to be closed before any
        byte came back is replaced once, unless ``replay`` is false: for a request whose effect must not happen twice.
        Raises UpstreamError.
        """
        where = target(base_url)
        host = self._host(where)
        data = _head(where, method, path, headers, len(body)) + body
        timeout = timeout_s or self._timeout_s
        loop = asyncio.get_running_loop()
        connection = host.take(loop.time())
        if connection is not None:
            _admitted(admit, host, connection)
            try:
                return await self._exchange(connection, data, timeout)
            except UpstreamError as error:
                if not replay or error.kind != "reset" or connection.answered:
                    raise
        connection = await host.connect()
        _admitted(admit, host, connection)
        return await self._exchange(connection, data, timeout)

    @staticmethod
    async def _exchange(connection: _Connection, data: bytes, timeout_s: float) -> Reply:
        head = connection.send(data, timeout_s)
        timer = asyncio.get_running_loop().call_later(timeout_s, connection.timed_out, timeout_s)
        try:
            return await head
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Closes idle connections; those in use close with their replies."""
        for host in self._hosts.values():
            host.close()


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _admitted(admit: Callable[[], None] | None, host: _Host, connection: _Connection) -> None:
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
