"""Upstream servers, real processes all of them, in sickness and in health."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import uvloop

from tenure.base.bounds import variables
from tenure.gateway.keychain import Keychain
from tenure.gateway.mcp.connection import Limits
from tenure.gateway.mcp.line import Line
from tenure.gateway.mcp.purse import Purse
from tenure.gateway.mcp.stdio import environment, without
from tenure.gateway.mcp.upstream import Server, Servers, identity_of
from tenure.gateway.upstream import Client
from tenure.kernel.errors import Failed
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import ServerFact
from tests.sim import mcp_servers as sim
from tests.sim.ports import free_port
from tests.sim.wild_mcp_server import wild_command

QUICK = Limits(call_s=1.0, start_s=8.0, backoff_s=(0.1, 5.0), backoff_wait_s=0.5, stop_s=1.0)


def _with_server(
    fact: ServerFact, story: Callable[[Server], Coroutine[Any, Any, None]], limits: Limits = QUICK
) -> None:
    async def run() -> None:
        client = Client()
        allowed = variables("DB_TOKEN=127.0.0.1:*,HANDED_ON=exec:*")
        servers = Servers(client, limits, credentials=Keychain(allowed))
        try:
            await story(servers.get("default", fact))
        finally:
            await servers.stop()
            client.close()

    uvloop.run(run())


async def _call(
    server: Server, tool: str, arguments: JsonObject, meta: JsonObject | None = None, **options: Any
) -> dict[str, Any]:
    options = {"line": Line(), **options}
    return await server.request("tools/call", {"name": tool, "arguments": arguments, "_meta": meta or {}}, **options)


def _text(answer: JsonObject) -> str:
    return str(answer["result"]["content"][0]["text"])


@pytest.mark.req("R184")
def test_a_child_process_is_started_used_and_given_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("hello")
    monkeypatch.setenv("SECRET_OF_ANOTHER", "x")
    monkeypatch.setenv("HANDED_ON", "y")
    fact = ServerFact("files", command=sim.files_command(tmp_path), env={"MODE": "test"}, env_from=("HANDED_ON",))

    async def story(server: Server) -> None:
        assert {"list_files", "read_file", "write_file"} <= set(await server.tools())
        assert _text(await _call(server, "read_file", {"name": "a.txt"})) == "hello"
        given = (await _call(server, "whoami", {}))["result"]["structuredContent"]["env"]
        assert set(given) - {"LC_CTYPE"} <= {"PATH", "HOME", "LANG", "MODE", "HANDED_ON"}
        assert {"MODE", "HANDED_ON"} <= set(given)

    _with_server(fact, story)


def test_the_environment_of_a_child_is_what_its_manifest_names() -> None:
    fact = ServerFact("s", command=("x",), env={"A": "1"}, env_from=("KEY", "MISSING"))
    environ = {"PATH": "/bin", "KEY": "k", "OTHER": "o"}
    purse = Purse(Keychain(variables("KEY=exec:x, MISSING=exec:x, OTHER=exec:x"), environ), "default", fact, "")
    assert environment(fact, purse.environment(), environ) == {"PATH": "/bin", "KEY": "k", "A": "1"}
    assert without(b"the key is k-123456, I said", ("k-123456",)) == "the key is ***, I said"


@pytest.mark.req("R184")
def test_a_server_over_http_is_shown_the_gateways_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    fact = ServerFact("db", url=f"http://127.0.0.1:{port}/mcp", credential_env="DB_TOKEN")

    async def refused(server: Server) -> None:
        with pytest.raises(Failed, match="DB_TOKEN"):
            await server.tools()

    async def wrong(server: Server) -> None:
        with pytest.raises(Failed, match="401"):
            await server.tools()

    async def story(server: Server) -> None:
        answer = await _call(server, "query", {"customer": "ada"})
        rows = answer["result"]["structuredContent"]["result"]
        assert rows == [{"id": "o1", "cents": 4200}, {"id": "o3", "cents": 999}]

    with sim.database_server(tmp_path / "orders.db", port):
        _with_server(fact, refused)
        monkeypatch.setenv("DB_TOKEN", "wrong")
        _with_server(fact, wrong)
        monkeypatch.setenv("DB_TOKEN", sim.TOKEN)
        _with_server(fact, story)


def test_a_session_that_the_server_lost_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_TOKEN", sim.TOKEN)
    port = free_port()
    fact = ServerFact("db", url=f"http://127.0.0.1:{port}/mcp", credential_env="DB_TOKEN")

    async def story(server: Server) -> None:
        for _ in range(2):
            with sim.database_server(tmp_path / "orders.db", port, "old-database"):
                answer = await _call(server, "query", {"customer": "bob"})
                assert answer["result"]["structuredContent"]["result"] == [{"id": "o2", "cents": 120000}]
            await asyncio.sleep(0.05)  # the loop learns that the connection was closed
        with pytest.raises(Failed) as caught:
            await _call(server, "query", {"customer": "bob"})
        assert caught.value.code == "upstream_unavailable"

    _with_server(fact, story)


def test_progress_arrives_while_the_call_runs(tmp_path: Path) -> None:
    told: list[bytes] = []

    def put(message: bytes) -> bool:
        told.append(message)
        return True

    async def story(server: Server) -> None:
        line = Line(put, token="mine")
        await _call(server, "slow", {"seconds": 0.2}, meta={"progressToken": "mine"}, line=line)

    _with_server(ServerFact("files", command=sim.files_command(tmp_path)), story)
    steps = [msgspec.json.decode(message)["params"] for message in told]
    assert [step["progress"] for step in steps] == list(range(1, 11))
    assert {step["progressToken"] for step in steps} == {"mine"}


@pytest.mark.parametrize("over_http", [False, True])
def test_a_call_that_is_stopped_at_the_last_moment_reaches_no_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over_http: bool
) -> None:
    monkeypatch.setenv("DB_TOKEN", sim.TOKEN)
    port = free_port()

    def stop() -> None:
        raise LookupError("a breaker tripped while the connection was made")

    async def story(server: Server) -> None:
        await server.tools()
        tool, arguments = ("write_file", {"name": "b.txt", "text": "x"})
        if over_http:
            tool, arguments = ("update", {"order_id": "o1", "cents": "1"})
        with pytest.raises(LookupError):
            await _call(server, tool, arguments, admit=stop)

    if over_http:
        with sim.database_server(tmp_path / "orders.db", port):
            fact = ServerFact("db", url=f"http://127.0.0.1:{port}/mcp", credential_env="DB_TOKEN")
            _with_server(fact, story)
    else:
        _with_server(ServerFact("files", command=sim.files_command(tmp_path)), story)
        assert not (tmp_path / "b.txt").exists()


def test_a_cancelled_call_is_cancelled_in_the_server(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        await server.tools()
        task = asyncio.create_task(_call(server, "slow", {"seconds": 30}, timeout_s=60))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            while not (tmp_path / "slow.cancelled").exists():  # noqa: ASYNC110 (another process writes it)
                await asyncio.sleep(0.02)

    _with_server(ServerFact("files", command=sim.files_command(tmp_path)), story)


def test_a_server_that_dies_ends_its_calls_and_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")

    async def story(server: Server) -> None:
        await server.tools()
        running = asyncio.create_task(_call(server, "slow", {"seconds": 30}, timeout_s=60))
        await asyncio.sleep(0.1)
        with pytest.raises(Failed) as caught:
            await _call(server, "crash", {})
        assert caught.value.code == "upstream_died"
        assert "signal 9" in caught.value.message
        with pytest.raises(Failed, match="signal 9"):
            await running
        assert _text(await _call(server, "read_file", {"name": "a.txt"})) == "hello"

    _with_server(ServerFact("files", command=sim.files_command(tmp_path)), story)


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("hang", "upstream_timeout", "within 1 s. It wrote 1 lines that are no JSON-RPC"),
        ("die", "upstream_died", "signal 9"),
        ("garbage", "upstream_garbage", "neither a result nor an error"),
        ("flood", "upstream_garbage", "more than 8388608 bytes"),
    ],
)
def test_a_server_that_misbehaves_in_a_call(how: str, code: str, told: str) -> None:
    async def story(server: Server) -> None:
        with pytest.raises(Failed) as caught:
            await _call(server, "act", {"n": 1})
        assert (caught.value.code, told in caught.value.message) == (code, True), caught.value.message

    _with_server(ServerFact("wild", command=wild_command(how)), story)


def test_a_server_that_does_not_start_is_tried_less_and_less_often() -> None:
    async def story(server: Server) -> None:
        problems = []
        for _ in range(5):
            with pytest.raises(Failed) as caught:
                await _call(server, "act", {"n": 1})
            assert caught.value.code == "upstream_unavailable"
            problems.append(caught.value.message)
        assert "exit code 3" in problems[0]
        assert "is started again in" in problems[-1]

    _with_server(ServerFact("wild", command=wild_command("never-starts")), story)
    _with_server(ServerFact("none", command=("/nowhere/server",)), _cannot_start)


async def _cannot_start(server: Server) -> None:
    with pytest.raises(Failed, match="could not be started"):
        await server.tools()


def test_a_server_that_never_answers_its_first_message_is_given_up() -> None:
    async def story(server: Server) -> None:
        with pytest.raises(Failed, match=r"Not ready|No answer"):
            await server.tools()

    _with_server(ServerFact("wild", command=wild_command("deaf")), story, Limits(start_s=0.5, stop_s=0.5))


def test_unknown_fields_errors_and_questions_of_a_server() -> None:
    async def story(server: Server) -> None:
        tool = (await server.tools()).get("act")
        assert tool is not None
        assert tool.definition["unknownField"] == {"kept": True}
        assert (await _call(server, "act", {"n": 1}))["result"]["extra"] == {"kept": True}

    async def error(server: Server) -> None:
        answer = await _call(server, "act", {"n": 1})
        assert answer["error"] == {"code": -32099, "message": "the tool's own error", "data": {"kept": 1}}

    async def asks(server: Server) -> None:
        told = json.loads(_text(await _call(server, "act", {"n": 1})))
        assert (told["id"], told["error"]["code"]) == ("s1", -32601)

    async def many(server: Server) -> None:
        assert len(await server.tools()) == 1000

    _with_server(ServerFact("wild", command=wild_command("well")), story)
    _with_server(ServerFact("wild", command=wild_command("error")), error)
    _with_server(ServerFact("wild", command=wild_command("asks-back")), asks)
    _with_server(ServerFact("wild", command=wild_command("many-tools")), many, replace(QUICK, tools=1000))


def test_a_server_is_shared_by_those_who_describe_it_the_same_way_and_stopped_with_the_last(tmp_path: Path) -> None:
    one = ServerFact("files", command=sim.files_command(tmp_path))
    other_name = ServerFact("documents", command=sim.files_command(tmp_path))

    async def run() -> None:
        client = Client()
        servers = Servers(client, QUICK)
        server = servers.get("default", one)
        assert servers.get("default", other_name) is server
        assert servers.get("another", one) is not server
        pid = (await _call(server, "whoami", {}))["result"]["structuredContent"]["pid"]
        await servers.retain([identity_of("default", other_name)])
        assert psutil.pid_exists(pid)
        await servers.retain([])
        assert not psutil.pid_exists(pid)
        with pytest.raises(Failed, match="no agent needs it any more"):
            await _call(server, "whoami", {})
        client.close()

    uvloop.run(run())


_PARENT = """
import asyncio, sys, uvloop
from tenure.base import log
from tenure.gateway.mcp.connection import Limits
from tenure.gateway.mcp.line import Line
from tenure.gateway.keychain import Keychain
from tenure.gateway.mcp.purse import Purse
from tenure.gateway.mcp.upstream import Servers
from tenure.gateway.upstream import Client
from tenure.kernel.snapshot import ServerFact

async def main():
    server = Servers(Client(), Limits()).get("default", ServerFact("files", command=tuple(sys.argv[1:])))
    answer = await server.request("tools/call", {"name": "whoami", "arguments": {}}, line=Line())
    print(answer["result"]["structuredContent"]["pid"], flush=True)
    await asyncio.sleep(3600)

log.configure()
uvloop.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_children_die_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, *sim.files_command(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(child.pid, signal.SIGSTOP)  # it cannot notice by itself that its input has ended
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived the gateway"
        time.sleep(0.02)
