"""Resources, prompts, completion, log messages and what servers ask of clients: real servers, real clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import uvloop
from mcp import Client as McpClient
from mcp import types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.connection import Limits
from tenure.kernel.snapshot import ServerFact
from tests.sim.everything_mcp_server import everything_server
from tests.sim.mcp_gateway import POLICY, Site, token
from tests.sim.ports import free_port

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])
TOOLS = " ".join(
    f"all/test_{name}"
    for name in ("elicitation", "sampling", "tool_with_logging", "simple_text", "input_required_result_list_roots")
)
HIDDEN = """
@id("no-binaries") @reason("Binaries stay where they are.")
forbid(principal, action == Action::"call_tool", resource == Tool::"all/resources/test://static-*")
when { context.strings.hasTag("uri") && context.strings.getTag("uri") like "*binary" };
"""
Story = Callable[[Site], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module", params=["new", "old"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The everything-server: one that speaks 2026-07-28, and one that knows sessions only."""
    with everything_server(free_port(), old=request.param == "old") as address:
        yield address


@pytest.fixture
def play(tmp_path: Path, url: str) -> Callable[..., None]:
    """Plays a story on a gateway whose agent ``clerk`` was granted some of what the server ``all`` has."""

    def run(story: Story, limits: Limits | None = None, **changes: Any) -> None:
        async def whole() -> None:
            site = Site(tmp_path, limits)
            site.policy(POLICY + HIDDEN)
            await site.start()
            granted = {
                "resources": ("test://static-*", "test://template/*"),
                "prompts": ("test_prompt_with_arguments",),
                "asks": ("elicitation",),
            }
            try:
                site.agent("clerk", [ServerFact("all", url=url, **(granted | changes))], TOOLS)
                await story(site)
            finally:
                await site.stop()

        uvloop.run(whole())

    return run


@asynccontextmanager
async def _client(site: Site, mode: str, asked: list[str], logged: list[str] | None = None) -> AsyncIterator[McpClient]:
    """A client that answers everything; ``asked`` and ``logged`` are what reached it."""

    async def elicit(context: Any, params: Any) -> types.ElicitResult:  # noqa: ARG001 (the SDK names them)
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"response": "blue"})

    async def sample(context: Any, params: Any) -> types.CreateMessageResult:  # noqa: ARG001 (the SDK names them)
        asked.append("sampling")
        text = types.TextContent(type="text", text="42")
        return types.CreateMessageResult(role="assistant", content=text, model="m")

    async def log(params: Any) -> None:
        if logged is not None:
            logged.append(str(params.data))

    headers = {"authorization": f"Bearer {token('clerk')}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        McpClient(
            streamable_http_client(site.url, http_client=http),
            mode=mode,
            elicitation_callback=elicit,
            sampling_callback=sample,
            logging_callback=log,
        ) as client,
    ):
        yield client


async def _refused(client: McpClient, tool: str, arguments: dict[str, Any]) -> bool:
    """Whether a call comes to nothing: servers say it in a result or in an error."""
    try:
        return bool((await client.call_tool(tool, arguments)).is_error)
    except MCPError:
        return True


@pytest.mark.req("R043")
def test_lists_hold_what_this_token_reaches_and_nothing_else(play: Callable[..., None]) -> None:
    async def lists(client: McpClient) -> list[list[str]]:
        return [
            [one.name for one in (await client.list_tools()).tools],
            [str(one.uri) for one in (await client.list_resources()).resources],
            [one.uri_template for one in (await client.list_resource_templates()).resource_templates],
            [one.name for one in (await client.list_prompts()).prompts],
        ]

    async def story(site: Site) -> None:
        async with site.client("clerk") as client:
            everything = await lists(client)
        assert all(everything)
        first = everything[0][0].removeprefix("all__")
        narrow: tuple[tuple[str, list[list[str]]], ...] = (
            (f"tool:all/{first}", [everything[0][:1], [], [], []]),
            ("tool:all/resources/test://static-*", [[], everything[1], [], []]),
            ("tool:all/prompts/*", [[], [], [], everything[3]]),
            ("model:*", [[], [], [], []]),
        )
        for scope, expected in narrow:
            async with site.client("clerk", instance=scope, scopes=(scope,)) as client:
                assert await lists(client) == expected
                others = [name for name in everything[0] if name not in expected[0]]
                assert await _refused(client, others[0], {}), "a call is decided on alone, whatever the list says"

    play(story)


