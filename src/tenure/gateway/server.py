"""The gateway's HTTP/1.1 server: one asyncio.Protocol over llhttp's strict parser.

It frames, limits and orders. What a request means is the handler's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import cast

import httptools
import msgspec

from tenure.base import log
from tenure.gateway.http import Request, Response, reason_phrase

_log = log.get("gateway")

Handler = Callable[[Request], Awaitable[Response]]
Explain = Callable[[Request, int, str, str], bytes]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask of one connection. Sizes in bytes, times in seconds."""

    body: int = 16 << 20
    head: int = 64 << 10
    headers: int = 128
    pipelined: int = 32
    request_s: float = 60.0  # from a request's first byte to its last
    idle_s: float = 75.0
    write_s: float = 60.0  # for a client that does not read
    linger_s: float = 2.0  # to read on after a refusal, so that the client sees the answer and not a reset


class _Rejected(Exception):  # noqa: N818 (raised out of a parser callback only to stop the parser)
    """The parser is to stop: the answer is already chosen."""


class _Connection(asyncio.Protocol):
    """One client connection. Requests are answered in the order they came, one at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[Request, bool, bool]] = deque()  # request, keep alive, HTTP/1.1
        self.task: asyncio.Task[None] | None = None
        self._refusal: bytes | None = None
        self._drained: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._owes_continue = False
        self._in_head = self._in_message = False
        self._discarding = False
        self._head_size = self._body_size = self._bodiless = 0
        self._url = b""
        self._peer = ""
        self._headers: list[tuple[bytes, bytes]] = []
        self._names: dict[str, str] = {}
        self._body: list[bytes] = []
        self.deadline = 0.0
        self.closed = False

    @property
    def busy(self) -> bool:
        """Whether an answer is owed."""
        return self.task is not None or bool(self._queue)

    # -- asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self.deadline = self._server.now() + self._limits.idle_s
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio.Protocol)
        self.closed = True
        self._server.connections.discard(self)
        self._queue.clear()
        self.resume_writing()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()
        self.deadline = self._server.now() + self._limits.write_s

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self.deadline = 0.0 if self.busy else self._server.now() + self._limits.idle_s

    def data_received(self, data: bytes) -> None:
        if self._discarding or self._refusal is not None:
            return
        before = self._body_size
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._refusal is None:
                self._refuse(400, "bad_http", f"This is not an HTTP/1.1 request: {error}")
        if self._in_message and self._refusal is None:
            self._check_size(len(data), before)
        self._advance()

    def _check_size(self, size: int, body_before: int) -> None:
        """Bounds what the parser keeps to itself of a message that is not whole: a head, chunk extensions, trailers."""
        if self._in_head:
            self._head_size += size
            if self._head_size > self._limits.head:
                self._refuse(431, "head_too_large", f"The headers are longer than {self._limits.head} bytes.")
        elif self._body_size <= body_before:
            self._bodiless += size
            if self._bodiless > self._limits.head + self._body_size:
                text = f"Chunk extensions and trailers are longer than {self._limits.head} bytes."
                self._refuse(431, "framing_too_large", text)

    # -- httptools
    def on_message_begin(self) -> None:
        self._in_head = self._in_message = True
        self._head_size = self._body_size = self._bodiless = 0
        self._url, self._headers, self._names, self._body = b"", [], {}, []
        if not self.busy:
            self.deadline = self._server.now() + self._limits.request_s

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # or else a trailer of a chunked body, which nothing here reads
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self._headers) > self._limits.headers:
            self._stop(431, "too_many_headers", f"More than {self._limits.headers} headers.")
        lines = sum([len(name) + len(value) + 4 for name, value in self._headers])
        if len(self._url) + lines > self._limits.head:
            self._stop(431, "head_too_large", f"The headers are longer than {self._limits.head} bytes.")
        names: dict[str, str] = {}
        for raw_name, raw_value in self._headers:
            name, value = _name(raw_name), raw_value.decode("latin-1")
            if name not in names:
                names[name] = value
            elif name in ("host", "content-length", "transfer-encoding", "authorization", "content-type"):
                self._stop(400, "repeated_header", f"The header {name} is sent twice.")
            else:
                names[name] = f"{names[name]}, {value}"
        self._names = names
        version = self._parser.get_http_version()
        self._check_framing(names, version)
        expect = names.get("expect")
        if expect is not None and version == "1.1":
            if expect.lower() != "100-continue":
                self._stop(417, "expectation_failed", f"Expect: {expect} cannot be met.")
            self._owes_continue = True

    def _check_framing(self, names: dict[str, str], version: str) -> None:
        """Refuses what two HTTP parsers could frame differently (RFC 9112 sections 3.2, 6.1 and 6.3)."""
        length, coding = names.get("content-length"), names.get("transfer-encoding")
        if self._parser.should_upgrade():
            self._stop(501, "upgrade_refused", "No upgrade of the connection is offered here.")
        if version not in ("1.1", "1.0"):
            self._stop(505, "http_version", f"HTTP/{version} is not spoken here.")
        if "host" not in names and version == "1.1":
            self._stop(400, "no_host", "The Host header is missing.")
        if coding is not None and (length is not None or version == "1.0"):
            self._stop(400, "ambiguous_length", "Transfer-Encoding with Content-Length, or in HTTP/1.0, is refused.")
        if coding is not None and coding.lower() != "chunked":
            self._stop(501, "transfer_coding", f"Transfer-Encoding: {coding} is not understood; send chunked.")
        if length is not None:
            if not (length.isascii() and length.isdigit()):
                self._stop(400, "bad_length", f"Content-Length: {length} is not a number.")
            if int(length) > self._limits.body:
                self._stop(413, "body_too_large", f"The body is longer than {self._limits.body} bytes.")

    def on_body(self, chunk: bytes) -> None:
        self._owes_continue = False
        self._body.append(chunk)
        self._body_size += len(chunk)
        if self._body_size > self._limits.body:
            self._stop(413, "body_too_large", f"The body is longer than {self._limits.body} bytes.")

    def on_message_complete(self) -> None:
        self._in_message = self._owes_continue = False
        if len(self._queue) >= self._limits.pipelined:
            self._stop(429, "too_many_pipelined", f"More than {self._limits.pipelined} requests wait for an answer.")
        path, _, query = self._url.decode("latin-1").partition("?")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Request(self._parser.get_method().decode(), path, query, self._names, body, self._peer)
        self._body = []
        self._queue.append((request, self._parser.should_keep_alive(), self._parser.get_http_version() == "1.1"))

    # -- answering
    def _stop(self, status: int, code: str, message: str) -> None:
        self._refuse(status, code, message)
        raise _Rejected

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Chooses the answer to what cannot be parsed further; it is sent after those that are owed already."""
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode() if self._url else ""
        body = self._server.explain(Request(method, path, query, self._names), status, code, message)
        self._refusal = _head(status, "application/json", (), len(body), keep=False) + body
        self._in_head = self._in_message = False

    def _advance(self) -> None:
        """Starts the next answer, or does what else is due."""
        transport = self._transport
        if transport is None or self.closed:
            return
        if self.task is None and self._queue:
            request, keep, modern = self._queue.popleft()
            self.deadline = 0.0
            self.task = self._server.loop.create_task(self._answer(request, keep, modern))
        if self.task is None:
            if self._refusal is not None:
                self._finish(self._refusal)
                return
            if self._owes_continue and self._in_message:
                self._owes_continue = False
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if bool(self._queue) is not self._reading_paused:
            self._reading_paused = not self._reading_paused
            (transport.pause_reading if self._reading_paused else transport.resume_reading)()

    def _finish(self, last: bytes = b"") -> None:
        """Says that this was all, and lingers until the client has read it (RFC 9112 section 9.6)."""
        transport = self._transport
        if transport is None or self.closed or self._discarding:
            return
        self._discarding = True
        self._queue.clear()
        self.deadline = self._server.now() + self._limits.linger_s
        if last:
            transport.write(last)
        if self._in_message or self._refusal is not None:
            if self._reading_paused:
                self._reading_paused = False
                transport.resume_reading()
            if transport.can_write_eof():
                transport.write_eof()
        else:
            transport.close()

    async def _answer(self, request: Request, keep: bool, modern: bool) -> None:
        response: Response | None = None
        try:
            try:
                response = await self._server.handler(request)
            except Exception as error:  # noqa: BLE001 (a bug in a handler must not take the connection's order down)
                _log.exception("handler_failed", path=request.path, problem=str(error))
                response = Response(500, b'{"error":{"message":"internal error","type":"server_error","code":"bug"}}')
            keep = keep and not self._server.draining
            if isinstance(response.body, bytes):
                self._send_whole(request, response, response.body, keep)
            else:
                keep = await self._send_stream(response, response.body, keep, modern)
            if self._drained is not None:
                await self._drained
        except asyncio.CancelledError:
            keep = False
            if not self.closed and self._transport is not None:
                self._transport.abort()
        finally:
            self.task = None
            if response is not None and response.done is not None:
                # Not now: the event loop hands what was written to the socket only after this step.
                self._server.loop.call_soon(response.done)
        if self.closed:
            return
        if not keep:
            self._finish()
            return
        self.deadline = self._server.now() + (self._limits.request_s if self._in_message else self._limits.idle_s)
        self._advance()

    def _send_whole(self, request: Request, response: Response, body: bytes, keep: bool) -> None:
        if self._transport is None or self.closed:
            return
        bare = response.status in (204, 304)
        head = _head(response.status, response.content_type, response.headers, None if bare else len(body), keep=keep)
        self._transport.write(head if bare or request.method == "HEAD" else head + body)

    async def _send_stream(self, response: Response, body: AsyncIterator[bytes], keep: bool, modern: bool) -> bool:
        """Sends chunk by chunk; returns whether the connection can be kept. A body that raises breaks the connection
        off, so that the client cannot take half an answer for a whole one."""
        transport = self._transport
        assert transport is not None  # noqa: S101 (a request cannot come before connection_made)
        keep = keep and modern
        started = False
        try:
            async for chunk in body:
                if self.closed:
                    return False
                if not chunk:
                    continue
                framed = b"%x\r\n%s\r\n" % (len(chunk), chunk) if modern else chunk
                if not started:
                    started = True
                    framed = self._stream_head(response, keep, modern) + framed
                transport.write(framed)
                if self._drained is not None:
                    await self._drained
        except Exception as error:  # noqa: BLE001 (whatever broke the body, the framing must say that it is not whole)
            _log.info("stream_broken", problem=str(error) or type(error).__name__)
            transport.abort()
            return False
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        end = b"0\r\n\r\n" if modern else b""
        transport.write(end if started else self._stream_head(response, keep, modern) + end)
        return keep

    @staticmethod
    def _stream_head(response: Response, keep: bool, modern: bool) -> bytes:
        coding = (("transfer-encoding", "chunked"),) if modern else ()
        return _head(response.status, response.content_type, (*response.headers, *coding), None, keep=keep)

    # -- for the Server
    def check_deadline(self, now: float) -> None:
        """Closes a connection that took too long."""
        if self.deadline and now > self.deadline:
            if self._in_message and not self._discarding and self._refusal is None and not self.busy:
                self._refuse(408, "too_slow", "The request did not arrive in time.")
                self._advance()
            elif self._transport is not None:
                self._transport.abort()

    def stop(self) -> None:
        """Closes a connection that owes no answer; one that does closes after it."""
        if not self.busy and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._transport.abort()


