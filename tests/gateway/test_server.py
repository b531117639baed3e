"""The HTTP server by raw bytes: framing, order, limits, and what could be read in two ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from tenure.gateway.http import Request, Response, decode_json
from tenure.gateway.server import Limits, Server
from tenure.kernel.errors import Refused

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIMITS = Limits(body=1000, head=2000, headers=20, pipelined=3, request_s=0.4, idle_s=0.6, write_s=0.5, linger_s=0.3)
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"


async def handler(request: Request) -> Response:
    """Answers by the path."""
    if request.path == "/stream":
        return Response(200, _parts(), content_type="text/event-stream")
    if request.path == "/broken":
        return Response(200, _broken())
    if request.path == "/bug":
        raise RuntimeError("a bug")
    if request.path == "/flood":
        return Response(200, _flood())
    if request.path.startswith("/wait"):
        await asyncio.sleep(0.15)
    return Response(200, request.method.encode() + b" " + request.path.encode() + b" " + request.body)


async def _parts() -> AsyncIterator[bytes]:
    for part in (b"one", b"", b"two"):
        yield part


async def _broken() -> AsyncIterator[bytes]:
    yield b"half"
    raise OSError("gone")


_flooded = {"sent": 0, "closed": False}


async def _flood() -> AsyncIterator[bytes]:
    try:
        for _ in range(2000):
            _flooded["sent"] += 1
            yield b"x" * 65536
    finally:
        _flooded["closed"] = True


def talk(conversation: Talk, limits: Limits = LIMITS) -> None:
    """Runs ``conversation`` on a connection to a server."""

    async def run() -> None:
        server = Server(handler, limits)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(10):
                await conversation(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            await server.drain(0.2)

    asyncio.run(run())


def reply_to(data: bytes, limits: Limits = LIMITS) -> bytes:
    """Everything that a server says to ``data`` until it closes the connection."""
    said = b""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            said = await reader.read(-1)

    talk(conversation, limits)
    return said


def bodies(said: bytes) -> list[bytes]:
    """The bodies of answers with a length."""
    out = []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        out.append(rest[:length])
        said = rest[length:]
    return out


def test_a_body_by_length_and_a_body_in_chunks_are_the_same() -> None:
    by_length = reply_to(POST + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello")
    chunked = reply_to(
        POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: v\r\n\r\n"
    )
    assert bodies(by_length) == bodies(chunked) == [b"POST /echo hello"]


def test_pipelined_requests_are_answered_in_order() -> None:
    said = reply_to(
        b"GET /wait1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert bodies(said) == [b"GET /wait1 ", b"GET /2 ", b"GET /3 "]


def test_too_many_pipelined_requests_are_refused_after_those_that_fit() -> None:
    said = reply_to(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" * 9)
    assert bodies(said)[:1] == [b"GET /wait "]
    assert b"too_many_pipelined" in bodies(said)[-1]
    assert said.count(b"HTTP/1.1 200") <= LIMITS.pipelined + 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", b"400"),
        (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", b"400"),
        (POST + b"Content-Length: +3\r\n\r\nabc", b"400"),
        (POST + b"Content-Length: 3, 3\r\n\r\nabc", b"400"),
        (POST + b"Content-Length: -1\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", b"501"),
        (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"501"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Content-Length : 3\r\n\r\nabc", b"400"),
        (POST + b"Content-Length: 0x3\r\n\r\nabc", b"400"),
        (POST + b"Content-Length: 3 3\r\n\r\nabc", b"400"),
        (POST + b"Content-Length: \r\n\r\n", b"400"),
        (POST + b"Content-Length: 99999999999999999999999999\r\n\r\n", b"400"),
        (POST + b"Content-Length: 3\r\n Transfer-Encoding: chunked\r\n\r\nabc", b"400"),
        (POST + b"X: a\r\n\tb\r\nContent-Length: 3\r\n\r\nabc", b"400"),
        (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3;a=\nb\r\nabc\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nBad trailer\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0;" + b"x" * 600_000, b"431"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nT: " + b"x" * 600_000, b"431"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: x\r\n" * 100_000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", b"400"),
        (b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\nHost: a\n\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"501"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"501"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (POST + b"Expect: tea\r\nContent-Length: 1\r\n\r\na", b"417"),
        (POST + b"Content-Length: 1001\r\n\r\n", b"413"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"200\r\n" + b"x" * 512 + b"\r\n200\r\n" + b"x" * 512, b"413"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 3000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX" + b"a" * 3000, b"431"),
        (b"GET /" + b"a" * 3000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 40 + b"\r\n", b"431"),
    ],
)
def test_what_could_be_read_in_two_ways_or_is_too_much_is_refused(data: bytes, status: bytes) -> None:
    said = reply_to(data)
    assert said.split(b" ")[1] == status, said
    assert said.count(b"connection: close\r\n") == 1


def test_nothing_hides_behind_a_request_that_was_refused() -> None:
    said = reply_to(
        POST
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"content-length: ") == 1
    assert b"hidden" not in said


def test_a_body_that_looks_like_a_request_is_a_body() -> None:
    inner = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    said = reply_to(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
    assert bodies(said) == [b"POST /echo " + inner]


def test_a_request_may_come_byte_by_byte_and_a_chunk_in_pieces() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = POST + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n"
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(16) == b"POST /echo abcde"

    talk(conversation, Limits(head=2000))


@pytest.mark.parametrize(
    "piece", [b"X: 1\r\n", b"a", b"1\r\nx\r\n"], ids=["a header at a time", "a letter at a time", "a chunk at a time"]
)
def test_a_client_that_keeps_sending_a_little_is_let_go_all_the_same(piece: bytes) -> None:
    """The limit is on the whole request: each little piece does not start it anew."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framing = b"Transfer-Encoding: chunked\r\n\r\n" if piece.startswith(b"1") else b""
        writer.write(POST + framing)
        answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        while not answer.done():
            writer.write(piece)
            await asyncio.wait([answer], timeout=0.05)
        assert answer.result().startswith(b"HTTP/1.1 408")

    talk(conversation, Limits(request_s=0.4, linger_s=0.3))


