"""The agent's side of MCP (revision 2025-11-25, streamable HTTP), as little of it as a replay needs.

The official SDK takes half a second to import, which every `tenure` command would wait for; what it does with the same
gateway is proven by the gateway's own tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from types import TracebackType
from typing import Any, Self

import httpx2

from tenure import __version__
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject

VERSION = "2025-11-25"
_ACCEPT = {"Accept": "application/json, text/event-stream"}


class McpClient:
    """One session with one server. Use it as an asynchronous context manager; ``http`` carries the credential."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url
        self._headers = dict(_ACCEPT)
        self._ids = count(1)

    async def __aenter__(self) -> Self:
        hello = {
            "protocolVersion": VERSION,
            "capabilities": {},
            "clientInfo": {"name": "tenure-replay", "version": __version__},
        }
        result = await self.request("initialize", hello)
        self._headers["MCP-Protocol-Version"] = str(result["protocolVersion"])
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "MCP-Session-Id" in self._headers and error is None:
            await self._http.delete(self._url, headers=self._headers)

    async def tools(self) -> list[JsonObject]:
        """Every tool that the server offers, all pages."""
        tools: list[JsonObject] = []
        params: dict[str, Any] = {}
        while True:
            page = await self.request("tools/list", params)
            tools += page["tools"]
            if not page.get("nextCursor"):
                return tools
            params = {"cursor": page["nextCursor"]}

    async def call(self, name: str, arguments: JsonObject, meta: JsonObject) -> JsonObject:
        """The result of a tool call, as the server gave it."""
        return await self.request("tools/call", {"name": name, "arguments": arguments, "_meta": meta})

    async def request(self, method: str, params: JsonObject) -> JsonObject:
        """One request and its result. Raises Refused with the server's words for an error."""
        identity = next(self._ids)
        response = await self._post({"jsonrpc": "2.0", "id": identity, "method": method, "params": params})
        answer = next((item for item in _messages(response) if item.get("id") == identity), None)
        if answer is None or "result" not in answer:
            told = (answer or {}).get("error", {}).get("message") or response.text[:500]
            raise Refused("mcp_error", f"{method}: status {response.status_code}: {told}", status=502)
        result: JsonObject = answer["result"]
        return result

    async def _post(self, message: JsonObject) -> httpx2.Response:
        response = await self._http.post(self._url, json=message, headers=self._headers)
        if session := response.headers.get("mcp-session-id"):
            self._headers["MCP-Session-Id"] = session
        return response


def _messages(response: httpx2.Response) -> Iterator[dict[str, Any]]:
    """The JSON-RPC messages of an answer, which may be JSON or a stream of server-sent events."""
    texts = [response.text]
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        blocks = response.text.replace("\r\n", "\n").split("\n\n")
        texts = ["\n".join(line[5:] for line in block.split("\n") if line.startswith("data:")) for block in blocks]
    for text in texts:
        try:
            message = json.loads(text)
        except ValueError:
            continue  # an error page, or a block without data
        if isinstance(message, dict):
            yield message
