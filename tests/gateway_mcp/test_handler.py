"""An agent's virtual MCP server: the SDK's client in both lives of the protocol, real servers, the real pipeline."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from mcp.shared.exceptions import MCPError

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.connection import Limits
from tenure.kernel.snapshot import BreakerFact, ServerFact
from tenure.kernel.values import LifecycleState, Status
from tests.sim import mcp_servers as sim
from tests.sim.mcp_gateway import Site
from tests.sim.ports import free_port
from tests.sim.wild_mcp_server import wild_command

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])
GRANTED = "files/list_files files/read_file files/slow files/whoami files/crash"
Story = Callable[[Site], Coroutine[Any, Any, None]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the files server serves."""
    path = tmp_path / "files"
    path.mkdir()
    (path / "a.txt").write_text("hello")
    (path / "secret.txt").write_text("do not read")
    return path


@pytest.fixture
def play(tmp_path: Path, folder: Path) -> Callable[..., None]:
    """Plays a story on a gateway with the agent ``clerk``, who may use some tools of the files server."""

    def run(story: Story, limits: Limits | None = None) -> None:
        async def whole() -> None:
            site = Site(tmp_path, limits)
            await site.start()
            try:
                site.agent("clerk", [ServerFact("files", command=sim.files_command(folder))], GRANTED)
                await story(site)
            finally:
                await site.stop()

        uvloop.run(whole())

    return run


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ServerFact, Path]]:
    """The database server over HTTP, and its file."""
    path = tmp_path / "orders.db"
    monkeypatch.setenv("DB_TOKEN", sim.TOKEN)
    with sim.database_server(path, free_port()) as url:
        yield ServerFact("database", url=url, credential_env="DB_TOKEN"), path


def _refunds(path: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.execute("SELECT order_id, cents FROM refunds"))


def _text(result: Any) -> str:
    return str(result.content[0].text)


