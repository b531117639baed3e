"""How many governed MCP tool calls a gateway does on one core: ``python -m bench.mcp``.

The gateway has everything on (token, schema, policy, capture, spool with fsync, shipping) and one core for itself; the
load generator and the upstream server share the other one. The upstream answers at once, over streamable HTTP
(2026-07-28) and over the pipes of a child process; the client speaks 2026-07-28 or has a session, as its name says.
CPU is the gateway's own, and so is the share of its core that it got: what else ran there took the rest, or it had
nothing to do because the other core could not keep up. What one core does is what the CPU allows. Prints a table
and writes bench/results/<date>-mcp.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench.gateway.ways import LOAD, PROXY, ROOT, cpu_ns, line_of, place, spawned
from bench.machine import machine
from tenure.kernel.fingerprint import fingerprint
from tenure.kernel.snapshot import AgentFact, BreakerFact, ServerFact, ToolFact
from tenure.kernel.values import LifecycleState
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, default_policies

GOAL_PER_S = 5000
LINES = 32
_SCHEMA = {
    "type": "object",
    "properties": {"customer": {"type": "string"}, "limit": {"type": "integer", "minimum": 1}},
    "required": ["customer"],
    "additionalProperties": False,
}
_TOOL = {"name": "query", "description": "Orders of a customer.", "inputSchema": _SCHEMA}
_RESULT = {"content": [{"type": "text", "text": "order o1: 42.00, order o3: 9.99"}], "resultType": "complete"}


def answer(message: dict[str, Any]) -> bytes | None:
    """What the upstream answers; nothing to a notification."""
    method = message["method"]
    if "id" not in message:
        return None
    found: dict[str, Any] = {
        "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}},
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "quick", "version": "1"},
        },
        "tools/list": {"tools": [_TOOL]},
        "tools/call": _RESULT,
    }
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": found.get(method, {})}).encode()


class Quick(asyncio.Protocol):
    """One connection of the upstream over HTTP."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport: Any = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        """Answers when the whole request is there."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._data = b""
        said = answer(json.loads(body)) if body else None
        first = b"200 OK" if said else b"202 Accepted"
        said = said or b""
        self._transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (first, len(said), said)
        )


async def over_http() -> None:
    """The upstream's process, over HTTP."""
    server = await asyncio.get_running_loop().create_server(Quick, "127.0.0.1", 0)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def over_pipes() -> None:
    """The upstream's process, over standard input and output."""
    for line in sys.stdin.buffer:
        said = answer(json.loads(line))
        if said is not None:
            sys.stdout.buffer.write(said + b"\n")
            sys.stdout.buffer.flush()


