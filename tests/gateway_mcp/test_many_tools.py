"""A server with thousands of tools: an agent sees what it was granted, quickly, and no name of anything else."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest
import uvloop

from tenure.gateway.mcp.tools import Tool, read_tool
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import ServerFact
from tests.sim.mcp_gateway import Site
from tests.sim.tool_server import ToolServer, tool

MANY = [tool(f"hidden_{number}", f"Does {number} of many things.") for number in range(5000)]
GRANTED = " ".join(f"crm/hidden_{number}" for number in (7, 2500, 4999))


@pytest.mark.req("R209")
def test_of_five_thousand_tools_an_agent_sees_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(definition: JsonObject) -> Tool:
        read.append(str(definition["name"]))
        return read_tool(definition)

    monkeypatch.setattr("tenure.gateway.mcp.catalogue.read_tool", counted)

    async def story(site: Site) -> None:
        await site.known("clerk")
        begun = time.perf_counter()
        listed = await site.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        print(f"tools/list took {(time.perf_counter() - begun) * 1000:.1f} ms")
        names = {item["name"] for item in listed.json()["result"]["tools"]}
        assert names == {"crm__hidden_7", "crm__hidden_2500", "crm__hidden_4999"}
        assert sorted(set(read)) == ["hidden_2500", "hidden_4999", "hidden_7"], "the others cost nothing"
        for name in ("crm__hidden_8", "crm__hidden_", "hidden_7", "x" * 5000):
            params = {"name": name, "arguments": {}}
            said = (await site.post({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})).text
            leaked = set(re.findall(r"hidden_\d+", said))
            assert leaked - {name.removeprefix("crm__")} <= {"hidden_7", "hidden_2500", "hidden_4999"}, said
            assert len(said) < 2000
        seen = {one.data["tool"] for one in site.events if one.type == "tool.seen"}
        assert seen == {"hidden_7", "hidden_2500", "hidden_4999"}, "nor is anybody told of what was not granted"

    async def whole(server: ToolServer) -> None:
        site = Site(tmp_path)
        await site.start()
        try:
            site.agent("clerk", [ServerFact("crm", url=server.url)], GRANTED)
            async with asyncio.timeout(30):
                await story(site)
        finally:
            await site.stop()

    with ToolServer(MANY) as server:
        uvloop.run(whole(server))
