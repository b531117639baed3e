"""``tenure up`` and ``tenure doctor``: ready, drained, started again, and clear about what is in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
from pathlib import Path

import httpx2
import psutil
import pytest

from demo.processes import free_port, listening, until
from tenure.app.doctor import examine
from tenure.base.config import Config
from tests.sim.installation import COMMAND, Installation


def _refused(tenure: Installation) -> str:
    done = subprocess.run((*COMMAND, "up"), env=tenure.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_up_serves_drains_and_starts_again_on_the_same_data(tmp_path: Path) -> None:
    tenure = Installation(tmp_path / "data")
    tenure.env |= {"TENURE_EMBEDDINGS_KEY": "VECTOR_KEY", "VECTOR_KEY": "nobody else's"}
    up = tenure.start()
    known = {child.cmdline()[-1]: "VECTOR_KEY" in child.environ() for child in psutil.Process(up.pid).children()}
    assert known == {"tenure.app.server": True, "tenure.gateway": False}, "a key of the control plane's alone"
    assert any("/login?code=" in line for line in up.lines)
    assert httpx2.get(f"{tenure.control}/v1/health").json()["status"] == "ok"
    assert httpx2.get(f"{tenure.gateway}/healthz").status_code == 200
    with tenure.client() as client:
        people = client.get("/v1/people", dict[str, object])
    os.kill(up.pid, signal.SIGINT)
    assert up.wait(20) == 0
    assert "stopped" in up.lines[-1]
    assert not listening(tenure.control_port)
    assert not listening(tenure.gateway_port)
    tenure.start()
    with tenure.client() as client:
        assert client.get("/v1/people", dict[str, object]) == people, "the first operator is made once"
    tenure.stop()


def test_secrets_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    with Installation(tmp_path / "data"):
        files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        open_to_others = [path.name for path in files if path.stat().st_mode & 0o077 and "token" in path.name]
        keys = [path.name for path in (tmp_path / "data" / "keys").rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []
    assert keys == []


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    tenure = Installation(tmp_path / "data")
    with socket.create_server(("127.0.0.1", tenure.gateway_port)):
        told = _refused(tenure)
    assert f"Port {tenure.gateway_port} for the gateway is taken" in told
    assert "TENURE_GATEWAY_PORT" in told


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    assert "cannot be written" in _refused(Installation(tmp_path / "file" / "data"))
    assert "is a file" in Installation(tmp_path / "file").run("doctor", expect=1)


def test_data_of_a_newer_version_is_one_clear_line_and_stays_as_it_was(tmp_path: Path) -> None:
    tenure = Installation(tmp_path / "data")
    with tenure:
        pass
    with sqlite3.connect(tmp_path / "data" / "control.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "written by a newer Tenure" in tenure.run("doctor", expect=1)
    told = _refused(tenure)
    assert "newer Tenure" in told
    assert told.count("error:") == 1, told
    with sqlite3.connect(tmp_path / "data" / "control.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_damaged_trace_store_is_one_clear_line(tmp_path: Path) -> None:
    tenure = Installation(tmp_path / "data")
    tenure.folder.mkdir()
    (tenure.folder / "traces.duckdb").write_bytes(b"no trace store" * 50)
    assert "traces.duckdb is damaged" in tenure.run("doctor", expect=1)
    told = _refused(tenure)
    assert told.startswith("error: ")
    assert "move it away" in told


def test_doctor_looks_for_the_trace_store_where_the_settings_say_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        config = Config(traces=f"clickhouse://me@127.0.0.1:{port}/t", traces_key="NOT_SET_FOR_SURE")
        listens, unset = (one for one in reversed(list(examine(config))) if one.check == "trace store")
        assert (listens.level, unset.level) == ("ok", "note")
        assert "NOT_SET_FOR_SURE" in unset.found
    gone = [one.found for one in examine(config) if one.level == "problem" and one.check == "trace store"]
    assert gone == [f"nothing listens at 127.0.0.1:{port}"]


def test_two_on_one_folder_is_refused(tmp_path: Path) -> None:
    with Installation(tmp_path / "data") as tenure:
        second = Installation(tmp_path / "data")
        assert "Another `tenure up`" in _refused(second)
        assert tenure.up is not None
        assert tenure.up.status() is None


def test_doctor_says_what_is_wrong_and_how_to_mend_it(tmp_path: Path) -> None:
    tenure = Installation(tmp_path / "data")
    before = json.loads(tenure.run("doctor", "--json"))
    assert {"check": "control plane", "level": "note"}.items() <= _named(before, "control plane").items()
    with tenure:
        healthy = json.loads(tenure.run("doctor", "--json"))
        (told,) = [finding for finding in healthy if finding["level"] != "ok"]
        assert (told["check"], told["level"]) == ("notifications", "note"), "nobody was named yet"
        (tmp_path / "data" / "operator.token").chmod(0o644)
        told = tenure.run("doctor", expect=1)
        assert "chmod 600" in told
        (tmp_path / "data" / "operator.token").chmod(0o600)
    port = free_port(0)
    with socket.create_server(("127.0.0.1", port)):
        tenure.env["TENURE_CONTROL_PORT"] = str(port)
        assert "another program" in tenure.run("doctor", expect=1)


def _named(findings: list[dict[str, str]], check: str) -> dict[str, str]:
    return next(finding for finding in findings if finding["check"] == check)


@pytest.mark.parametrize("name", ["control", "gateway"])
def test_a_killed_process_is_started_again(tmp_path: Path, name: str) -> None:
    with Installation(tmp_path / "data") as tenure:
        killed = tenure.child(name)
        killed.kill()
        port = tenure.control_port if name == "control" else tenure.gateway_port
        until(lambda: not killed.is_running() or killed.status() == "zombie", "the kill")
        until(lambda: tenure.pid(name) not in (0, killed.pid) and listening(port), f"the {name} to come back", 30)
        assert tenure.up is not None
        assert any(f"{name} ended" in line for line in tenure.up.lines)


def test_nothing_goes_on_serving_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    tenure = Installation(tmp_path / "data")
    up = tenure.start()
    children = [tenure.child("control"), tenure.child("gateway")]
    os.kill(up.pid, signal.SIGKILL)
    up.wait(10)
    until(lambda: not any(child.is_running() for child in children), "the children to end")
