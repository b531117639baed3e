"""A program as somebody has it on their computer: the real MCP client with its own OAuth, which is told the gateway's
address and nothing else, and waits on a loopback port for the browser to come back."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


class Kept:
    """What a program keeps between two starts."""

    def __init__(self, client: OAuthClientInformationFull | None) -> None:
        self.client = client
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """As the client asks for it."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """As the client asks for it."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """As the client asks for it."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """As the client asks for it."""
        self.client = client_info


class McpProgram:
    """``with McpProgram(address) as program``: ``start`` its work, take what the browser shall open from ``asked``.

    ``client_id``: what an operator registered it as; ``document``: where it says who it is; with neither it registers
    itself.
    """

    def __init__(self, address: str, *, client_id: str = "", document: str | None = None) -> None:
        self.address = address
        self.asked: queue.Queue[str] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._came: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._client_id, self._document = client_id, document
        self._stack = AsyncExitStack()
        self.back = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self._open())
        return self

    def __exit__(self, *_exc: object) -> None:
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def start(self, work: Callable[[Client], Awaitable[Any]]) -> Future[Any]:
        """Connects, and does ``work`` with the session."""
        return asyncio.run_coroutine_threadsafe(self._work(work), self._loop)

    def call(self, tool: str, arguments: dict[str, Any]) -> Future[Any]:
        """Calls one tool, in a session of its own."""
        return self.start(lambda client: client.call_tool(tool, arguments))

    def do(self, doing: Any) -> Any:
        """Runs a coroutine in the program's thread, and waits for it."""
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(60)

    def expire(self) -> None:
        """Its token is too old from now on, as far as it knows."""
        self.provider.context.token_expiry_time = 1.0

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._callback, "127.0.0.1", 0)
        self.back = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/callback"
        metadata = OAuthClientMetadata(client_name="Somebody's editor", redirect_uris=[self.back])
        known = {"client_id": self._client_id, "redirect_uris": [self.back], "token_endpoint_auth_method": "none"}
        self.kept = Kept(OAuthClientInformationFull.model_validate(known) if self._client_id else None)
        self.provider = OAuthClientProvider(
            self.address,
            metadata,
            self.kept,
            self._redirect,
            self._returned,
            client_metadata_url=self._document,
        )

    async def _close(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        waiting = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _work(self, work: Callable[[Client], Awaitable[Any]]) -> Any:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx2.AsyncClient(auth=self.provider, trust_env=False))
            transport = streamable_http_client(self.address, http_client=http)
            client = await stack.enter_async_context(Client(transport))
            return await work(client)

    async def _redirect(self, url: str) -> None:
        self.asked.put(url)

    async def _returned(self) -> AuthorizationCodeResult:
        found = await self._came.get()
        if "error" in found:
            raise PermissionError(found["error"])
        return AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))

    async def _callback(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split(" ")[1]
        body = b"<!doctype html><title>Done</title><p>You can close this window."
        if urlsplit(line).path == "/callback":
            self._came.put_nowait({name: values[0] for name, values in parse_qs(urlsplit(line).query).items()})
        else:
            body = b""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
