"""One HTTP/1.1 connection to an upstream: an asyncio protocol that turns what arrives into a Reply.

It knows of one request at a time and of nothing else; who may use it next is ``upstream``'s matter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import cast

import httptools

from tenure.gateway.deadlines import Deadlines

_HIGH_WATER = 256 << 10  # bytes read ahead of the consumer before the socket is left alone
_MAX_HEAD = 64 << 10


class UpstreamError(Exception):
    """The upstream could not be reached or broke off. ``kind`` is the ``error.type`` of the Event: connect_failed,
    connect_timeout, timeout, reset, garbage, too_large, too_long, busy or no_credential."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Reply:
    """A response whose head has arrived. Read it with ``read`` or iterate over its chunks; ``close`` it if you stop
    early, which closes the connection."""

    __slots__ = (
        *("_chunks", "_connection", "_deadline", "_deadlines", "_error", "_finished", "_limit", "_loop", "_size"),
        *("_timeout_s", "_waiter", "headers", "status"),
    )

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self._connection: Connection | None = connection
        self._deadlines = connection.deadlines
        self._loop = connection.loop
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._finished = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._limit = 0.0

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

    def end_by(self, deadline: float, limit_s: float) -> None:
        """From ``deadline`` on (the event loop's time; 0: never) the next chunk is an error that says ``limit_s``."""
        self._deadline, self._limit = deadline, limit_s

    async def next_chunk(self) -> bytes:
        """The bytes that have arrived since the last call, waiting for some; empty at the end. Raises UpstreamError."""
        if self._deadline and not self._finished and self._deadlines.now() >= self._deadline:
            self._too_long()
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
        assert self._loop is not None  # noqa: S101 (a reply comes from a connection that was made)
        self._waiter = self._loop.create_future()
        silent = self._deadlines.now() + self._timeout_s
        if self._deadline and self._deadline < silent:
            self._deadlines.set(self, self._deadline, self._too_long)
        else:
            self._deadlines.set(self, silent, self._timed_out)
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._deadlines.lift(self)

    def _timed_out(self) -> None:
        connection = self._connection
        self._end(UpstreamError("timeout", f"the upstream sent nothing for {self._timeout_s:g} s"))
        if connection is not None:
            connection.abort()

    def _too_long(self) -> None:
        connection = self._connection
        self._chunks.clear()
        self._end(UpstreamError("too_long", f"the answer was not whole within {self._limit:g} s"))
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


class Connection(asyncio.Protocol):
    """One connection, one request at a time. ``idle`` is told when it may be used again, ``lost`` when it is gone."""

    def __init__(
        self, idle: Callable[[Connection], None], lost: Callable[[Connection], None], deadlines: Deadlines
    ) -> None:
        self.deadlines = deadlines
        self.loop: asyncio.AbstractEventLoop | None = None
        self._idle = idle
        self._lost = lost
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
        self.loop = asyncio.get_running_loop()

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
        self._lost(self)
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
        names = {name for name, _ in self._headers}
        self._framed = "content-length" in names or "transfer-encoding" in names or status in (204, 304)
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
            self._idle(self)
        else:
            self.abort()

    # -- for the pool and the Reply
    def send(self, data: bytes, timeout_s: float) -> asyncio.Future[Reply]:
        """Writes a request; the future is done when the head of its answer has arrived."""
        assert self._transport is not None  # noqa: S101 (create_connection returns after connection_made)
        assert self.loop is not None  # noqa: S101 (as above)
        self._head = self.loop.create_future()
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


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()
