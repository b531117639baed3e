"""Ways out of a confined process: each carries bytes between a listening socket inside and one address outside."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit

_PIECE = 1 << 16
_CONNECT_S = 10.0


def address_of(url: str) -> tuple[str, int, bool]:
    """(host, port, whether TLS is spoken) of an http or https address. Raises ValueError for another."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http address")
    tls = parts.scheme == "https"
    return parts.hostname, parts.port or (443 if tls else 80), tls


def carry(listener: socket.socket, url: str) -> None:
    """Carries the bytes of what connects to ``listener`` to the host of ``url`` and back, in a thread that ends with
    this process. What an https address gets is encrypted here, for the name in the address. Raises ValueError as
    ``address_of``."""
    way = _Way(*address_of(url))
    listener.setblocking(False)

    async def serve() -> None:
        await asyncio.start_server(way.connected, sock=listener)
        await asyncio.Event().wait()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()


class _Way:
    def __init__(self, host: str, port: int, tls: bool) -> None:
        self._host, self._port = host, port
        self._tls = ssl.create_default_context() if tls else None

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                far_reader, far_writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        except OSError:  # a timeout as well: the process sees its connection closed
            writer.transport.abort()
            return
        with suppress(OSError):
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        for end in (writer, far_writer):
            end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until its side is closed; then the other side is told so and may still answer."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()  # TLS has no half-closed connections
