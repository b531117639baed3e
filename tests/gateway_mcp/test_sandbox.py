"""Servers that a gateway starts: what a hostile one can reach, and that none outlives the gateway."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tenure.base.box import bubblewrap
from tenure.gateway.mcp.sandbox import Sandbox
from tenure.kernel.errors import Failed
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import AgentFact, ServerFact, ToolFact
from tenure.kernel.values import LifecycleState
from tests.sim import mcp_servers as sim
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, default_policies
from tests.sim.wild_mcp_server import wild_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap and death signals are Linux's")
BOXED = pytest.mark.skipif(bool(bubblewrap.trouble()), reason=bubblewrap.trouble() or "it works")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlSim]:
    """A control plane that knows the agent ``clerk``, who was granted a hostile server and one that is not."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    with ControlSim(tmp_path / "data", default_policies()) as control:
        (tmp_path / "data" / "control.db").write_bytes(b"the control plane's")
        servers = (
            ServerFact("wild", command=wild_command("hostile"), write=(str(folder),)),
            ServerFact("deaf", command=wild_command("hostile"), network=False),
            ServerFact("files", command=sim.files_command(folder), write=(str(folder),)),
        )
        granted = (("wild", "act"), ("deaf", "act"), ("files", "read_file"), ("files", "write_file"))
        tools = tuple(ToolFact(server, tool) for server, tool in granted)
        agent = AgentFact("default", "clerk", LifecycleState.PRODUCTION, "sha256:r1", 1, "ann@example.com")
        control.agent(replace(agent, servers=servers, tools=tools))
        yield control


def _ask(gateway: GatewayProcess, control: ControlSim, *calls: tuple[str, dict[str, Any]]) -> list[str]:
    """What the calls answer, one after the other."""

    async def ask() -> list[str]:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {control.token('clerk')}"}) as http,
            Client(streamable_http_client(f"{gateway.url}/mcp", http_client=http)) as client,
        ):
            results: list[Any] = [await client.call_tool(name, arguments) for name, arguments in calls]
            return [result.content[0].text for result in results]

    deadline = time.monotonic() + 60
    while gateway.health()[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return asyncio.run(ask())


@BOXED
@pytest.mark.req("R047", "R051", "R054")
@pytest.mark.asi("ASI05", "A server's process is kept in a sandbox")
@pytest.mark.twin("ASI05")
def test_a_hostile_server_reaches_nothing_of_the_gateway_and_a_good_one_works(
    control: ControlSim, tmp_path: Path
) -> None:
    (tmp_path / "data" / "control.db").write_text("keys")
    outside, inside = tmp_path / "outside.txt", tmp_path / "files" / "inside.txt"
    with GatewayProcess(tmp_path / "data", control.port, sandbox="required") as gateway, socket.socket() as open_port:
        open_port.bind(("127.0.0.1", 0))
        open_port.listen()
        port = open_port.getsockname()[1]
        told = _ask(
            gateway,
            control,
            ("wild__act", {"n": 1, "read": str(tmp_path / "data" / "gateway.token")}),
            ("wild__act", {"n": 1, "read": str(tmp_path / "data" / "control.db")}),
            ("wild__act", {"n": 1, "write": str(tmp_path / "data" / "x")}),
            ("wild__act", {"n": 1, "write": str(Path(__file__).parent / "written")}),
            ("wild__act", {"n": 1, "environ": gateway.child.pid}),
            ("deaf__act", {"n": 1, "connect": port}),
        )
        assert [text.partition(":")[0] for text in told] == ["failed"] * 6, told
        told = _ask(
            gateway,
            control,
            ("wild__act", {"n": 1, "read": str(outside.parent / "files" / "a.txt")}),
            ("wild__act", {"n": 1, "write": str(inside)}),
            ("wild__act", {"n": 1, "write": "/tmp/mine"}),
            ("wild__act", {"n": 1, "connect": port}),
            ("files__write_file", {"name": "b.txt", "text": "kept"}),
            ("files__read_file", {"name": "a.txt"}),
        )
        assert told == ["hello", "done", "done", "done", "wrote 4 characters to b.txt", "hello"]
    assert inside.read_text() == "mine"
    assert (tmp_path / "files" / "b.txt").read_text() == "kept"
    assert not outside.exists()


def _alive(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if mark in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize("mode", [pytest.param("required", marks=BOXED), "off"])
@pytest.mark.parametrize("end", ["killed", "stopped", "crashed"])
@pytest.mark.req("R051")
def test_what_a_server_has_started_ends_with_it(control: ControlSim, tmp_path: Path, mode: str, end: str) -> None:
    mark = new_id()
    gateway = GatewayProcess(tmp_path / "data", control.port, sandbox=mode)
    try:
        assert _ask(gateway, control, ("wild__act", {"n": 1, "escape": mark})) == ["done"]
        assert len(_alive(mark)) == 1
        if end == "killed":
            gateway.kill()
        elif end == "stopped":
            assert gateway.stop() == 0
        else:
            for process in psutil.Process(gateway.child.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # its sandbox ended with another one
                    if process.cmdline() == list(wild_command("hostile")):
                        process.kill()
        deadline = time.monotonic() + 60
        while _alive(mark):
            assert time.monotonic() < deadline, "it outlived its server"
            time.sleep(0.02)
    finally:
        gateway.kill()
        for process in _alive(mark):
            process.kill()


@BOXED
def test_a_file_of_the_gateway_is_hidden_wherever_it_is(tmp_path: Path) -> None:
    folder, database = tmp_path / "data", tmp_path / "shown" / "control.db"
    for file in (folder / "control.db", database):
        file.parent.mkdir()
        file.write_text("keys")
    box = Sandbox("required", (folder, folder / "control.db", database))
    (database.parent / "other").write_text("shown")
    fact = ServerFact("s", command=("cat", str(database), f"{database.parent}/other"), write=(str(database.parent),))
    assert subprocess.run(box.command(fact)[1], capture_output=True, check=False).stdout == b"shown"


@BOXED
def test_what_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    box = Sandbox("auto", (tmp_path / "data",))
    (tmp_path / "data").mkdir()
    with pytest.raises(Failed, match="does not exist"):
        box.command(ServerFact("s", command=("x",), cwd=str(tmp_path), write=("nowhere",)))
    with pytest.raises(Failed, match="the gateway's own"):
        box.command(ServerFact("s", command=("x",), cwd=str(tmp_path), write=("data",)))


def test_without_bubblewrap_a_server_is_on_a_leash_or_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(__file__).parent))
    bubblewrap.trouble.cache_clear()
    try:
        assert "not installed" in bubblewrap.trouble()
        fact = ServerFact("s", command=("x",), cwd=os.sep)
        assert Sandbox("auto").command(fact)[0] == "leash"
        with pytest.raises(Failed, match="TENURE_SANDBOX is required"):
            Sandbox("required").command(fact)
    finally:
        monkeypatch.undo()
        bubblewrap.trouble.cache_clear()
