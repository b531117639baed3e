"""What holds for both ends of the gateway's HTTP, whatever bytes arrive and however they are cut."""

from __future__ import annotations

import asyncio
import atexit
import re
from typing import Any

import h11
import httptools

from tenure.gateway.deadlines import Deadlines
from tenure.gateway.http import Request, Response
from tenure.gateway.server import Limits, Server, _Connection
from tenure.gateway.wire import Connection, UpstreamError
from tests.fuzz.source import Source

LIMITS = Limits(body=2000, head=1000, headers=12, pipelined=4)
_DATE = re.compile(rb"date: [^\r]*\r\n")
_KINDS = {"reset", "garbage", "timeout"}
_loop = asyncio.new_event_loop()  # one for all inputs: making it takes longer than most of them
atexit.register(_loop.close)


class _Pipe(asyncio.Transport):
    """A socket's end that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended = self.paused = False

    def write(self, data: Any) -> None:
        if not self.ended:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


async def _served(pieces: list[bytes]) -> tuple[list[Request], bytes, bool]:
    """What a server makes of bytes that arrive in ``pieces``: the requests, the answers, and whether it hung up."""
    requests: list[Request] = []

    async def handler(request: Request) -> Response:
        requests.append(request)
        return Response(200, b"%d %d" % (len(requests), len(request.body)))

    server = Server(handler, LIMITS)
    server._loop = _loop
    pipe, connection = _Pipe(), _Connection(server)
    connection.connection_made(pipe)
    for piece in pieces:
        connection.data_received(piece)
        for _ in range(40):
            await asyncio.sleep(0)
            if not pipe.paused and not connection.busy:
                break
        assert not pipe.paused, "requests wait and nobody answers them"
    # Whether a client is told to go on depends on how much of its body came with the head.
    out, ended = _DATE.sub(b"", bytes(pipe.written)).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""), pipe.ended
    connection.connection_lost(None)
    await asyncio.sleep(0)
    return requests, out, ended


def server(data: bytes) -> None:
    """Any cut gives the same requests and answers; every answer is HTTP; and another parser, where it agrees that this
    is HTTP, sees the same requests (or one could be smuggled past whatever stands in front)."""
    source = Source(data)
    body = source.rest() if source.byte() % 2 else b"".join(_request(source) for _ in range(source.byte() % 5 + 1))
    whole = _loop.run_until_complete(_served([body] if body else []))
    cut = _loop.run_until_complete(_served(Source(data[::-1]).pieces(body)))
    refusals = [re.search(rb'"code":"([a-z_]+)"', out) for out in (whole[1], cut[1])]
    timely = any(found and found[1] in (b"head_too_large", b"too_many_pipelined") for found in refusals)
    same = min(len(whole[0]), len(cut[0])) if timely else None  # how much waits at once depends on how it arrives
    assert [_seen(request) for request in cut[0][:same]] == [_seen(request) for request in whole[0][:same]]
    assert timely or cut[1:] == whole[1:], (cut, whole)
    _check_answers(whole[0], whole[1])
    _check_smuggling(whole[0], body)


def _request(source: Source) -> bytes:
    method = source.pick((b"GET", b"POST", b"PUT", b"HEAD", b"get", b"PRI"))
    lines = [
        method + b" /" + source.some(source.byte() % 6) + b" HTTP/" + source.pick((b"1.1", b"1.0", b"2.0", b"1.2"))
    ]
    if source.byte() % 8:
        lines.append(b"Host: a")
    for _ in range(source.byte() % 5):
        name = source.pick(
            (b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"X", b"Host", b"Upgrade")
        )
        value = source.pick((b"0", b"3", b"chunked", b"close", b"100-continue", b"+3", b"3, 3", b"identity, chunked"))
        value = source.some(source.byte() % 9) if source.byte() % 4 == 0 else value
        lines.append(name + source.pick((b": ", b":", b" : ", b":\t")) + value)
    end = source.pick((b"\r\n", b"\r\n", b"\r\n", b"\n"))
    part = source.some(source.byte() % 12)
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(part), part)
    return end.join(lines) + end + end + source.pick((b"", b"abc", part, chunk, b"0\r\n\r\n"))


def _seen(request: Request) -> tuple[Any, ...]:
    return request.method, request.path, request.query, dict(request.headers), request.body


class _Answers:
    def __init__(self) -> None:
        self.count = 0

    def on_message_complete(self) -> None:
        self.count += 1


def _check_answers(requests: list[Request], out: bytes) -> None:
    heads = [status for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", out) if status != b"100"]
    assert len(requests) <= len(heads) <= len(requests) + 1  # at most one refusal, the last
    if any(request.method == "HEAD" for request in requests):
        return  # an answer without its body, which a parser must be told
    answers = _Answers()
    httptools.HttpResponseParser(answers).feed_data(out)
    assert answers.count == len(heads)


def _check_smuggling(requests: list[Request], body: bytes) -> None:
    other = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    seen: list[tuple[str, str, bytes]] = []
    try:
        other.receive_data(body)
        while True:
            event = other.next_event()
            if isinstance(event, h11.Request):
                seen.append((event.method.decode(), event.target.decode("latin-1"), b""))
            elif isinstance(event, h11.Data):
                seen[-1] = (*seen[-1][:2], seen[-1][2] + bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                other.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                other.send(h11.EndOfMessage())
                if other.our_state is h11.MUST_CLOSE:
                    break
                other.start_next_cycle()
            else:
                break
    except h11.RemoteProtocolError:
        return  # the other one is stricter there
    for ours, theirs in zip(requests, seen, strict=False):
        target = ours.path + (f"?{ours.query}" if ours.query else "")
        assert (ours.method, target.removesuffix("?"), ours.body) == (theirs[0], theirs[1].removesuffix("?"), theirs[2])


async def _answered(pieces: list[bytes]) -> tuple[Any, ...]:
    """What a client makes of an answer that arrives in ``pieces``, before the upstream closes: status, headers, body,
    error, and whether the connection may be used again."""
    idle: list[Connection] = []
    connection = Connection(idle.append, lambda _: None, Deadlines())
    pipe = _Pipe()
    connection.connection_made(pipe)
    head = connection.send(b"GET / HTTP/1.1\r\n\r\n", 5.0)
    for piece in pieces:
        if not pipe.ended:
            connection.data_received(piece)
    reusable = bool(idle) and not connection.closed
    connection.connection_lost(None)
    try:
        reply = await head
        body = await reply.read(1 << 20)
    except UpstreamError as error:
        assert error.kind in _KINDS, error.kind
        return None, None, None, error.kind, False
    assert 200 <= reply.status < 1000
    return reply.status, reply.headers, body, None, reusable


def upstream(data: bytes) -> None:
    """Any cut of an answer gives the same reading of it, and the only error is UpstreamError."""
    source = Source(data)
    if source.byte() % 2:
        body = source.rest()
    else:
        lines = [source.pick((b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 X", b"HTTP/1.1 100 C", b"200"))]
        for _ in range(source.byte() % 4):
            name = source.pick((b"Content-Length", b"Transfer-Encoding", b"Connection", b"Content-Type", b"X"))
            lines.append(
                name + b": " + source.pick((b"3", b"0", b"chunked", b"close", b"gzip, chunked", source.some(6)))
            )
        body = b"\r\n".join(lines) + b"\r\n\r\n" + source.pick((b"abc", b"3\r\nabc\r\n0\r\n\r\n", source.rest()))
    whole = _loop.run_until_complete(_answered([body] if body else []))
    cut = _loop.run_until_complete(_answered(Source(data[::-1]).pieces(body)))
    assert whole == cut, (whole, cut)
