"""A gateway process of its own, agents of two kinds, and what is left when it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tenure.kernel.snapshot import AgentFact, ServerFact, ToolFact
from tenure.kernel.values import LifecycleState
from tests.sim import mcp_servers as sim
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, default_policies

pydantic_ai = pytest.importorskip("pydantic_ai", reason="the frameworks of the demo are not installed")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlSim]:
    """A control plane that knows the agent ``reader``, who may read files."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("hello")
    with ControlSim(tmp_path / "data", default_policies()) as control:
        server = ServerFact("files", command=sim.files_command(tmp_path / "files"))
        control.agent(
            AgentFact(
                "default",
                "reader",
                LifecycleState.PRODUCTION,
                "sha256:r1",
                1,
                "ann@example.com",
                servers=(server,),
                tools=(ToolFact("files", "read_file"), ToolFact("files", "whoami")),
            )
        )
        yield control


async def _ask(gateway: GatewayProcess, token: str, tool: str, arguments: dict[str, Any]) -> Any:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}))
        transport = streamable_http_client(f"{gateway.url}/mcp", http_client=http)
        client = await stack.enter_async_context(Client(transport, mode="legacy"))
        return await client.call_tool(tool, arguments)


def _wait_ready(gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + 60
    while gateway.health()[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.req("R045", "R184")
def test_a_framework_that_knows_nothing_of_tenure_is_governed(control: ControlSim, tmp_path: Path) -> None:
    from pydantic_ai import Agent  # noqa: PLC0415 (after the skip)
    from pydantic_ai.mcp import MCPToolset  # noqa: PLC0415 (after the skip)
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart  # noqa: PLC0415 (as above)
    from pydantic_ai.models.function import AgentInfo, FunctionModel  # noqa: PLC0415 (as above)

    offered: list[str] = []

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        offered[:] = [tool.name for tool in info.function_tools]
        last = messages[-1].parts[-1]
        if last.part_kind == "tool-return":
            return ModelResponse(parts=[TextPart(f"it says {last.model_response_str()}")])
        return ModelResponse(parts=[ToolCallPart("files__read_file", {"name": "a.txt"})])

    with GatewayProcess(tmp_path / "data", control.port) as gateway:
        _wait_ready(gateway)
        headers = {"Authorization": f"Bearer {control.token('reader')}"}
        agent = Agent(FunctionModel(model), toolsets=[MCPToolset(f"{gateway.url}/mcp", headers=headers)])
        assert "hello" in asyncio.run(agent.run("What is in a.txt?")).output
        assert sorted(offered) == ["files__read_file", "files__whoami"]
        events = control.wait(lambda events: [event for event in events if event["type"] == "call.completed"])
        assert events[0]["data"]["tenure.resource"] == "files/read_file"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_killed_gateway_leaves_no_server_behind_and_the_next_one_goes_on(control: ControlSim, tmp_path: Path) -> None:
    token = control.token("reader")
    # without the sandbox, in which a server has a process id of its own
    gateway = GatewayProcess(tmp_path / "data", control.port, sandbox="off")
    _wait_ready(gateway)
    found = asyncio.run(_ask(gateway, token, "files__whoami", {}))
    child = psutil.Process(found.structured_content["pid"])
    os.kill(child.pid, signal.SIGSTOP)  # it cannot notice by itself that its input has ended
    gateway.kill()
    deadline = time.monotonic() + 60
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the server outlived the gateway"
        time.sleep(0.02)
    with GatewayProcess(tmp_path / "data", control.port, sandbox="off") as gateway:
        _wait_ready(gateway)
        again = asyncio.run(_ask(gateway, token, "files__whoami", {}))
        child = psutil.Process(again.structured_content["pid"])
        assert gateway.stop() == 0
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