def test_a_refused_request_does_not_swallow_the_answers_before_it() -> None:
    said = reply_to(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + POST + b"Content-Length: x\r\n\r\n")
    assert bodies(said)[0] == b"GET /wait "
    assert said.count(b"HTTP/1.1 400") == 1


def test_a_client_that_asks_first_is_told_to_continue() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(16) == b"POST /echo hello"

    talk(conversation)


def test_a_client_that_asks_first_with_too_much_is_refused_at_once() -> None:
    said = reply_to(POST + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413")


def test_a_stream_is_chunked_and_keeps_the_connection() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"transfer-encoding: chunked" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"

    talk(conversation)


def test_a_stream_to_an_old_client_ends_with_the_connection() -> None:
    said = reply_to(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert said.endswith(b"\r\n\r\nonetwo")


def test_a_stream_that_breaks_is_never_ended_as_if_whole() -> None:
    assert b"0\r\n\r\n" not in reply_to(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")


def test_a_bug_in_a_handler_is_a_500_and_tells_nothing() -> None:
    said = reply_to(b"GET /bug HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 500")
    assert b"RuntimeError" not in said


def test_slow_and_idle_clients_are_let_go() -> None:
    assert reply_to(b"POST /echo HTTP/1.1\r\nHost:").startswith(b"HTTP/1.1 408")
    assert reply_to(POST + b"Content-Length: 5\r\n\r\nab").startswith(b"HTTP/1.1 408")
    assert reply_to(b"") == b""


def test_a_client_that_does_not_read_stops_the_stream_and_is_let_go() -> None:
    async def conversation(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _flooded.update(sent=0, closed=False)
        cast("asyncio.Transport", writer.transport).pause_reading()
        writer.write(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        while not _flooded["closed"]:  # noqa: ASYNC110 (a test that polls is a test that cannot miss)
            await asyncio.sleep(0.02)
        assert _flooded["sent"] < 1000

    talk(conversation)


def test_a_head_request_gets_no_body() -> None:
    said = reply_to(b"HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert said.endswith(b"content-length: 8\r\n\r\n")


@pytest.mark.parametrize("value", [b"[" * 65 + b"]" * 65, b'{"a":' * 70 + b"1" + b"}" * 70, b"[" * 100_000])
def test_json_that_nests_too_deep_is_refused(value: bytes) -> None:
    with pytest.raises(Refused):
        decode_json(value)


def test_json_that_is_broad_is_not_deep() -> None:
    value: Any = decode_json(b"[" + b",".join([b'{"a":[1]}'] * 500) + b"]")
    assert len(value) == 500
    assert decode_json(b"[" * 64 + b"]" * 64)
