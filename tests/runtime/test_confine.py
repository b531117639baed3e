"""``tenure run --confine`` under a whole installation: the wires work, nothing else does, and who may demand it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import Process, until
from tenure.base.box import confined
from tests.sim.installation import COMMAND, Installation
from tests.sim.manifests import manifest
from tests.sim.mcp_servers import files_command

pytestmark = pytest.mark.skipif(bool(confined.trouble()), reason=confined.trouble() or "it works")

AGENT = """
import asyncio, json, os, socket, urllib.request
from urllib.error import HTTPError, URLError
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
import httpx2, openai

token = os.environ["TENURE_AGENT_TOKEN"]
said = openai.OpenAI().chat.completions.create(model="echo", messages=[{"role": "user", "content": "hello"}])

async def tools():
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(os.environ["TENURE_MCP_URL"], http_client=http)) as client,
    ):
        return [(await client.call_tool("files__read_file", {"name": "a.txt"})).content[0].text]

def sent(address, **headers):
    request = urllib.request.Request(address, b"{}", {"content-type": "application/json", **headers})
    try:
        return urllib.request.urlopen(request, timeout=60).status
    except HTTPError as error:
        return error.code

def reached(port):
    try:
        socket.create_connection(("127.0.0.1", port), 3).close()
        return True
    except OSError:
        return False

shown = {"authorization": f"Bearer {token}"}
spans = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
print(json.dumps({
    "model": said.choices[0].message.content,
    "tools": asyncio.run(tools()),
    "spans": sent(f"{spans}/v1/traces", **shown),
    "the rest of the control plane": sent(spans.removesuffix("/otlp") + "/v1/agents", **shown),
    "reached": [port for port in PORTS if reached(port)],
    "data": os.listdir(os.environ["TENURE_DATA"]),
    "proxies": [name for name in os.environ if name.lower().endswith("_proxy")],
}))
"""


class House:
    """A whole installation beside a model provider, and folders."""

    def __init__(self, folder: Path) -> None:
        self.tenure = Installation(folder / "data", {"TENURE_CONFINE": "elsewhere"})
        self.files = folder / "files"
        self.files.mkdir()
        (self.files / "a.txt").write_text("from the tool")
        self.work = folder / "work"
        self.work.mkdir()
        self.provider = Process((sys.executable, "-m", "tests.sim.model_provider"), self.tenure.env)
        until(lambda: any("ready" in line for line in self.provider.lines), "the provider")
        self.model = self.provider.lines[-1].split()[-1]
        self._agents = 0

    def agent(self, **spec: Any) -> str:
        """A new agent in staging."""
        self._agents += 1
        name = f"clerk-{self._agents}"
        model = {"provider": "openai", "name": "echo", "base_url": self.model}
        servers = {"files": {"command": list(files_command(self.files))}}
        tools = [{"name": "files/read_file"}]
        self.tenure.employ(manifest(name, self.model, **{"model": model, "servers": servers, "tools": tools} | spec))
        return name

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """``tenure run`` to its end, in a folder of its own."""
        return subprocess.run(
            (*COMMAND, "run", *words),
            env={**self.tenure.env, **env},
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def instance(self, name: str) -> dict[str, Any]:
        """The only instance of an agent."""
        with self.tenure.client() as client:
            (found,) = client.get(f"/v1/agents/{name}/instances", list[dict[str, Any]])
        return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("confine"))
    with house.tenure:
        yield house
    house.provider.stop()


@pytest.mark.req("R032", "R042")
@pytest.mark.twin("ASI05")
def test_a_confined_agent_works_over_its_wires_alone(house: House) -> None:
    name = house.agent()
    code = AGENT.replace("PORTS", repr([house.tenure.control_port, house.tenure.gateway_port, _port(house.model)]))
    done = house.run(
        *("--agent", name, "--confine", "--", sys.executable, "-c", code), HTTPS_PROXY="http://127.0.0.1:9"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "model": "You said: hello",
        "tools": ["from the tool"],
        "spans": 200,
        "the rest of the control plane": 404,
        "reached": [],
        "data": [],
        "proxies": [],
    }
    instance = house.instance(name)
    assert (instance["confined"], instance["exit_code"]) == (True, 0)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


TRY = "import socket; print(socket.create_connection(('127.0.0.1', {port}), 3) and 'reached')"


@pytest.mark.req("R042")
@pytest.mark.asi("ASI05", "An agent's process reaches nothing but its wires, where its manifest demands it")
def test_a_manifest_demands_it_and_whoever_starts_it_cannot_forget(house: House) -> None:
    name = house.agent(process={"confined": True})
    code = TRY.format(port=house.tenure.control_port)
    done = house.run("--agent", name, "--", sys.executable, "-c", code)
    assert "ConnectionRefusedError" in done.stderr
    assert f"the manifest of {name} demands it" in done.stderr
    assert house.instance(name)["confined"]
    with house.tenure.client() as client:
        answer = client._http.post(f"/v1/agents/{name}/instances", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "must_be_confined")


def test_where_it_is_impossible_nothing_starts(house: House, tmp_path: Path) -> None:
    name = house.agent()
    for words in (("--confine",), ()):
        if not words:
            name = house.agent(process={"confined": True})
        done = house.run("--agent", name, *words, "--", sys.executable, "-c", "print('ran')", PATH=str(tmp_path))
        assert done.returncode == 2
        assert "bubblewrap (bwrap) is not installed" in done.stderr
        assert "ran" not in done.stdout
        with house.tenure.client() as client:
            assert client.get(f"/v1/agents/{name}/instances", list[dict[str, Any]]) == []


def test_a_confined_process_gets_its_signals_and_leaves_nothing_behind(house: House) -> None:
    code = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
subprocess.Popen(["sleep", "31415"], start_new_session=True)
print("ready", flush=True)
while True: time.sleep(0.05)
"""
    name = house.agent()
    words = (*COMMAND, "run", "--agent", name, "--confine", "--", sys.executable, "-c", code)
    run = Process(words, house.tenure.env)
    until(lambda: "ready" in run.lines or run.status() is not None, "the child")
    os.kill(run.pid, signal.SIGUSR1)
    until(lambda: "usr1" in run.lines, "the signal")
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait(10) == 5, run.lines
    assert subprocess.run(["pgrep", "-f", "^sleep 31415$"], check=False, capture_output=True).stdout == b""
    assert house.instance(name)["exit_code"] == 5


