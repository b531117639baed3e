"""Sequence rules over MCP: what earlier tool calls refuse, hold and count."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from tenure.kernel.snapshot import BreakerFact, ServerFact
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import POLICY, Site

RULES = """
rules:
  - id: nothing-written-after-the-key
    reason: What was in the key's file is not written elsewhere.
    deny: {tool: files/write_file, where: {name: {like: "out*"}}}
    once: {tool: files/read_file, where: {name: key.txt}}
  - id: read-before-write
    hold: {tool: files/write_file, where: {name: {like: "note*"}}}
    per: name
    never: {tool: files/read_file}
  - id: three-writes
    deny: {tool: files/write_file, where: {name: {like: "log*"}}}
    count: {tool: files/write_file, where: {name: {like: "log*"}}}
    reached: 3
"""


@pytest.mark.req("R052")
@pytest.mark.asi("ASI02", "Tools that are harmless one by one are refused, held or counted by the calls before")
def test_tool_calls_are_refused_held_and_counted_by_those_before(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("key.txt", "note.txt", "plain.txt"):
        (folder / name).write_text("k")

    async def story(site: Site) -> None:
        async with site.client("clerk", "auto") as client:

            async def write(name: str) -> bool:
                result = await client.call_tool("files__write_file", {"name": name, "text": "t"})
                return not result.is_error

            # deny: the decision names the call that led to it
            await client.call_tool("files__read_file", {"name": "plain.txt"})
            assert await write("out.txt")
            await client.call_tool("files__read_file", {"name": "key.txt"})
            assert not await write("out.txt")
            events = await site.calls()
            assert events[-1].data["tenure.decision"]["policies"] == ["nothing-written-after-the-key"]
            assert events[-1].data["tenure.decision"]["because"] == [events[-2].id]
            # hold: a person may let it pass, or what lifts the rule
            assert not await write("note.txt")
            assert [one.resource for one in site.approvals] == ["files/write_file"]
            await client.call_tool("files__read_file", {"name": "note.txt"})
            assert await write("note.txt")
            # exactly three, however many come at once
            assert sum(await asyncio.gather(*(write(f"log{number}") for number in range(9)))) == 3
        assert len(list(folder.glob("log*"))) == 3

    async def whole() -> None:
        site = Site(tmp_path)
        site.policy(POLICY, RULES)
        await site.start()
        try:
            server, breaker = ServerFact("files", command=sim.files_command(folder)), BreakerFact(threshold=1000)
            site.agent("clerk", [server], "files/read_file files/write_file", breaker=breaker)
            await story(site)
        finally:
            await site.stop()

    uvloop.run(whole())
