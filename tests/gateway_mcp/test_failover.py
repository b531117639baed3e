"""A session outlives the gateway that held it: two gateways, one control plane, a client that knows one address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated, SubscriptionLost
from mcp.shared.exceptions import MCPError

from tenure.kernel.snapshot import AgentFact, ServerFact, ToolFact
from tenure.kernel.values import LifecycleState
from tests.sim.control import ControlSim
from tests.sim.everything_mcp_server import everything_server
from tests.sim.forwarder import Forwarder
from tests.sim.gateway import GatewayProcess, default_policies
from tests.sim.ports import free_port

WATCHED = "test://watched-resource"
TOOLS = ("touch_watched", "tool_with_logging", "simple_text", "elicitation")


@dataclass
class _Pair:
    """Two gateways behind one address."""

    control: ControlSim
    first: GatewayProcess
    second: GatewayProcess
    front: Forwarder

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front.port}/mcp"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.control.token('clerk')}"}

    def lose_the_first(self) -> None:
        """New connections go to the second gateway, and the first one is killed."""
        self.front.to(int(self.second.url.rpartition(":")[2]))
        self.first.kill()


@pytest.fixture(scope="module", params=["new", "old"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The everything-server: one that speaks 2026-07-28, and one that knows sessions only."""
    with everything_server(free_port(), old=request.param == "old") as address:
        yield address


@pytest.fixture
def pair(tmp_path: Path, url: str) -> Iterator[_Pair]:
    """Both gateways know the agent ``clerk``."""
    with ControlSim(tmp_path / "one", default_policies()) as control:
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "gateway.token").write_text((tmp_path / "one" / "gateway.token").read_text())
        server = ServerFact("all", url=url, resources=(WATCHED,), asks=("elicitation",))
        tools = tuple(ToolFact("all", f"test_{name}") for name in TOOLS)
        state = LifecycleState.PRODUCTION
        control.agent(
            AgentFact("default", "clerk", state, "sha256:r1", 1, "a@example.com", servers=(server,), tools=tools)
        )
        with (
            GatewayProcess(tmp_path / "one", control.port) as first,
            GatewayProcess(tmp_path / "two", control.port) as second,
            Forwarder(int(first.url.rpartition(":")[2])) as front,
        ):
            for gateway in (first, second):
                _until_ready(gateway)
            yield _Pair(control, first, second, front)


def _until_ready(gateway: GatewayProcess) -> None:
    for _ in range(1000):
        if gateway.health()[0] == 200:
            return
    raise AssertionError("no facts")


@asynccontextmanager
async def _client(pair: _Pair, mode: str, **callbacks: Any) -> AsyncIterator[Client]:
    async with (
        asyncio.timeout(40),
        httpx2.AsyncClient(headers=pair.headers, timeout=30) as http,
        Client(streamable_http_client(pair.url, http_client=http), mode=mode, **callbacks) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore:resources/", "ignore:The logging capability is deprecated")
@pytest.mark.req("R045", "R184")
def test_a_session_goes_on_at_another_gateway(pair: _Pair) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    logged: list[Any] = []

    async def hear(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            told.put_nowait(str(message.params.uri))

    async def log(params: Any) -> None:
        logged.append(params.data)

    async def story() -> None:
        async with _client(pair, "legacy", message_handler=hear, logging_callback=log) as client:
            await client.session.set_logging_level("error")
            await client.session.subscribe_resource(WATCHED)
            await client.call_tool("all__test_touch_watched", {})
            assert await told.get() == WATCHED
            pair.control.wait(_with("resources/subscribe", 1))
            pair.lose_the_first()
            said: Any = await client.call_tool("all__test_simple_text", {})
            assert said.content[0].text.startswith("This is a simple text")
            assert await told.get() == WATCHED  # it may have changed while nobody could tell
            await client.call_tool("all__test_touch_watched", {})
            assert await told.get() == WATCHED
            await client.call_tool("all__test_tool_with_logging", {})
            assert logged == []  # the level that was set at the first gateway

    asyncio.run(story())
    decided = pair.control.wait(_with("resources/subscribe", 2))
    assert [event["type"] for event in decided] == ["call.completed"] * 2


def _with(method: str, count: int) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """The Events of calls of ``method``, once there are ``count``."""

    def found(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        calls = [event for event in events if event["data"].get("mcp.method.name") == method]
        return calls if len(calls) >= count else []

    return found


@pytest.mark.req("R184")
def test_a_client_without_sessions_listens_again_at_another_gateway(pair: _Pair) -> None:
    async def story() -> None:
        async with _client(pair, "auto") as client:
            async with client.listen(resource_subscriptions=[WATCHED]) as stream:
                await client.call_tool("all__test_touch_watched", {})
                assert await anext(stream) == ResourceUpdated(WATCHED)
                pair.lose_the_first()
                with pytest.raises(SubscriptionLost):
                    await anext(stream)
            async with client.listen(resource_subscriptions=[WATCHED]) as stream:
                await client.call_tool("all__test_touch_watched", {})
                assert await anext(stream) == ResourceUpdated(WATCHED)

    asyncio.run(story())


def test_a_call_that_was_on_its_way_fails_and_the_next_one_works(pair: _Pair) -> None:
    async def ask(context: Any, params: Any) -> Any:  # noqa: ARG001 (the SDK names them)
        await asyncio.to_thread(pair.lose_the_first)
        return msgspec.UNSET  # never sent: the call is gone

    async def story() -> None:
        async with _client(pair, "legacy", elicitation_callback=ask) as client:
            with pytest.raises(MCPError):
                await client.call_tool("all__test_elicitation", {"message": "Which colour?"})
            said: Any = await client.call_tool("all__test_simple_text", {})
            assert said.content[0].text.startswith("This is a simple text")

    asyncio.run(story())


def test_an_answer_to_what_another_gateway_asked_is_refused_in_words(pair: _Pair) -> None:
    async def story() -> None:
        headers = {
            **pair.headers,
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        info = {"name": "t", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": info}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            opened = await http.post(pair.url, content=_rpc("initialize", params))
            session = {"mcp-session-id": opened.headers["mcp-session-id"]}
            call = _rpc("tools/call", {"name": "all__test_elicitation", "arguments": {"message": "?"}})
            async with http.stream("POST", pair.url, headers=session, content=call) as reply:
                async for line in reply.aiter_lines():
                    if line.startswith("data: ") and "elicitation/create" in line:
                        asked = msgspec.json.decode(line[6:])["id"]
                        break
                pair.lose_the_first()
            answer = {"jsonrpc": "2.0", "id": asked, "result": {"action": "cancel"}}
            async with httpx2.AsyncClient(headers=headers, timeout=30) as anew:
                lost = await anew.post(pair.url, headers=session, content=msgspec.json.encode(answer))
            assert lost.status_code == 400
            assert "Another gateway process asked this" in lost.json()["error"]["message"]

    asyncio.run(story())


def _rpc(method: str, params: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
