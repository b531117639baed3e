"""The upstream client against real sockets that behave well and badly."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tenure.gateway.upstream import Client, UpstreamError

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Script = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def against(script: Script, test: Callable[[str, Client], Awaitable[None]], tls: ssl.SSLContext | None = None) -> int:
    """Runs ``test`` with the URL of a server whose connections ``script`` serves; returns how many there were."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            await script(connections, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        client = Client(timeout_s=0.5)
        scheme = "https" if tls else "http"
        async with server, asyncio.timeout(10):
            await test(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/base", client)
            client.close()
            await asyncio.sleep(0.02)

    asyncio.run(run())
    return connections


async def keep_alive(_number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)


def answers(data: bytes) -> Script:
    async def script(_number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return script


async def get(url: str, client: Client) -> bytes:
    reply = await client.send(url, "GET", "/x")
    return await reply.read(1000)


def test_connections_are_used_again() -> None:
    async def test(url: str, client: Client) -> None:
        assert [await get(url, client) for _ in range(5)] == [b"ok"] * 5

    assert against(keep_alive, test) == 1


def test_a_pooled_connection_that_was_closed_is_replaced_once() -> None:
    async def closes_after_one(_number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")  # takes the second request and hangs up without a byte

    async def test(url: str, client: Client) -> None:
        assert await get(url, client) == b"ok"
        assert await get(url, client) == b"ok"

    assert against(closes_after_one, test) == 2


def test_a_fresh_connection_that_breaks_is_not_tried_again() -> None:
    async def test(url: str, client: Client) -> None:
        with pytest.raises(UpstreamError) as caught:
            await get(url, client)
        assert caught.value.kind == "reset"

    assert against(answers(b""), test) == 1


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_every_way_to_frame_a_body(data: bytes, body: bytes) -> None:
    async def test(url: str, client: Client) -> None:
        assert await get(url, client) == body

    against(answers(data), test)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "reset"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", "reset"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000, "too_large"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, "garbage"),
        (b"SSH-2.0-OpenSSH\r\n", "garbage"),
    ],
)
def test_every_way_to_answer_badly(data: bytes, kind: str) -> None:
    async def test(url: str, client: Client) -> None:
        with pytest.raises(UpstreamError) as caught:
            await get(url, client)
        assert caught.value.kind == kind

    against(answers(data), test)


def test_silence_before_the_answer_and_within_it_is_a_timeout() -> None:
    async def stalls(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if number == 2:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
        await reader.read(1)

    async def test(url: str, client: Client) -> None:
        for _ in range(2):
            with pytest.raises(UpstreamError) as caught:
                await get(url, client)
            assert caught.value.kind == "timeout"

    against(stalls, test)


def test_a_request_that_is_no_longer_admitted_is_not_sent() -> None:
    async def test(url: str, client: Client) -> None:
        def refuse() -> None:
            raise PermissionError

        with pytest.raises(PermissionError):
            await client.send(url, "POST", "/x", body=b"secret", admit=refuse)
        assert await get(url, client) == b"ok"

    assert against(keep_alive, test) == 1


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def trusted(url: str, client: Client) -> None:
        assert await get(url, client) == b"ok"

    async def stranger(url: str, client: Client) -> None:
        with pytest.raises(UpstreamError) as caught:
            await get(url, client)
        assert caught.value.kind == "connect_failed"

    against(keep_alive, stranger, tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    against(keep_alive, trusted, tls)
