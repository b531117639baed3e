"""Subscriptions in both lives of the protocol: what is told, to whom, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvloop
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import PromptsListChanged, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from tenure.gateway.mcp.connection import Limits
from tenure.gateway.mcp.session import Resume, read_resume_id, resume_id
from tenure.kernel.snapshot import BreakerFact, ServerFact
from tenure.kernel.values import LifecycleState
from tests.sim.everything_mcp_server import everything_server
from tests.sim.mcp_gateway import Site, token
from tests.sim.ports import free_port
from tests.sim.wild_mcp_server import wild_command

WATCHED = "test://watched-resource"
TOOLS = "all/test_touch_watched all/test_trigger_tool_change all/test_trigger_prompt_change"
Story = Callable[[Site], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module", params=["new", "old"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The everything-server: one that speaks 2026-07-28, and one that knows sessions only."""
    with everything_server(free_port(), old=request.param == "old") as address:
        yield address


def _play(tmp_path: Path, story: Story, server: ServerFact, tools: str, limits: Limits | None = None) -> None:
    async def whole() -> None:
        site = Site(tmp_path, limits)
        await site.start()
        try:
            site.agent("clerk", [server], tools)
            async with asyncio.timeout(30):
                await site.known("clerk")
                await story(site)
        finally:
            await site.stop()

    uvloop.run(whole())


@pytest.fixture
def play(tmp_path: Path, url: str) -> Callable[..., None]:
    """Plays a story on a gateway whose agent ``clerk`` may watch one resource of the everything-server."""
    granted = ServerFact("all", url=url, resources=(WATCHED,), prompts=("test_simple_prompt",))
    return lambda story: _play(tmp_path, story, granted, TOOLS)


