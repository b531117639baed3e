"""What the gateway adds to a call, and what it costs: ``python bench/gateway.py [--json]``.

Every pair of requests goes once directly to a model provider and once through a gateway with everything on (token,
JSON, policy, capture, spool with fsync, shipping), over kept-alive connections from the same load generator, in
alternating order, so that whatever else the machine does hits both alike. CPU is the gateway process's own, from
/proc. Prints a table and writes bench/results/<date>-gateway.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.sim.control import ControlSim  # noqa: E402 (after the path that finds it)
from tests.sim.gateway import GatewayProcess, agent_fact, default_policies  # noqa: E402 (as above)

MODEL = "bench"
TEXT = "Please read this letter and say in one sentence what the sender wants. " * 12
BODY = json.dumps(
    {
        "model": MODEL,
        "messages": [{"role": "system", "content": "You answer letters."}, {"role": "user", "content": TEXT}],
    }
).encode()
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "A refund. " * 20}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 210, "completion_tokens": 40, "total_tokens": 250}
ANSWER = json.dumps(
    {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [CHOICE], "usage": USAGE}
).encode()
CHUNKS = 20


class Upstream(asyncio.Protocol):
    """The least a provider can be: it answers a request that fits into one read, at once."""

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
        if b'"stream": true' in body:
            part = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
            frames = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for _ in range(CHUNKS))
            end = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self._transport.write(head + frames + end)
        else:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
                + ANSWER
            )


async def provide() -> None:
    """The provider's process."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(f"ready http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


class Line(asyncio.Protocol):
    """One kept-alive client connection."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._data = b""
        self._done: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Looks for the end of the answer."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or self._done is None:
            return
        low = head.lower()
        at = low.find(b"content-length: ")
        if at >= 0:
            if len(body) < int(low[at + 16 :].split(b"\r\n")[0]):
                return
        elif not body.endswith(b"0\r\n\r\n"):
            return
        self._data = b""
        self._done.set_result(head)

    async def ask(self, request: bytes) -> float:
        """Seconds from the first byte out to the last byte in."""
        self._done = asyncio.get_running_loop().create_future()
        begun = time.perf_counter()
        self._transport.write(request)
        head = await self._done
        took = time.perf_counter() - begun
        assert head.startswith(b"HTTP/1.1 200"), head
        return took

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()


def request_to(url: str, token: str, body: bytes) -> bytes:
    """The bytes that an agent's client sends."""
    host = url.split("/")[2]
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json\r\nUser-Agent: bench\r\n"
        f"Accept-Encoding: gzip, deflate\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used, from /proc."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def connect(url: str) -> Line:
    """A connection to the host of ``url``."""
    host, port = url.split("/")[2].split(":")
    _, line = await asyncio.get_running_loop().create_connection(Line, host, int(port))
    return line


async def measure(  # noqa: PLR0917 (one case of the benchmark, called from one place)
    direct: str, gateway: GatewayProcess, token: str, body: bytes, lines: int, seconds: float
) -> dict[str, Any]:
    """Alternates between the two ways on ``lines`` connections each for about ``seconds``."""
    ways = {"direct": (direct, "provider-secret"), "tenure": (gateway.url, token)}
    open_lines = {way: [await connect(url) for _ in range(lines)] for way, (url, _) in ways.items()}
    requests = {way: request_to(url, key, body) for way, (url, key) in ways.items()}
    times: dict[str, list[float]] = {"direct": [], "tenure": []}
    spent = {"direct": 0.0, "tenure": 0.0}
    for way in ways:
        for _ in range(100):
            await open_lines[way][0].ask(requests[way])
    used, begun, turn = cpu_s(gateway.child.pid), time.perf_counter(), 0
    block = 1 if lines == 1 else 20

    async def drive(line: Line, way: str) -> None:
        for _ in range(block):
            times[way].append(await line.ask(requests[way]))

    while time.perf_counter() - begun < seconds:
        turn += 1
        for way in ("direct", "tenure") if turn % 2 else ("tenure", "direct"):
            start = time.perf_counter()
            await asyncio.gather(*(drive(line, way) for line in open_lines[way]))
            spent[way] += time.perf_counter() - start
    await asyncio.sleep(0.3)  # what is recorded behind the answers counts as well
    used = cpu_s(gateway.child.pid) - used
    for line in (line for some in open_lines.values() for line in some):
        line.close()
    return summary(times, spent, used, lines)