@MODES
@pytest.mark.req("R045", "R047", "R054", "R184")
@pytest.mark.twin("ASI02")
def test_an_agent_sees_and_calls_what_it_was_granted_and_nothing_else(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {f"files__{word.split('/')[1]}" for word in GRANTED.split()}
            assert tools["files__read_file"].description == "The text of a file."
            assert tools["files__read_file"].input_schema["required"] == ["name"]
            result = await client.call_tool("files__read_file", {"name": "a.txt"})
            assert (_text(result), result.is_error) == ("hello", False)
            with pytest.raises(MCPError) as caught:
                await client.call_tool("files__write_file", {"name": "b.txt", "text": "x"})
            assert caught.value.error.code == -32602
            assert "files__read_file" in caught.value.error.message
        assert not (site.folder / "files" / "b.txt").exists()
        done, refused = await site.calls()
        assert (done.type, done.status) == ("call.completed", Status.FLAGGED)  # its first use of this tool
        assert done.data["tenure.resource"] == "files/read_file"
        assert done.data["gen_ai.tool.call.arguments"] == {"name": "a.txt"}
        assert done.data["gen_ai.tool.call.result"]["content"][0]["text"] == "hello"
        assert done.data["mcp.server.name"] == "files"
        assert (refused.type, refused.status) == ("call.refused", Status.VIOLATION)
        assert refused.data["tenure.resource"] == "files/write_file"
        assert refused.data["tenure.decision"]["policies"] == ["system/grant"]
        assert refused.data["tenure.violation"] is True

    play(story)


@MODES
def test_the_life_of_the_protocol_that_the_client_prefers_is_lived(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
            assert client.server_info is not None
            assert client.server_info.name == "tenure"

    play(story)


@MODES
@pytest.mark.req("R045", "R054")
def test_a_denied_call_names_the_policy_and_reaches_nothing(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            result = await client.call_tool("files__read_file", {"name": "secret.txt"})
            assert result.is_error
            assert "no-secrets" in _text(result)
            assert "nobody's business" in _text(result)
            assert (result.meta or {})[codec.META_DECISION]["policies"] == ["no-secrets"]
        (event,) = await site.calls()
        assert (event.type, event.data["tenure.violation"]) == ("call.refused", True)

    play(story)


@pytest.mark.req("R047")
@pytest.mark.asi("ASI02", "Arguments are held against the tool's schema before they are sent")
def test_arguments_that_do_not_fit_are_told_and_not_sent(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", "auto") as client:
            result = await client.call_tool("files__read_file", {"nmae": "a.txt"})
            assert result.is_error
            assert "'name' is a required property (required: name)" in _text(result)
        (event,) = await site.calls()
        assert (event.data["error.type"], event.data["tenure.violation"]) == ("invalid_arguments", False)

    play(story)


def test_the_check_of_a_long_argument_holds_up_nobody_else(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        site.agent("cashier", [ServerFact("wild", command=wild_command("long-list"))], "wild/act")
        params: dict[str, Any] = {"name": "wild__act", "arguments": {"n": 1}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        assert (await site.post(call, "cashier")).status_code == 200  # the server runs and its tools are known
        params["arguments"] = {"n": 1, "names": [""] * 300_000}
        long = asyncio.create_task(site.post(call, "cashier"))
        loop, longest = asyncio.get_running_loop(), 0.0
        while not long.done():
            before = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - before)
        assert "result" in (await long).json()
        assert longest < 0.5  # the check takes a second and a half, more on a slow machine

    play(story)


@pytest.mark.twin("ASI09")
def test_a_held_call_goes_on_when_a_person_approves(play: Callable[..., None], orders: tuple[ServerFact, Path]) -> None:
    server, path = orders

    async def story(site: Site) -> None:
        site.agent("cashier", [server], "database/refund database/query", hold_timeout_s=20.0)
        async with site.client("cashier", "legacy") as client:
            small = await client.call_tool("database__refund", {"order_id": "o1", "cents": 500})
            assert _text(small) == "refunded 500 of o1"
            call = asyncio.create_task(client.call_tool("database__refund", {"order_id": "o2", "cents": 120000}))
            async with asyncio.timeout(5):
                while not site.approvals:  # noqa: ASYNC110 (the far end of a socket fills it)
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert not call.done()
            assert _refunds(path) == [("o1", 500)]
            site.decide(site.approvals[0].id, "granted")
            assert _text(await call) == "refunded 120000 of o2"
        assert _refunds(path) == [("o1", 500), ("o2", 120000)]
        event = (await site.calls())[-1]
        assert (event.data["tenure.approval.id"], event.status) == (site.approvals[0].id, Status.FLAGGED)

    play(story)


def test_a_call_that_waits_long_is_answered_by_a_stream_that_says_it_lives(
    play: Callable[..., None], orders: tuple[ServerFact, Path]
) -> None:
    async def story(site: Site) -> None:
        site.agent("clerk", [orders[0]], "database/refund", hold_timeout_s=20.0)
        params = {"name": "database__refund", "arguments": {"order_id": "o2", "cents": 120000}}
        call = asyncio.create_task(site.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
        await asyncio.sleep(0.5)
        site.decide(site.approvals[0].id, "granted")
        answer = await call
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.text.count(": working") >= 2
        assert "refunded 120000 of o2" in answer.text

    play(story, Limits(stream_after_s=0.1, ping_s=0.1))


def test_a_pending_call_is_told_and_an_approval_covers_exactly_its_arguments_once(
    play: Callable[..., None], orders: tuple[ServerFact, Path]
) -> None:
    server, path = orders

    async def story(site: Site) -> None:
        site.agent("cashier", [server], "database/refund", hold_timeout_s=0.2)
        wanted = {"order_id": "o2", "cents": 120000}
        async with site.client("cashier", "auto") as client:
            pending = await client.call_tool("database__refund", wanted)
            approval = (pending.meta or {})[codec.META_APPROVAL]
            assert pending.is_error
            assert [fact.id for fact in site.approvals] == [approval]
            site.decide(approval, "granted")
            other = await client.call_tool("database__refund", {**wanted, "cents": 120001})
            assert (other.meta or {})[codec.META_APPROVAL] != approval
            hinted = await client.call_tool(
                "database__refund", wanted, meta=cast("Any", {"example.com/account": "mine"})
            )
            assert (hinted.meta or {})[codec.META_APPROVAL] != approval
            assert _refunds(path) == []
            assert _text(await client.call_tool("database__refund", wanted)) == "refunded 120000 of o2"
            again = await client.call_tool("database__refund", wanted)
            assert (again.meta or {})[codec.META_APPROVAL] not in (approval, (other.meta or {})[codec.META_APPROVAL])
            site.auto = "rejected"
            rejected = await client.call_tool("database__refund", {**wanted, "order_id": "o3"})
            assert "op@example.com rejected this call" in _text(rejected)
        assert _refunds(path) == [("o2", 120000)]

    play(story)


@MODES
def test_a_suspended_agent_is_refused_at_its_next_call(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            assert not (await client.call_tool("files__list_files", {})).is_error
            site.change("clerk", state=LifecycleState.SUSPENDED)
            refused = await client.call_tool("files__list_files", {})
            assert refused.is_error
            assert "system/lifecycle" in _text(refused)
            site.change("clerk", state=LifecycleState.PRODUCTION, credential_epoch=1)
            with pytest.raises(MCPError, match="revoked"):
                await client.call_tool("files__list_files", {})

    play(story)


@pytest.mark.asi("ASI10", "An agent that keeps breaking rules is stopped until a person resets it")
def test_a_tripped_breaker_blocks_further_calls(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        site.change("clerk", breaker=BreakerFact(threshold=2))
        async with site.client("clerk") as client:
            for _ in range(2):
                await client.call_tool("files__read_file", {"name": "secret.txt"})
            assert "system/breaker" in _text(await client.call_tool("files__list_files", {}))

    play(story)


@pytest.mark.parametrize("why", ["system/stale-snapshot", "system/lifecycle", "system/breaker"])
def test_no_call_without_a_valid_decision_and_no_server_delays_a_stop(play: Callable[..., None], why: str) -> None:
    async def story(site: Site) -> None:
        site.agent("clerk", [ServerFact("deaf", command=wild_command("deaf"))], "deaf/act")
        async with site.client("clerk") as client:
            match why:
                case "system/stale-snapshot":
                    site.silence()
                case "system/lifecycle":
                    site.change("clerk", state=LifecycleState.SUSPENDED)
                case _:
                    site.change("clerk", breaker=BreakerFact(tripped=True))
            async with asyncio.timeout(20):  # the server would be waited for three times as long
                refused = await client.call_tool("deaf__act", {"n": 1})
            assert why in _text(refused)

    play(story, Limits(start_s=60.0, call_s=60.0))


def test_a_server_that_dies_in_a_call_is_told_and_started_again(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk", "legacy") as client:
            died = await client.call_tool("files__crash", {})
            assert died.is_error
            assert "ended with signal 9. Whether it took effect is not known." in _text(died)
            assert _text(await client.call_tool("files__read_file", {"name": "a.txt"})) == "hello"
        assert (await site.calls())[0].data["error.type"] == "upstream_died"

    play(story)


def test_a_server_that_cannot_start_hides_only_its_own_tools(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        servers = [
            ServerFact("files", command=sim.files_command(site.folder / "files")),
            ServerFact("broken", command=wild_command("never-starts")),
        ]
        site.agent("clerk", servers, "files/read_file broken/act")
        async with site.client("clerk") as client:
            listed = await client.list_tools()
            assert [tool.name for tool in listed.tools] == ["files__read_file"]
            assert "exit code 3" in (listed.meta or {})[codec.META_UNAVAILABLE]["broken"]
            result = await client.call_tool("broken__act", {"n": 1})
            assert "It was not called." in _text(result)
        assert (await site.calls())[0].data["error.type"] == "upstream_unavailable"

    play(story)


@MODES
def test_progress_reaches_the_client_while_the_tool_works(play: Callable[..., None], mode: str) -> None:
    async def story(site: Site) -> None:
        seen: list[float] = []

        async def listen(progress: float, total: float | None, message: str | None) -> None:
            assert (total, message) == (10.0, f"step {progress:g}")
            seen.append(progress)

        async with site.client("clerk", mode) as client:
            result = await client.call_tool("files__slow", {"seconds": 0.3}, progress_callback=listen)
            assert _text(result) == "done"
        assert seen == [float(step) for step in range(1, 11)]

    play(story)


@MODES
@pytest.mark.parametrize("streamed", [True, False])
def test_a_cancelled_call_is_cancelled_upstream(play: Callable[..., None], mode: str, streamed: bool) -> None:
    async def ignore(progress: float, total: float | None, message: str | None) -> None:
        pass

    async def story(site: Site) -> None:
        async with site.client("clerk", mode) as client:
            await client.list_tools()
            listener = ignore if streamed else None
            call = asyncio.create_task(client.call_tool("files__slow", {"seconds": 5}, progress_callback=listener))
            await asyncio.sleep(0.5)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            mark = site.folder / "files" / "slow.cancelled"
            async with asyncio.timeout(5):
                while not mark.exists():  # noqa: ASYNC110 (another process writes it)
                    await asyncio.sleep(0.02)
            await client.list_tools()  # the answer to the cancelled call comes before the client is closed
        assert (await site.calls())[0].data["error.type"] == "cancelled"

    play(story)


def test_a_session_needs_no_memory_of_the_gateway(play: Callable[..., None]) -> None:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    start = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    sessions: list[str] = []

    async def first(site: Site) -> None:
        answer = await site.post(start)
        assert answer.json()["result"]["protocolVersion"] == "2025-11-25"
        sessions.append(answer.headers["mcp-session-id"])
        accepted = await site.post(
            {"jsonrpc": "2.0", "method": "notifications/initialized"}, mcp_session_id=sessions[0]
        )
        assert (accepted.status_code, accepted.content) == (202, b"")

    async def after_a_restart(site: Site) -> None:
        assert (await site.post(ping, mcp_session_id=sessions[0])).json()["result"] == {}
        site.agent("other", [], "")
        assert (await site.post(ping, "other", mcp_session_id=sessions[0])).status_code == 404
        assert (await site.post(ping, mcp_session_id="made-up")).status_code == 404

    play(first)
    play(after_a_restart)


def test_http_and_json_rpc_refusals(play: Callable[..., None]) -> None:
    modern = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/nothing"}
    meta = {codec.META_VERSION: "2026-07-28", codec.META_CAPABILITIES: {}}

    async def story(site: Site) -> None:
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        nobody = await site.post(ping, authorization="Bearer nonsense")
        assert (nobody.status_code, nobody.headers["www-authenticate"][:6]) == (401, "Bearer")
        assert (await site.post(ping, origin="http://evil.test")).status_code == 403
        assert (await site.post(b"{")).json()["error"]["code"] == -32700
        unknown = await site.post({**ping, "method": "resources/list"})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (200, -32601)
        nothing = {"jsonrpc": "2.0", "id": 1, "method": "tools/nothing", "params": {"_meta": meta}}
        unknown = await site.post(nothing, **modern)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, -32601)
        crossed = await site.post(nothing, **{**modern, "mcp_method": "tools/list"})
        assert (crossed.status_code, crossed.json()["error"]["code"]) == (400, -32020)
        opened = await site.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
        odd = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {}}}
        cancelled = await site.post(odd, mcp_session_id=opened.headers["mcp-session-id"])
        assert cancelled.status_code == 202

    play(story)


def test_a_servers_unknown_fields_errors_and_our_meta_pass_through(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        site.agent("clerk", [ServerFact("wild", command=wild_command("well"))], "wild/act")
        params = {"name": "wild__act", "arguments": {"n": 1}, "_meta": {"example.com/k": "v", "progressToken": 9}}
        answer = await site.post({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": params})
        result = answer.json()["result"]
        assert result["extra"] == {"kept": True}
        sent = codec.read_message(
            b'{"jsonrpc":"2.0","method":"m","params":%s}' % result["content"][0]["text"].encode(), {}
        )
        assert sent.meta["example.com/k"] == "v"
        assert sent.meta["progressToken"] != 9
        assert sent.params["name"] == "act"
        (event,) = await site.calls()
        assert sent.meta["traceparent"] == f"00-{event.trace_id}-{event.span_id}-01"
        assert "authorization" not in str(sent.params).lower()

    async def error(site: Site) -> None:
        site.agent("clerk", [ServerFact("wild", command=wild_command("error"))], "wild/act")
        params = {"name": "wild__act", "arguments": {"n": 1}}
        answer = await site.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        assert answer.json()["error"] == {"code": -32099, "message": "the tool's own error", "data": {"kept": 1}}
        assert (await site.calls())[-1].data["error.type"] == "-32099"

    play(story)
    play(error)


def test_servers_that_no_agent_needs_any_more_are_stopped(play: Callable[..., None]) -> None:
    async def story(site: Site) -> None:
        async with site.client("clerk") as client:
            given = (await client.call_tool("files__whoami", {})).structured_content
            assert given is not None
            site.change("clerk", state=LifecycleState.RETIRED)
            async with asyncio.timeout(8):
                while Path(f"/proc/{given['pid']}").exists():  # noqa: ASYNC110, ASYNC240 (another process's end)
                    await asyncio.sleep(0.05)

    play(story)
