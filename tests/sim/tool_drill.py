"""The drill of switching a tool off: three gateway processes, agents that never stop calling, one command."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from demo.processes import until
from tests.sim.gateway import GatewayProcess
from tests.sim.installation import Installation
from tests.sim.manifests import manifest
from tests.sim.tool_server import ToolServer, tool

WORKERS = 3
"""For each gateway, each with one call after the other."""


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


class Load:
    """Agents at several gateways that call one tool without a pause, until ``stop``."""

    def __init__(self, urls: list[str], token: str, name: str) -> None:
        self._urls, self._token, self._name = urls, token, name
        self.answers: list[tuple[int, float, bool]] = []  # (gateway, when, whether it was allowed)
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
                self.answers.append((gateway, time.monotonic(), allowed))


def drill(folder: Path, *, before_s: float, after_s: float) -> Outcome:
    """Switches a tool off for all agents while three gateways are busy with it, and watches for ``after_s`` seconds."""
    with ExitStack() as stack:
        server = stack.enter_context(ToolServer([tool("refund"), tool("look")]))
        tenure = stack.enter_context(Installation(folder / "first"))
        grants = [{"name": "shop/refund"}, {"name": "shop/look"}]
        tenure.employ(manifest("clerk", "http://127.0.0.1:1/v1", servers={"shop": {"url": server.url}}, tools=grants))
        urls = [tenure.gateway]
        for name in ("second", "third"):
            (folder / name).mkdir()
            shutil.copy(folder / "first" / "gateway.token", folder / name / "gateway.token")
            urls.append(stack.enter_context(GatewayProcess(folder / name, tenure.control_port)).url)
        load = Load(urls, tenure.instance("clerk")["token"], "shop__refund")
        stack.callback(load.stop)
        until(lambda: {gateway for gateway, _, allowed in load.answers if allowed} == {0, 1, 2}, "all three at work")
        begun, count = time.monotonic(), len(server.calls)
        time.sleep(before_s)
        rate = (len(server.calls) - count) / (time.monotonic() - begun)
        with tenure.client() as client:
            order = {"resource": "shop/refund", "agent": "", "reason": "the drill"}
            client.post("/v1/tools/disable", dict[str, Any], order)
            acknowledged = time.monotonic()
            time.sleep(after_s)
            load.stop()
            events = client.get("/v1/events", dict[str, Any], type="call.refused", limit=1)["events"]
        assert "system/tool-disabled" in json.dumps(events), events
        refusals = [(gateway, when) for gateway, when, allowed in load.answers if not allowed]
        first = [min(when for one, when in refusals if one == gateway) for gateway in range(len(urls))]
        return Outcome(
            last_admitted_ms=round((max(when for _, when in server.calls) - acknowledged) * 1000, 1),
            later_than_1s=sum(when > acknowledged + 1.0 for _, when in server.calls),
            calls_per_s=round(rate),
            refused=len(refusals),
            first_refused_ms=tuple(round((when - acknowledged) * 1000, 1) for when in first),
        )