@MODES
@pytest.mark.req("R045", "R054")
def test_resources_are_listed_and_read_as_far_as_they_were_granted(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            listed = {str(resource.uri) for resource in (await client.list_resources()).resources}
            assert listed == {"test://static-text", "test://static-binary"}
            templates = (await client.list_resource_templates()).resource_templates
            assert [template.uri_template for template in templates] == ["test://template/{id}/data"]
            text: Any = (await client.read_resource("test://static-text")).contents[0]
            assert text.text == "This is the content of the static text resource."
            filled: Any = (await client.read_resource("test://template/7/data")).contents[0]
            assert '"id": "7"' in filled.text
            with pytest.raises(MCPError) as caught:
                await client.read_resource("test://watched-resource")
            assert caught.value.error.code == -32602
            with pytest.raises(MCPError) as denied:
                await client.read_resource("test://static-binary")
            assert "Binaries stay where they are." in denied.value.error.message
            assert denied.value.error.data[codec.META_DECISION]["policies"] == ["no-binaries"]
        read, _, unknown, forbidden = await site.calls()
        assert (read.type, read.data["tenure.resource"]) == ("call.completed", "all/resources/test://static-*")
        assert read.data["mcp.method.name"] == "resources/read"
        assert read.data["gen_ai.tool.call.arguments"] == {"uri": "test://static-text"}
        assert read.data["gen_ai.tool.call.result"]["contents"][0]["text"].startswith("This is")
        assert unknown.data["tenure.decision"]["policies"] == ["system/grant"]
        assert (unknown.data["error.type"], unknown.data["tenure.violation"]) == ("unknown_resource", True)
        assert (forbidden.type, forbidden.data["tenure.violation"]) == ("call.refused", True)

    play(story)


@MODES
@pytest.mark.req("R045", "R054")
def test_prompts_are_got_and_completed_under_stable_names(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            assert [prompt.name for prompt in (await client.list_prompts()).prompts] == [
                "all__test_prompt_with_arguments"
            ]
            got: Any = await client.get_prompt("all__test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
            assert got.messages[0].content.text == "Prompt with arguments: arg1='a', arg2='b'"
            ref = types.PromptReference(type="ref/prompt", name="all__test_prompt_with_arguments")
            completed = await client.complete(ref, {"name": "arg1", "value": "par"})
            assert completed.completion.values == ["paris", "park", "party"]
            with pytest.raises(MCPError) as caught:
                await client.get_prompt("all__test_simple_prompt")
            assert caught.value.error.code == -32602
        got_it, completion, refused = await site.calls()
        assert got_it.data["tenure.resource"] == "all/prompts/test_prompt_with_arguments"
        assert completion.data["mcp.method.name"] == "completion/complete"
        assert (refused.type, refused.data["error.type"]) == ("call.refused", "unknown_prompt")

    play(story)


@MODES
def test_what_was_not_granted_is_not_offered(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            assert client.server_capabilities is not None
            assert client.server_capabilities.resources is None
            assert client.server_capabilities.prompts is None
            with pytest.raises(MCPError) as caught:
                await client.session.list_prompts()
            assert caught.value.error.code == -32601

    play(story, resources=(), prompts=())


@pytest.mark.req("R045")
def test_a_server_asks_the_client_of_a_call_what_it_was_granted_to_ask(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        asked: list[str] = []
        async with _client(site, "legacy", asked) as client:
            result: Any = await client.call_tool("all__test_elicitation", {"message": "Which colour?"})
            assert asked == ["Which colour?"]
            assert '"response": "blue"' in result.content[0].text
            assert await _refused(client, "all__test_sampling", {"prompt": "Who?"})
            assert asked == ["Which colour?"]

    play(story)


def _open(capabilities: dict[str, Any]) -> dict[str, Any]:
    """``initialize``."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities,
        "clientInfo": {"name": "t", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


async def _asked_of(site: Site, answers: Callable[[str, str], Coroutine[Any, Any, None]]) -> dict[str, Any]:
    """The answer to a call during which the server asks; ``answers`` is told the session and the id of the question."""
    session = (await site.post(_open({"elicitation": {}}))).headers["mcp-session-id"]
    headers = {
        "authorization": f"Bearer {token('clerk')}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-session-id": session,
        "mcp-protocol-version": "2025-11-25",
    }
    params = {"name": "all__test_elicitation", "arguments": {"message": "Which colour?"}}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
    last: dict[str, Any] = {}
    async with (
        httpx2.AsyncClient(timeout=30) as http,
        http.stream("POST", site.url, headers=headers, content=msgspec.json.encode(call)) as reply,
    ):
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                last = msgspec.json.decode(line[6:])
                if last.get("method") == "elicitation/create":
                    await answers(session, last["id"])
    return last


def test_only_the_session_that_was_asked_can_answer(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        site.agent("other", [], "")

        async def answers(session: str, identity: str) -> None:
            wrong = {"jsonrpc": "2.0", "id": identity, "result": {"action": "accept", "content": {"response": "red"}}}
            own = (await site.post(_open({}), "other")).headers["mcp-session-id"]
            assert (await site.post(wrong, "other", mcp_session_id=own)).status_code == 202
            assert (await site.post(wrong, "other", mcp_session_id=session)).status_code == 404
            assert (await site.post(wrong)).status_code == 202  # no session: nobody was asked there
            right = {**wrong, "result": {"action": "accept", "content": {"response": "blue"}}}
            assert (await site.post(right, mcp_session_id=session)).status_code == 202
            assert (await site.post(wrong, mcp_session_id=session)).status_code == 202  # too late

        answer = await _asked_of(site, answers)
        assert '"response": "blue"' in answer["result"]["content"][0]["text"]

    play(story)


def test_a_client_that_never_answers_holds_nothing_up_for_ever(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        async def silent(_: str, __: str) -> None:
            return

        answer = await _asked_of(site, silent)
        assert "error" in answer or answer["result"]["isError"] is True
        (event,) = await site.calls()
        assert "error.type" in event.data

    play(story, limits=Limits(ask_s=0.3))


def test_a_client_of_the_newest_revision_is_asked_by_a_result(
    play: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    newest = "new" in request.node.callspec.id

    async def story(site: Site) -> None:
        asked: list[str] = []
        async with _client(site, "auto", asked) as client:
            if newest:
                result: Any = await client.call_tool("all__test_elicitation", {"message": "Which colour?"})
                assert '"response": "blue"' in result.content[0].text
            else:  # a server with sessions asks in the middle of a call, where this client cannot be asked
                assert await _refused(client, "all__test_elicitation", {"message": "Which colour?"})
            assert asked == (["Which colour?"] if newest else [])
            assert await _refused(client, "all__test_sampling", {"prompt": "Who?"})
            assert "sampling" not in asked

    play(story)


@pytest.mark.filterwarnings("ignore:The logging capability is deprecated")
@pytest.mark.req("R045")
def test_log_messages_come_on_the_stream_of_their_call_at_the_level_that_was_set(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        logged: list[str] = []
        async with _client(site, "legacy", [], logged) as client:
            await client.call_tool("all__test_tool_with_logging", {})
            assert logged == [f"Tool execution {step}" for step in ("started", "processing data", "completed")]
            await client.session.set_logging_level("error")
            await client.call_tool("all__test_tool_with_logging", {})
            assert len(logged) == 3

    play(story)


def test_a_page_of_another_site_is_not_answered_even_if_its_name_points_here(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await site.post(ping, origin="http://evil.test", host="evil.test")).status_code == 403
        here = f"127.0.0.1:{site.port}"
        assert (await site.post(ping, origin=f"http://{here}", host=here)).status_code == 200

    play(story)