def call(port: int, token: str, server: str, session: str) -> str:
    """One tool call as a client sends it: of 2026-07-28, or in a session."""
    params: dict[str, Any] = {"name": f"{server}__query", "arguments": {"customer": "ada", "limit": 10}}
    head = ""
    if session:
        head = f"Mcp-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {session}\r\n"
    else:
        modern = "io.modelcontextprotocol/"
        params["_meta"] = {f"{modern}protocolVersion": "2026-07-28", f"{modern}clientCapabilities": {}}
        head = f"Mcp-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {params['name']}\r\n"
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    return (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{head}"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )


def agent(url: str) -> AgentFact:
    """An agent in production that was granted the tool of both servers."""
    command = (sys.executable, "-m", "bench.mcp", "--over-pipes")
    servers = (ServerFact("web", url=url), ServerFact("pipe", command=command, cwd=str(ROOT)))
    return AgentFact(
        "default",
        "clerk",
        LifecycleState.PRODUCTION,
        "sha256:r1",
        1,
        "owner@example.com",
        servers=servers,
        tools=tuple(ToolFact(server, "query", pin=fingerprint(_TOOL)) for server in ("web", "pipe")),
        breaker=BreakerFact(threshold=1000),
    )


@contextmanager
def gateway(folder: Path, upstream: int) -> Iterator[tuple[GatewayProcess, ControlSim]]:
    """A gateway that knows the agent, and its control plane, which takes Events without looking."""
    with ControlSim(folder, default_policies()) as control:
        control.discarding = True
        control.agent(agent(f"http://127.0.0.1:{upstream}/mcp"))
        with GatewayProcess(folder, control.port) as process:
            while process.health()[0] != 200:
                time.sleep(0.01)
            yield process, control


class Bench:
    """The processes that are not measured."""

    def __init__(self) -> None:
        self._load = spawned("bench.gateway.load")
        self._upstream = subprocess.Popen(
            [sys.executable, "-m", "bench.mcp", "--over-http"], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.upstream_port = int(line_of(self._upstream.stdout).split()[1])

    def tell(self, order: dict[str, Any]) -> dict[str, Any]:
        """What the load generator answers to an order."""
        assert self._load.stdin is not None
        self._load.stdin.write(json.dumps(order) + "\n")
        self._load.stdin.flush()
        told: dict[str, Any] = json.loads(line_of(self._load.stdout))
        assert "problem" not in told, told["problem"]
        return told

    def place(self, pid: int) -> None:
        """The gateway on a core of its own, everything else on the other: also its child processes."""
        children = [child.pid for child in psutil.Process(pid).children(recursive=True)]
        place([pid], PROXY)
        place([self._load.pid, self._upstream.pid, *children], LOAD)

    def close(self) -> None:
        """Ends them."""
        for process in (self._load, self._upstream):
            process.terminate()
            process.wait(10)


def one(bench: Bench, process: GatewayProcess, request: str, seconds: float) -> dict[str, float]:
    """One turn of one way."""
    port = int(process.url.rpartition(":")[2])
    bench.tell({"port": port, "request": request, "lines": LINES, "warm": 20})
    bench.place(process.child.pid)
    before = cpu_ns([process.child.pid])
    seen = bench.tell({"seconds": seconds})
    time.sleep(0.2)  # what is recorded behind the last answer counts as well
    cpu_us = (cpu_ns([process.child.pid]) - before) / 1000 / len(seen["times_us"])
    times = sorted(seen["times_us"])
    return {
        "per_s": len(times) / seen["took_s"],
        "cpu_us": cpu_us,
        "core_share": cpu_us * len(times) / 1e6 / seen["took_s"],
        "p50_us": times[len(times) // 2],
        "p99_us": times[int(len(times) * 0.99)],
    }


def _session(process: GatewayProcess, token: str) -> str:
    info = {"name": "bench", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    command = ["curl", "-sS", "-D", "-", "-o", "/dev/null", "-H", f"Authorization: Bearer {token}", "-d", body]
    command += ["-H", "Content-Type: application/json", f"{process.url}/mcp"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("mcp-session-id: ")]
    return found.partition(": ")[2].strip()


def run(rounds: int, seconds: float) -> dict[str, Any]:
    """The whole benchmark; the report as JSON-ready values."""
    bench = Bench()
    seen: dict[str, list[dict[str, float]]] = {}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="tenure-bench-") as folder,
            gateway(Path(folder), bench.upstream_port) as (process, control),
        ):
            token = control.token("clerk")
            port = int(process.url.rpartition(":")[2])
            session = _session(process, token)
            for _ in range(rounds):
                for name, server, held in (
                    ("HTTP upstream, 2026-07-28", "web", ""),
                    ("HTTP upstream, session", "web", session),
                    ("stdio upstream, 2026-07-28", "pipe", ""),
                    ("stdio upstream, session", "pipe", session),
                ):
                    request = call(port, token, server, held)
                    seen.setdefault(name, []).append(one(bench, process, request, seconds))
    finally:
        bench.close()
    ways = {
        name: {key: round(statistics.median(turn[key] for turn in turns), 2) for key in turns[0]}
        for name, turns in seen.items()
    }
    for row in ways.values():
        row["per_s_by_cpu"] = round(1e6 / row["cpu_us"])
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "connections": LINES,
        "rounds": rounds,
        "goal": {"per_s_by_cpu": GOAL_PER_S, "holds": all(row["per_s_by_cpu"] >= GOAL_PER_S for row in ways.values())},
        "ways": ways,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.mcp", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--dry", action="store_true", help="print the report and write nothing")
    parser.add_argument("--over-http", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--over-pipes", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.over_http:
        uvloop.run(over_http())
        return
    if given.over_pipes:
        over_pipes()
        return
    report = run(given.rounds, given.seconds)
    for name, row in report["ways"].items():
        print(
            f"{name:28} CPU {row['cpu_us']:>6.1f} us each, so {row['per_s_by_cpu']:.0f} calls/s on one core; "
            f"{row['per_s']:.0f}/s with {row['core_share']:.0%} of it, "
            f"p50 {row['p50_us'] / 1000:.1f} ms, p99 {row['p99_us'] / 1000:.1f} ms"
        )
    if not given.dry:
        folder = ROOT / "bench" / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{report['date']}-mcp.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