def test_a_suspended_agent_is_ended_in_its_confinement(house: House) -> None:
    name = house.agent()
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    run = Process((*COMMAND, "run", "--agent", name, "--confine", "--", sys.executable, "-c", code), house.tenure.env)
    until(lambda: "ready" in run.lines or run.status() is not None, "the child")
    house.tenure.move(name, "suspended")
    assert run.wait(20) == 137, run.lines


def test_it_writes_where_it_starts_and_where_it_was_told(house: House, tmp_path: Path) -> None:
    name = house.agent()
    code = f"""
from pathlib import Path
for path in ("here", {str(tmp_path / "told")!r}, {str(house.files / "not")!r}):
    try:
        Path(path).write_text("x")
        print("yes")
    except OSError:
        print("no")
"""
    done = house.run("--agent", name, "--confine", "--write", str(tmp_path), "--", sys.executable, "-c", code)
    assert done.stdout.split() == ["yes", "yes", "no"], done.stderr
    done = house.run("--agent", name, "--confine", "--write", "/nowhere", "--", "true")
    assert (done.returncode, "/nowhere, which it may write to, does not exist" in done.stderr) == (2, True)


def test_the_doctor_says_whether_it_works(house: House, tmp_path: Path) -> None:
    assert "`tenure run --confine` keeps an agent to the gateway" in house.tenure.run("doctor")
    env = {**house.tenure.env, "PATH": str(tmp_path)}
    done = subprocess.run((*COMMAND, "doctor"), env=env, capture_output=True, text=True, timeout=60, check=False)
    assert "not installed: `tenure run --confine` starts nothing here" in done.stdout
