"""Drills of stopping: three gateway processes, agents that never stop calling a tool, one command."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from demo.processes import until
from tenure.client import Client
from tests.sim.gateway import GatewayProcess
from tests.sim.installation import Installation
from tests.sim.manifests import manifest
from tests.sim.tool_server import ToolServer, tool

WORKERS = 3
"""For each gateway, each with one call after the other."""
GATEWAYS = 3
_QUIET_S = 0.03  # after every gateway has refused: a call that was let through before would have arrived by then
_LOOK_S = 0.001


@dataclass(frozen=True, slots=True)
class Outcome:
    """Milliseconds from the acknowledged command to the last call that reached the tool (negative: it came before);
    calls that reached it later than a second; calls a second before the command; calls that were refused after it; for
    each gateway, milliseconds until it first refused."""

    last_admitted_ms: float
    later_than_1s: int
    calls_per_s: float
    refused: int
    first_refused_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop under load, in milliseconds from when the command was sent: until it was acknowledged, until the last
    call reached the tool (0: none did), until every gateway had refused; and how many calls still reached it."""

    acknowledged_ms: float
    last_admitted_ms: float
    all_refused_ms: float
    late: int


class Load:
    """Agents at several gateways that call one tool, each ``pause_s`` after its last answer, until ``stop``."""

    def __init__(self, urls: list[str], token: str, name: str, pause_s: float) -> None:
        self._urls, self._token, self._name, self._pause = urls, token, name, pause_s
        self.answers: list[tuple[int, float, bool]] = []  # (gateway, when, whether it was allowed)
        self.last: dict[tuple[int, bool], float] = {}  # (gateway, whether it was allowed) -> the last such answer
        self._going = True
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when no call is on its way any more."""
        self._going = False
        self._thread.join(30)

    async def _run(self) -> None:
        await asyncio.gather(*(self._work(number % len(self._urls)) for number in range(WORKERS * len(self._urls))))

    async def _work(self, gateway: int) -> None:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": self._name, "arguments": {}}}
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/json"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            while self._going:
                answer = (await http.post(f"{self._urls[gateway]}/mcp", json=body)).json()
                allowed = "result" in answer and not answer["result"].get("isError")
                now = time.monotonic()
                self.answers.append((gateway, now, allowed))
                self.last[gateway, allowed] = now
                await asyncio.sleep(self._pause)


@dataclass(frozen=True)
class Fleet:
    """An installation whose agent ``clerk`` calls ``shop/refund`` at three gateways all the time."""

    tenure: Installation
    server: ToolServer
    load: Load

    def rate(self, seconds: float) -> float:
        """Calls a second that reach the tool, watched for so long."""
        begun, count = time.monotonic(), len(self.server.calls)
        time.sleep(seconds)
        return (len(self.server.calls) - count) / (time.monotonic() - begun)

    def stop(self, client: Client, scope: str, name: str) -> Stop:
        """Stops, waits until every gateway refuses, and lets go on; returns when every gateway lets calls pass."""
        order = {"scope": scope, "name": name, "reason": "the drill"}
        self.server.calls.clear()
        begun = time.monotonic()
        client.post("/v1/breakers/stop", dict[str, Any], order)
        acknowledged = time.monotonic()
        self._all(begun, False)
        refused = time.monotonic()
        time.sleep(_QUIET_S)
        late = [when for _, when in self.server.calls if when > begun]
        client.post("/v1/breakers/reset", dict[str, Any], order)
        self._all(time.monotonic(), True)
        last = max(late, default=begun)
        times = [round((when - begun) * 1000, 2) for when in (acknowledged, last, refused)]
        return Stop(times[0], times[1], times[2], len(late))

    def _all(self, after: float, allowed: bool) -> None:
        """Returns when every gateway has answered so after that moment."""
        end = time.monotonic() + 60
        while any(self.load.last.get((gateway, allowed), 0.0) <= after for gateway in range(GATEWAYS)):
            assert time.monotonic() < end, f"a gateway does not {'let pass' if allowed else 'refuse'}"
            time.sleep(_LOOK_S)


@contextmanager
def fleet(folder: Path, pause_s: float = 0.0) -> Iterator[Fleet]:
    """A running Fleet, at work at every gateway."""
    with ExitStack() as stack:
        server = stack.enter_context(ToolServer([tool("refund"), tool("look")]))
        tenure = stack.enter_context(Installation(folder / "first"))
        grants = [{"name": "shop/refund"}, {"name": "shop/look"}]
        tenure.employ(manifest("clerk", "http://127.0.0.1:1/v1", servers={"shop": {"url": server.url}}, tools=grants))
        urls = [tenure.gateway]
        for number in range(1, GATEWAYS):
            other = folder / f"gateway-{number}"
            other.mkdir()
            shutil.copy(folder / "first" / "gateway.token", other / "gateway.token")
            urls.append(stack.enter_context(GatewayProcess(other, tenure.control_port)).url)
        load = Load(urls, tenure.instance("clerk")["token"], "shop__refund", pause_s)
        stack.callback(load.stop)
        until(lambda: {gateway for gateway, allowed in load.last if allowed} == set(range(GATEWAYS)), "all at work")
        yield Fleet(tenure, server, load)


def drill(folder: Path, *, before_s: float, after_s: float) -> Outcome:
    """Switches a tool off for all agents while three gateways are busy with it, and watches for ``after_s`` seconds."""
    with fleet(folder) as busy, busy.tenure.client() as client:
        rate = busy.rate(before_s)
        order = {"resource": "shop/refund", "agent": "", "reason": "the drill"}
        client.post("/v1/tools/disable", dict[str, Any], order)
        acknowledged = time.monotonic()
        time.sleep(after_s)
        busy.load.stop()
        events = client.get("/v1/events", dict[str, Any], type="call.refused", limit=1)["events"]
        assert "system/tool-disabled" in json.dumps(events), events
        refusals = [(gateway, when) for gateway, when, allowed in busy.load.answers if not allowed]
        first = [min(when for one, when in refusals if one == gateway) for gateway in range(GATEWAYS)]
        arrived = [when for _, when in busy.server.calls]
        return Outcome(
            last_admitted_ms=round((max(arrived) - acknowledged) * 1000, 1),
            later_than_1s=sum(when > acknowledged + 1.0 for when in arrived),
            calls_per_s=round(rate),
            refused=len(refusals),
            first_refused_ms=tuple(round((when - acknowledged) * 1000, 1) for when in first),
        )