def summary(times: dict[str, list[float]], spent: dict[str, float], used: float, lines: int) -> dict[str, Any]:
    """Microseconds and rates."""
    out: dict[str, Any] = {"connections": lines, "requests_each_way": len(times["tenure"])}
    for way, values in times.items():
        ranked = sorted(values)
        out[way] = {
            "p50_us": round(statistics.median(ranked) * 1e6, 1),
            "p99_us": round(ranked[int(len(ranked) * 0.99)] * 1e6, 1),
            "per_s": round(len(values) / spent[way]),
        }
    out["added_p50_us"] = round(out["tenure"]["p50_us"] - out["direct"]["p50_us"], 1)
    out["added_p99_us"] = round(out["tenure"]["p99_us"] - out["direct"]["p99_us"], 1)
    out["gateway_cpu_us_per_request"] = round(used / len(times["tenure"]) * 1e6, 1)
    return out


def machine() -> dict[str, Any]:
    """The machine by cores and model, nothing that names it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {"cores": len(os.sched_getaffinity(0)), "model": names[0] if names else "unknown"}


def run(seconds: float) -> dict[str, Any]:
    """The whole benchmark."""
    streaming = json.dumps({**json.loads(BODY), "stream": True}).encode()
    cases = [("one at a time", BODY, 1), ("16 at once", BODY, 16), ("streaming, one at a time", streaming, 1)]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tenure-bench-") as name:
        folder = Path(name)
        command = [sys.executable, str(Path(__file__).resolve()), "--provide"]
        provider = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert provider.stdout is not None
        url = provider.stdout.readline().split()[-1]
        try:
            with ControlSim(folder, default_policies()) as control:
                control.agent(agent_fact(url, (MODEL,)))
                control.discarding = True
                with GatewayProcess(folder, control.port) as gateway:
                    while gateway.health()[1]["snapshot"] != control.snapshot.version:
                        time.sleep(0.01)
                    token = control.token("clerk")
                    for label, body, lines in cases:
                        results[label] = uvloop.run(measure(url, gateway, token, body, lines, seconds / len(cases)))
                    events = gateway.health()[1]["events"]
                    assert events["dropped"] == 0, events
        finally:
            provider.terminate()
            provider.wait(10)
            provider.stdout.close()
    return {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "results": results}


def show(report: dict[str, Any]) -> None:
    """The table."""
    print(f"{report['machine']['cores']} cores, {report['machine']['model']}; microseconds")
    print(f"{'':26}{'direct p50':>11}{'p99':>8}{'tenure p50':>12}{'p99':>8}{'added p50':>11}{'p99':>8}{'CPU/req':>9}")
    for label, row in report["results"].items():
        direct, tenure = row["direct"], row["tenure"]
        print(
            f"{label:26}{direct['p50_us']:>11}{direct['p99_us']:>8}{tenure['p50_us']:>12}{tenure['p99_us']:>8}"
            f"{row['added_p50_us']:>11}{row['added_p99_us']:>8}{row['gateway_cpu_us_per_request']:>9}"
            f"  {row['requests_each_way']} requests each way, {tenure['per_s']}/s through Tenure"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Latency that the gateway adds, and CPU per request.")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--seconds", type=float, default=24.0, help="how long to measure, all cases together")
    parser.add_argument("--provide", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.provide:
        uvloop.run(provide())
        return
    report = run(given.seconds)
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{report['date']}-gateway.json").write_text(json.dumps(report, indent=2) + "\n")
    if given.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


if __name__ == "__main__":
    main()