@asynccontextmanager
async def _told(site: Site, agent: str = "clerk") -> AsyncIterator[tuple[McpClient, asyncio.Queue[str]]]:
    """A client of 2025-11-25, and what it is told: a method, or the URI that changed."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        if hasattr(message, "method"):
            told.put_nowait(str(getattr(message.params, "uri", None) or message.method))

    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token(agent)}"}, timeout=30) as http,
        McpClient(streamable_http_client(site.url, http_client=http), mode="legacy", message_handler=hear) as client,
    ):
        yield client, told


async def _until(told: asyncio.Queue[str], wanted: str) -> None:
    while await told.get() != wanted:
        pass


@pytest.mark.filterwarnings("ignore:resources/")
@pytest.mark.req("R045", "R054", "R184")
def test_a_session_is_told_of_what_it_subscribed_to(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        async with _told(site) as (client, told):
            assert client.server_capabilities is not None
            assert client.server_capabilities.resources is not None
            assert client.server_capabilities.resources.subscribe
            await client.session.subscribe_resource(WATCHED)
            await client.call_tool("all__test_touch_watched", {})
            await _until(told, WATCHED)
            await client.session.unsubscribe_resource(WATCHED)
            with pytest.raises(MCPError) as refused:
                await client.session.subscribe_resource("test://static-text")
            assert refused.value.error.code == -32602
            await client.call_tool("all__test_touch_watched", {})
            await client.call_tool("all__test_trigger_prompt_change", {})
        taken, touched, unknown, *_ = await site.calls()
        assert (taken.type, taken.data["tenure.resource"]) == ("call.completed", f"all/resources/{WATCHED}")
        assert taken.data["mcp.method.name"] == "resources/subscribe"
        assert touched.data["mcp.method.name"] == "tools/call"
        assert (unknown.type, unknown.data["tenure.violation"]) == ("call.refused", True)
        assert WATCHED not in [told.get_nowait() for _ in range(told.qsize())]

    play(story)


@pytest.mark.req("R045", "R054", "R184")
def test_a_listening_client_is_told_what_it_asked_for_and_was_granted(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        async with (
            site.client("clerk") as client,
            client.listen(tools_list_changed=True, resource_subscriptions=[WATCHED, "test://static-text"]) as stream,
        ):
            assert stream.honored.tools_list_changed
            assert stream.honored.prompts_list_changed is None
            assert stream.honored.resource_subscriptions == [WATCHED]
            await client.call_tool("all__test_touch_watched", {})
            assert await anext(stream) == ResourceUpdated(WATCHED)
            await client.call_tool("all__test_trigger_prompt_change", {})
            await client.call_tool("all__test_trigger_tool_change", {})
            assert await anext(stream) == ToolsListChanged()
        taken, unknown, *_ = await site.calls()
        assert (taken.type, taken.data["mcp.method.name"]) == ("call.completed", "subscriptions/listen")
        assert (unknown.type, unknown.data["tenure.decision"]["policies"]) == ("call.refused", ["system/grant"])

    play(story)


@pytest.mark.req("R054")
@pytest.mark.parametrize("how", ["suspended", "tripped", "grant"])
def test_a_listening_client_is_cut_off_when_it_may_not_know_any_more(play: Callable[..., None], how: str) -> None:
    worse: dict[str, dict[str, Any]] = {
        "suspended": {"state": LifecycleState.SUSPENDED},
        "tripped": {"breaker": BreakerFact(tripped=True)},
        "grant": {},
    }
    changes = worse[how]

    async def story(site: Site) -> None:
        async with site.client("clerk") as client, client.listen(resource_subscriptions=[WATCHED]) as stream:
            if how == "grant":
                server = site.fact("clerk").servers[0]
                changes["servers"] = (_without_resources(server),)
            site.change("clerk", **changes)
            with pytest.raises(StopAsyncIteration):  # the end is said, so that the client asks again
                await anext(stream)
            if how == "grant":
                async with client.listen(tools_list_changed=True, resource_subscriptions=[WATCHED]) as again:
                    assert again.honored.resource_subscriptions is None
            else:
                with pytest.raises(MCPError, match=r"may act only|is tripped"):
                    await client.listen(tools_list_changed=True).__aenter__()

    play(story)


def _without_resources(server: ServerFact) -> ServerFact:
    return ServerFact(server.name, url=server.url, prompts=server.prompts)


@pytest.mark.req("R045")
def test_other_grants_are_told(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk") as client, client.listen(prompts_list_changed=True) as stream:
            site.change("clerk", servers=(_without_resources(site.fact("clerk").servers[0]),))
            assert await anext(stream) == PromptsListChanged()

    play(story)


# Raw streams


HEADERS = {"accept": "text/event-stream", "mcp-protocol-version": "2025-11-25"}


class _Raw:
    """A client of 2025-11-25 that reads its stream byte by byte."""

    def __init__(self, site: Site, http: httpx2.AsyncClient) -> None:
        self.site = site
        self.http = http
        self.session = ""
        self.last = ""

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        reply = await self.site.post(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, mcp_session_id=self.session
        )
        self.session = reply.headers.get("mcp-session-id", self.session)
        found: dict[str, Any] = reply.json()
        return found

    @asynccontextmanager
    async def stream(self, *, resume: bool = True) -> AsyncIterator[AsyncIterator[str]]:
        """What is told: a method, or the URI that changed; "" for an event that only has an id."""
        headers = {**HEADERS, "authorization": f"Bearer {token('clerk')}", "mcp-session-id": self.session}
        if resume and self.last:
            headers["last-event-id"] = self.last
        async with self.http.stream("GET", self.site.url, headers=headers) as reply:
            assert reply.status_code == 200, await reply.aread()
            yield self._events(reply)

    async def _events(self, reply: httpx2.Response) -> AsyncIterator[str]:
        async for line in reply.aiter_lines():
            if line.startswith("id: "):
                self.last = line[4:]
            elif line.startswith("data:"):
                message = json.loads(line[5:]) if line[5:].strip() else {}
                yield message.get("params", {}).get("uri") or message.get("method", "")


def _open() -> dict[str, Any]:
    return {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


WILD = ServerFact("wild", command=wild_command("watched"), resources=("watched://*",))


def test_a_stream_goes_on_where_it_was_lost(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        async with httpx2.AsyncClient(timeout=20) as http:
            raw = _Raw(site, http)
            await raw.ask("initialize", **_open())
            assert (await raw.ask("resources/subscribe", uri="watched://it"))["result"] == {}
            async with raw.stream() as events:
                assert await anext(events) == ""
                await raw.ask("tools/call", name="wild__act", arguments={"n": 1})
                assert await anext(events) == "watched://it"
            async with raw.stream() as events:  # nothing was missed
                assert await anext(events) == ""
                state = read_resume_id(raw.last)
                assert state is not None
                assert state.uris == ("watched://it",)
            await raw.ask("tools/call", name="wild__act", arguments={"n": 1})
            await raw.ask("tools/call", name="wild__act", arguments={"n": 1})
            async with raw.stream() as events:
                assert [await anext(events), await anext(events)] == ["", "watched://it"]  # once
                async with raw.stream() as newer:
                    assert await anext(newer) == ""
                    assert [told async for told in events] == []  # there is one stream of a session

    _play(tmp_path, story, WILD, "wild/act")


@pytest.mark.req("R054")
def test_a_session_of_a_suspended_agent_is_cut_off(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        async with httpx2.AsyncClient(timeout=20) as http:
            raw = _Raw(site, http)
            await raw.ask("initialize", **_open())
            await raw.ask("resources/subscribe", uri="watched://it")
            async with raw.stream() as events:
                assert await anext(events) == ""
                site.change("clerk", state=LifecycleState.SUSPENDED)
                assert [told async for told in events] == []
            refused = await http.get(
                site.url,
                headers={**HEADERS, "authorization": f"Bearer {token('clerk')}", "mcp-session-id": raw.session},
            )
            assert refused.status_code == 403
            assert "system/lifecycle" in refused.text
            site.change("clerk", state=LifecycleState.PRODUCTION)
            async with raw.stream() as events:  # what it had subscribed to comes back with the id of its last event
                assert await anext(events) == ""
                while await anext(events) != "watched://it":
                    pass

    _play(tmp_path, story, WILD, "wild/act")


@pytest.mark.parametrize("how", ["watched", "watched-anew"])
def test_agents_share_a_subscription_which_outlives_the_server(tmp_path: Path, how: str) -> None:
    server = ServerFact("wild", command=wild_command(how), resources=("watched://*",))

    async def story(site: Site) -> None:
        site.agent("second", [server], "wild/act")
        async with (
            site.client("clerk") as one,
            site.client("second") as two,
            one.listen(resource_subscriptions=["watched://it"]) as first,
            two.listen(resource_subscriptions=["watched://it"]) as second,
        ):
            result: Any = await one.call_tool("wild__act", {"n": 1})
            assert json.loads(result.content[0].text)["subscribed"] == 1
            assert await anext(first) == await anext(second) == ResourceUpdated("watched://it")
            died: Any = await one.call_tool("wild__act", {"n": -1})
            assert "signal 9" in died.content[0].text
            assert await anext(first) == ResourceUpdated("watched://it")  # it may have changed while nobody looked
            await two.call_tool("wild__act", {"n": 1})
            assert await anext(first) == await anext(second) == ResourceUpdated("watched://it")

    _play(tmp_path, story, server, "wild/act", Limits(backoff_s=(0.05, 0.5)))


def test_what_the_server_refuses_is_not_subscribed_to(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        async with httpx2.AsyncClient(timeout=20) as http:
            raw = _Raw(site, http)
            await raw.ask("initialize", **_open())
            refused = await raw.ask("resources/subscribe", uri="watched://refused")
            assert "not this one" in refused["error"]["message"]
            for number in range(3):
                assert (await raw.ask("resources/subscribe", uri=f"watched://{number}"))["result"] == {}
            full = await raw.ask("resources/subscribe", uri="watched://4")
            assert "No more than 3" in full["error"]["message"]
        (event, *_) = await site.calls()
        assert event.data["error.type"] == "upstream_refused"

    _play(tmp_path, story, WILD, "wild/act", Limits(subscriptions=3))


def test_subscriptions_of_a_session_that_nobody_reads_end(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        async with httpx2.AsyncClient(timeout=20) as http:
            raw = _Raw(site, http)
            await raw.ask("initialize", **_open())
            await raw.ask("resources/subscribe", uri="watched://it")
            async with raw.stream() as events:
                assert await anext(events) == ""
            while True:
                told = await raw.ask("tools/call", name="wild__act", arguments={"n": 1})
                if json.loads(told["result"]["content"][0]["text"])["unsubscribed"] == 1:
                    break

    _play(tmp_path, story, WILD, "wild/act", Limits(detached_s=0.1))


def test_the_id_of_an_event_says_what_another_gateway_needs() -> None:
    state = Resume("boot", 7, "error", ("a://b", "c://d"))
    assert read_resume_id(resume_id(state)) == state
    for text in ("", "nonsense", "AAAA", resume_id(Resume("b", 1, "loud"))):
        assert read_resume_id(text) is None
