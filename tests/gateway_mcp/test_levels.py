"""The four levels of oversight over MCP, with policies that say nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tenure.kernel.snapshot import ServerFact
from tenure.kernel.values import Autonomy, Status
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import Site

Story = Callable[[Site], Coroutine[Any, Any, None]]


def text_of(result: Any) -> str:
    return str(result.content[0].text)


def on_level(site: Site, level: Autonomy) -> None:
    tools = tuple(replace(tool, autonomy=level) for tool in site.fact("clerk").tools)
    site.change("clerk", tools=tools)


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    """Plays a story on a gateway with the agent ``clerk``, who may write files."""
    (tmp_path / "files").mkdir()

    def run(story: Story) -> None:
        async def whole() -> None:
            site = Site(tmp_path)
            await site.start()
            try:
                server = ServerFact("files", command=sim.files_command(tmp_path / "files"))
                site.agent("clerk", [server], "files/write_file")
                await site.known("clerk")
                await story(site)
            finally:
                await site.stop()

        uvloop.run(whole())

    return run


@pytest.mark.req("R060", "R078")
def test_each_level_is_held_over_mcp(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        def there(name: str) -> bool:
            return (tmp_path / "files" / name).exists()

        async with site.client("clerk") as client:

            async def write(name: str) -> Any:
                return await client.call_tool("files__write_file", {"name": name, "text": "x"})

            assert not (await write("one.txt")).is_error
            on_level(site, Autonomy.NOTIFY)
            assert not (await write("two.txt")).is_error
            on_level(site, Autonomy.APPROVE)
            held = await write("three.txt")
            assert held.is_error
            assert "Waiting for a person" in text_of(held)
            assert not there("three.txt")
            site.auto = "granted"
            site.decide(site.approvals[0].id, "granted")
            assert not (await write("three.txt")).is_error
            on_level(site, Autonomy.HUMAN_ONLY)
            refused = await write("four.txt")
            assert refused.is_error
            assert "Only a person may do this" in text_of(refused)
        assert [there(name) for name in ("one.txt", "two.txt", "three.txt", "four.txt")] == [True, True, True, False]
        told = {event.data["gen_ai.tool.call.arguments"]["name"]: event for event in await site.calls()}
        assert "notify" in told["two.txt"].data["tenure.decision"]["obligations"]
        assert told["two.txt"].status is Status.FLAGGED
        last = told["four.txt"]
        assert last.data["tenure.decision"]["policies"] == ["system/human-only"]
        assert (last.type, last.status, last.data["tenure.violation"]) == ("call.refused", Status.FLAGGED, False)

    play(story)


@pytest.mark.req("R061", "R067")
def test_an_agent_that_is_not_sure_asks_over_mcp(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.change("clerk", tools=tuple(replace(tool, ask_below=70) for tool in site.fact("clerk").tools))

        async def write(stated: Any, **headers: str) -> str:
            params = {"name": "files__write_file", "arguments": {"name": "a.txt", "text": "x"}}
            meta = {} if stated is None else {"_meta": {"tenure/confidence": stated}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params | meta}
            answer = await site.post(body, prefer="wait=0", **headers)
            return str(answer.json()["result"]["content"][0]["text"])

        assert "The agent is 40 % sure of this" in await write(0.4)
        assert not (tmp_path / "files" / "a.txt").exists()
        assert "The agent is 30 % sure of this" in await write(0.9, x_tenure_confidence="0.3")
        await site.calls()
        assert len(site.approvals) == 1, "how sure it is does not make it another call"
        assert "is 0 % sure" in await write("very")
        assert "Waiting" not in await write(0.9)
        assert "Waiting" not in await write(None)
        told = [event.data.get("tenure.confidence") for event in await site.calls()]
        assert told == [40, 30, 0, 90, None]

    play(story)
