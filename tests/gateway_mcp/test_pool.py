"""Processes of MCP servers: shared, bounded, and given to whoever needs one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import uvloop

from tenure.gateway.mcp.connection import Limits
from tenure.kernel.snapshot import ServerFact
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import Site
from tests.sim.wild_mcp_server import wild_command

Story = Callable[[Site], Coroutine[Any, Any, None]]


def _play(tmp_path: Path, story: Story, limits: Limits) -> None:
    async def whole() -> None:
        site = Site(tmp_path, limits)
        await site.start()
        try:
            async with asyncio.timeout(100):
                await story(site)
        finally:
            await site.stop()

    uvloop.run(whole())


def _processes(command: tuple[str, ...]) -> int:
    """Children of this process that run ``command``: without the leash, whose arguments it is."""
    count = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            count += process.cmdline() == list(command)
    return count


async def _call(site: Site, agent: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    reply = await site.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, agent)
    found: dict[str, Any] = reply.json()["result"]
    return found


@pytest.mark.req("R047")
def test_a_thousand_agents_share_one_process(tmp_path: Path) -> None:
    command = wild_command("well")

    async def story(site: Site) -> None:
        site.agents({f"a{number}": [ServerFact("wild", command=command)] for number in range(1000)}, "wild/act")
        async with httpx2.AsyncClient(timeout=30) as site.http:
            for start in range(0, 1000, 50):
                some = (_call(site, f"a{n}", "wild__act", {"n": n}) for n in range(start, start + 50))
                assert not any("isError" in result for result in await asyncio.gather(*some))
        assert _processes(command) == 1

    _play(tmp_path, story, Limits())


def test_idle_processes_make_room_the_least_recently_used_first(tmp_path: Path) -> None:
    command = sim.files_command(tmp_path)

    def server(number: int) -> ServerFact:
        return ServerFact("files", command=command, env={"NUMBER": str(number)})

    async def pid(site: Site, agent: str) -> int:
        return int((await _call(site, agent, "files__whoami", {}))["structuredContent"]["pid"])

    async def story(site: Site) -> None:
        site.agents({f"a{number}": [server(number)] for number in range(3)}, "files/whoami files/slow")
        first, second = await pid(site, "a0"), await pid(site, "a1")
        assert await pid(site, "a0") == first
        await pid(site, "a2")
        assert _processes(command) == 2
        assert await pid(site, "a0") == first  # the other one had to go
        assert not psutil.pid_exists(second)
        assert await pid(site, "a1") != second

    _play(tmp_path, story, Limits(processes=2))


def test_when_all_are_at_work_one_is_told_so(tmp_path: Path) -> None:
    command = sim.files_command(tmp_path)

    async def story(site: Site) -> None:
        servers = {f"a{n}": [ServerFact("files", command=command, env={"NUMBER": str(n)})] for n in range(2)}
        site.agents(servers, "files/whoami files/slow")
        await _call(site, "a0", "files__whoami", {})
        slow = asyncio.create_task(_call(site, "a0", "files__slow", {"seconds": 60}))
        await asyncio.sleep(0.2)
        told = await _call(site, "a1", "files__whoami", {})
        assert told["_meta"]["tenure/error"]["code"] == "upstream_busy"
        assert "All 1 processes" in told["content"][0]["text"]
        waits = asyncio.create_task(_call(site, "a1", "files__whoami", {}))
        await asyncio.sleep(0.1)
        slow.cancel()  # the client hangs up, the call is cancelled, the process is idle
        assert "isError" not in await waits or not (await waits)["isError"]

    _play(tmp_path, story, Limits(processes=1, backoff_wait_s=2.0))


@pytest.mark.parametrize("shared", [True, False])
def test_a_server_that_is_not_shared_is_one_agents_own(tmp_path: Path, shared: bool) -> None:
    command = sim.files_command(tmp_path)

    async def story(site: Site) -> None:
        fact = replace(ServerFact("files", command=command), shared=shared)
        site.agents({"a": [fact], "b": [fact]}, "files/whoami")
        pids = {
            (await _call(site, agent, "files__whoami", {}))["structuredContent"]["pid"] for agent in ("a", "b", "a")
        }
        assert len(pids) == (1 if shared else 2)

    _play(tmp_path, story, Limits())