def plain(_request: Request, _status: int, code: str, message: str) -> bytes:
    """An error as JSON, in the shape that most clients of model APIs read."""
    return msgspec.json.encode({"error": {"message": message, "type": "invalid_request_error", "code": code}})


class Server:
    """Listens, and hands every request to ``handler``. ``explain`` makes the body of an answer to what was no request
    of HTTP/1.1 or beyond a limit, from as much of it as was read; it must not raise."""

    def __init__(self, handler: Handler, limits: Limits, explain: Explain = plain) -> None:
        self.handler = handler
        self.explain = explain
        self.limits = limits
        self.connections: set[_Connection] = set()
        self.draining = False
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it was started in."""
        assert self._loop is not None  # noqa: S101 (set by start, before any connection)
        return self._loop

    def now(self) -> float:
        """The event loop's time."""
        return self.loop.time()

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port. Raises OSError when the address is taken."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        self._sweeper = asyncio.create_task(self._sweep())
        return int(self._server.sockets[0].getsockname()[1])

    async def _sweep(self) -> None:
        while True:
            _date.cache_clear()
            now = self.now()
            for connection in tuple(self.connections):
                connection.check_deadline(now)
            await asyncio.sleep(min(1.0, self.limits.request_s / 4, self.limits.idle_s / 4, self.limits.linger_s / 2))

    async def drain(self, seconds: float) -> None:
        """Takes no more connections, gives running requests ``seconds`` to finish, then breaks them off."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        deadline = self.now() + seconds
        while self.connections and self.now() < deadline:
            for connection in tuple(self.connections):
                connection.stop()
            await asyncio.sleep(0.02)
        running = [connection.task for connection in self.connections if connection.task is not None]
        for connection in tuple(self.connections):
            connection.abort()
        if running:
            await asyncio.wait(running, timeout=seconds)
        await asyncio.sleep(0)  # what is to be done after an answer is done
        if self._sweeper is not None:
            self._sweeper.cancel()


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    """A header's name; the same few hundred come again and again."""
    return raw.decode("latin-1").lower()


@lru_cache(maxsize=1)
def _date() -> str:
    return formatdate(usegmt=True)


@lru_cache(maxsize=512)
def _first_lines(status: int, content_type: str, keep: bool) -> str:
    lines = f"HTTP/1.1 {status} {reason_phrase(status)}\r\n"
    if content_type:
        lines += f"content-type: {content_type}\r\n"
    return lines if keep else lines + "connection: close\r\n"


def _head(
    status: int, content_type: str, headers: tuple[tuple[str, str], ...], length: int | None, *, keep: bool
) -> bytes:
    """The status line and headers of an answer."""
    text = _first_lines(status, content_type, keep) + f"date: {_date()}\r\n"
    for name, value in headers:
        text += f"{name}: {value}\r\n"
    if length is not None:
        text += f"content-length: {length}\r\n"
    return (text + "\r\n").encode("latin-1")
