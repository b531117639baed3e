"""An MCP server over streamable HTTP whose tools a test changes while it runs: quick, and as untrustworthy as wanted.

It knows revisions with sessions only, and speaks them over a plain socket in a thread of its own.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self


def tool(name: str, description: str = "", **more: Any) -> dict[str, Any]:
    """A definition of a tool that takes one optional text."""
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False}
    return {"name": name, "description": description or f"The tool {name}.", "inputSchema": schema, **more}


class ToolServer:
    """``with ToolServer([...]) as server:``. ``tools`` is what it lists from now on, or a function that is asked each
    time. ``calls`` are the names of tools that were called, with the time (monotonic seconds) at which they came in,
    and ``given`` their arguments."""

    def __init__(self, tools: list[dict[str, Any]] | Callable[[], list[dict[str, Any]]]) -> None:
        self.tools = tools
        self.calls: list[tuple[str, float]] = []
        self.given: list[dict[str, Any]] = []
        self.lists = 0
        self.announce = False  # says in the middle of the next call that its tools have changed
        self.port = 0
        self._sessions = 0
        self._alive: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, also while it is down."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def called(self, name: str) -> int:
        """How often a tool was called."""
        return sum(one == name for one, _ in self.calls)

    def __enter__(self) -> Self:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def up(self) -> None:
        """Listens, on the port that it had before."""
        asyncio.run_coroutine_threadsafe(self._up(), self._loop).result(60)

    def down(self) -> None:
        """Listens no more, breaks off what is open and forgets every session."""
        asyncio.run_coroutine_threadsafe(self._down(), self._loop).result(60)

    def forget(self) -> None:
        """Knows none of its sessions any more, as after a restart behind a balancer."""
        self._loop.call_soon_threadsafe(self._alive.clear)

    def restart(self, tools: list[dict[str, Any]]) -> None:
        """Goes down and comes back with other tools."""
        self.down()
        self.tools = tools
        self.up()

    async def _up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _down(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        self._alive.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lines = [line.partition(":") for line in head.split("\r\n")[1:]]
                headers = {name.lower(): value.strip() for name, _, value in lines if name}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if not head.startswith("POST"):
                    writer.write(b"HTTP/1.1 405 X\r\ncontent-length: 0\r\n\r\n")
                    continue
                self._answer(writer, json.loads(body), headers.get("mcp-session-id", ""))
        self._writers.discard(writer)
        writer.close()

    def _answer(self, writer: asyncio.StreamWriter, message: dict[str, Any], session: str) -> None:
        method = message["method"]
        if method == "initialize":
            self._sessions += 1
            session = f"s{self._sessions}"
            self._alive.add(session)
            result: dict[str, Any] = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "sim", "version": "1"},
            }
            return _send(writer, message, result, f"mcp-session-id: {session}\r\n")
        if method == "server/discover":
            return _send(writer, message, None)
        if session not in self._alive or "id" not in message:
            status = 202 if session in self._alive else 404
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
            return None
        return self._work(writer, message)

    def _work(self, writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        if message["method"] == "tools/list":
            self.lists += 1
            return _send(writer, message, {"tools": self.tools() if callable(self.tools) else self.tools})
        if message["method"] != "tools/call":
            return _send(writer, message, None)
        name = message["params"]["name"]
        self.given.append(message["params"].get("arguments") or {})
        self.calls.append((name, time.monotonic()))
        announce, self.announce = self.announce, False
        return (_stream if announce else _send)(
            writer, message, {"content": [{"type": "text", "text": f"{name} done"}]}
        )


def _send(writer: asyncio.StreamWriter, message: dict[str, Any], result: Any, headers: str = "") -> None:
    outcome = {"result": result} if result is not None else {"error": {"code": -32601, "message": "not known here"}}
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}).encode()
    head = f"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    writer.write(head.encode() + body)


def _stream(writer: asyncio.StreamWriter, message: dict[str, Any], result: Any) -> None:
    told = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    lines = (told, {"jsonrpc": "2.0", "id": message["id"], "result": result})
    body = b"".join(b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines)
    head = f"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
