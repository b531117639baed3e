"""The process: how it starts, what it loads, how it stops."""

from __future__ import annotations

import concurrent.futures
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from demo.processes import until
from tenure.base.config import Config, environment
from tests.sim.gateway import ROOT
from tests.sim.ports import free_port

HELLO: Any = [{"role": "user", "content": "hello"}]


def start(config: Config) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tenure.gateway"],
        env={**os.environ, **environment(config)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_taken_port_is_one_line_and_a_status(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = start(Config(data_dir=tmp_path, gateway_port=port))
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"tenure gateway: Port {port} on 127.0.0.1 is taken. Stop what listens there, or set TENURE_GATEWAY_PORT."
    ]


def test_an_unusable_folder_is_one_line_and_a_status(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where a folder should be")
    result = start(Config(data_dir=tmp_path, gateway_port=free_port()))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "cannot be written" in result.stderr


def test_a_second_gateway_on_the_same_folder_is_refused(house: Any) -> None:
    result = start(Config(data_dir=house.folder, gateway_port=free_port()))
    assert result.returncode == 1
    assert "Another gateway works in" in result.stderr


def test_no_database_is_loaded_by_a_running_gateway(tmp_path: Path) -> None:
    """Runs the real entry point and looks at what it has loaded when it is ready."""
    program = (
        "import sys, runpy, builtins\n"
        "say = print\n"
        "def ready(*words, **more):\n"
        "    say(' '.join(sorted({name.split('.')[0] for name in sys.modules})))\n"
        "    raise KeyboardInterrupt\n"
        "builtins.print = ready\n"
        "runpy.run_module('tenure.gateway', run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment(Config(data_dir=tmp_path, gateway_port=free_port()))},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    loaded = set(result.stdout.split())
    assert "tenure" in loaded
    assert not loaded & {"sqlalchemy", "duckdb", "alembic", "psycopg", "fastapi", "uvicorn", "starlette"}


def test_a_gateway_without_a_control_plane_refuses_and_says_so(tmp_path: Path, build: Any) -> None:
    house = build()
    house.gateway.stop()
    house.control.__exit__()
    (tmp_path / "gateway.token").unlink()
    house.gateway = type(house.gateway)(tmp_path, 1)
    assert house.gateway.health() == (503, house.gateway.health()[1])
    assert house.gateway.health()[1]["status"] == "no_facts"
    with pytest.raises(openai.InternalServerError, match="has not heard from the control plane"):
        house.client().models.list()
    house.control = type(house.control)(tmp_path, ())
    house.control.__enter__()


def test_sigterm_lets_running_calls_finish_and_ships_what_they_did(house: Any) -> None:
    client = house.client()
    before = house.provider.seen()["models"].get("wait-200", 0)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(lambda: client.chat.completions.create(model="wait-200", messages=HELLO))
        until(lambda: house.provider.seen()["models"].get("wait-200", 0) > before, "the call to reach the provider")
        assert house.gateway.stop() == 0
        assert running.result(60).choices[0].message.content == "You said: hello"
    assert len(house.calls()) == 1
    assert not list((house.folder / "spool" / "local").glob("*.seg"))


def test_a_call_that_outlasts_the_drain_is_broken_off(build: Any) -> None:
    house = build(drain_s=0.5)
    client = house.client()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(lambda: client.chat.completions.create(model="hang", messages=HELLO))
        time.sleep(0.3)
        begun = time.monotonic()
        assert house.gateway.stop() == 0
        assert time.monotonic() - begun < 4
        with pytest.raises(openai.APIConnectionError):
            running.result(60)
    assert house.calls()[0]["data"]["error.type"] == "client_disconnected"
