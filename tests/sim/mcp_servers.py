"""Real MCP servers, each in a process of its own.

    python tests/sim/mcp_servers.py files FOLDER         stdio, by the SDK: list_files, read_file, write_file and more
    python tests/sim/mcp_servers.py database PATH PORT   streamable HTTP, by the SDK: orders in a SQLite file
    python tests/sim/mcp_servers.py old-database PATH PORT   the same, but it knows revisions with sessions only

``database`` answers agents that show ``Authorization: Bearer $DATABASE_TOKEN`` and nobody else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

SCRIPT = str(Path(__file__).resolve())
TOKEN = "database-token-of-the-gateway"


def files_command(folder: Path) -> tuple[str, ...]:
    """The command line of the stdio server over ``folder``."""
    return (sys.executable, SCRIPT, "files", str(folder))


@contextmanager
def database_server(path: Path, port: int, kind: str = "database") -> Iterator[str]:
    """Runs the database server, or the ``old-database`` one; yields its URL."""
    env = {**os.environ, "DATABASE_TOKEN": TOKEN}
    process = subprocess.Popen([sys.executable, SCRIPT, kind, str(path), str(port)], env=env)
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


def wait_for_port(port: int, within_s: float = 20.0) -> None:
    """Returns when somebody listens on ``port``."""
    import socket  # noqa: PLC0415 (only the parent needs it; servers start faster without)

    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


def files(folder: Path) -> MCPServer:
    """Files of one folder."""
    server = MCPServer("files", instructions="Files of one folder.")

    def inside(name: str) -> Path:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ValueError(f"{name} is outside the folder")
        return path

    @server.tool()
    def list_files() -> list[str]:
        """Names of all files."""
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    @server.tool()
    def read_file(name: str) -> str:
        """The text of a file."""
        return inside(name).read_text()

    @server.tool()
    def write_file(name: str, text: str) -> str:
        """Writes a file."""
        inside(name).write_text(text)
        return f"wrote {len(text)} characters to {name}"

    @server.tool()
    async def slow(seconds: float, context: Context) -> str:
        """Works for some seconds, says how far it is, and leaves a trace of how it ended."""
        steps = 10
        try:
            for step in range(steps):
                await context.report_progress(step + 1, steps, f"step {step + 1}")
                await asyncio.sleep(seconds / steps)
        except BaseException:
            (folder / "slow.cancelled").write_text("yes")
            raise
        return "done"

    @server.tool()
    def whoami() -> dict[str, Any]:
        """The process and its environment's names."""
        return {"pid": os.getpid(), "env": sorted(os.environ)}

    @server.tool()
    def crash() -> str:
        """Kills the server in the middle of the call."""
        os.kill(os.getpid(), signal.SIGKILL)
        return "not reached"

    return server


def database(path: Path) -> MCPServer:
    """Orders in a SQLite file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, customer TEXT, cents INTEGER)")
        connection.execute("CREATE TABLE IF NOT EXISTS refunds (order_id TEXT, cents INTEGER)")
        rows = [("o1", "ada", 4200), ("o2", "bob", 120000), ("o3", "ada", 999)]
        connection.executemany("INSERT OR IGNORE INTO orders VALUES (?, ?, ?)", rows)
        connection.commit()
    server = MCPServer("database", instructions="Orders and refunds.")

    @server.tool()
    def query(customer: str) -> list[dict[str, Any]]:
        """Orders of a customer."""
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT id, cents FROM orders WHERE customer = ? ORDER BY id", (customer,))
            return [{"id": identity, "cents": cents} for identity, cents in found]

    @server.tool()
    def refund(order_id: str, cents: int) -> str:
        """Pays an order back."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("INSERT INTO refunds VALUES (?, ?)", (order_id, cents))
            connection.commit()
        return f"refunded {cents} of {order_id}"

    @server.tool()
    def update(order_id: str, cents: int) -> str:
        """Changes what an order cost."""
        with closing(sqlite3.connect(path)) as connection:
            changed = connection.execute("UPDATE orders SET cents = ? WHERE id = ?", (cents, order_id)).rowcount
            connection.commit()
        return f"{changed} changed"

    return server


class _TokenRequired:
    """Refuses requests without the token."""

    def __init__(self, app: ASGIApp, token: str, *, old: bool) -> None:
        self.app = app
        self.token = token
        self.old = old

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Request(scope).headers
            refusal: Response | None = None
            if headers.get("authorization") != f"Bearer {self.token}":
                refusal = PlainTextResponse("who are you?", status_code=401)
            elif self.old and headers.get("mcp-protocol-version") == "2026-07-28":
                refusal = PlainTextResponse("unknown version", status_code=400)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def main() -> None:
    """See the module's docstring."""
    kind, *rest = sys.argv[1:]
    if kind == "files":
        files(Path(rest[0])).run("stdio")
    elif kind in ("database", "old-database"):
        app = database(Path(rest[0])).streamable_http_app()
        uvicorn.run(
            _TokenRequired(app, os.environ["DATABASE_TOKEN"], old=kind == "old-database"),
            host="127.0.0.1",
            port=int(rest[1]),
            log_level="warning",
        )


if __name__ == "__main__":
    main()
