"""A trace store whose disk is full and a control plane that hangs: agents work on, what must stop stops, and all that
was kept is there when it is over."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import Process, free_port, listening, until
from tests.sim.disks import small_disk
from tests.sim.installation import Installation, clean_environment
from tests.sim.manifests import manifest

LETTER = "x" * 100_000


@pytest.fixture
def model() -> Iterator[str]:
    port = free_port(0)
    process = Process((sys.executable, "-m", "demo.model", str(port)), clean_environment())
    until(lambda: listening(port), "the model server")
    yield f"http://127.0.0.1:{port}/v1"
    process.stop()


def call(tenure: Installation, token: str, session: str, text: str = "go on", model: str = "scripted-clerk") -> int:
    """The status of one model call."""
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    headers = {"Authorization": f"Bearer {token}", "x-tenure-session": session}
    return httpx2.post(f"{tenure.gateway}/v1/chat/completions", json=body, headers=headers, timeout=20).status_code


def recorded(tenure: Installation) -> list[str]:
    """The session of every call in the trace store, in order."""
    found: list[str] = []
    after = 0
    with tenure.client() as client:
        while True:
            page = client.get("/v1/events", dict[str, Any], type="call.completed", limit=200, after=after)
            found += [item["event"]["session"] for item in page["events"]]
            if not page["events"]:
                return found
            after = page["events"][-1]["seq"]


def recording(tenure: Installation) -> dict[str, Any]:
    """What the API says of the record."""
    with tenure.client() as client:
        return client.get("/v1/recording", dict[str, Any])


@pytest.mark.req("R079", "R090")
@pytest.mark.timeout(240)
def test_a_trace_store_without_room_stops_no_call_and_no_enforcement(tmp_path: Path, model: str) -> None:
    folder = tmp_path / "data"
    with small_disk(folder, "24m") as disk:
        (tmp_path / "spool").mkdir()
        (folder / "spool").symlink_to(tmp_path / "spool")  # these two have disks of their own
        settings = {"TENURE_DATABASE_URL": f"sqlite:///{tmp_path / 'control.db'}"}
        with Installation(folder, settings) as tenure:
            limited = {"breaker": {"threshold": 3, "window_s": 600}}
            for name in ("worker", "intruder"):
                tenure.employ(manifest(name, model, **limited))
            worker, intruder = (tenure.instance(name)["token"] for name in ("worker", "intruder"))
            assert call(tenure, worker, "s0") == 200
            until(lambda: recorded(tenure) == ["s0"], "the first call to be recorded")
            disk.fill()
            made = [f"s{number}" for number in range(1, 61)]
            assert {call(tenure, worker, session, LETTER) for session in made} == {200}
            until(lambda: bool(recording(tenure)["problem"]), "the trace store to say that it takes nothing")
            assert recording(tenure)["behind"] > 0
            findings = json.loads(tenure.run("doctor", "--json", expect=1))
            assert any(finding["check"] == "trace store" and finding["level"] == "problem" for finding in findings)
            # What must stop stops: the breaker's consumer, the Snapshot and the audit log need no trace store.
            assert [call(tenure, intruder, "bad", model="another") for _ in range(3)] == [403] * 3
            assert call(tenure, intruder, "bad") == 403
            with tenure.client() as client:
                until(
                    lambda: any(
                        one["name"] == "intruder" and one["tripped"]
                        for one in client.get("/v1/breakers", list[dict[str, Any]])
                    ),
                    "the control plane to know of the trip",
                )
            tenure.move("worker", "suspended")
            until(lambda: call(tenure, worker, "late") in (401, 403), "the suspension to reach the gateway")
            assert '"ok": true' in tenure.run("audit", "verify", "--json")
            disk.clear()
            until(lambda: recording(tenure)["problem"] == "" and recording(tenure)["behind"] == 0, "it to catch up", 60)
            assert [session for session in recorded(tenure) if session != "late"] == [
                "s0",
                *made,
            ]  # which came before it
            assert recording(tenure)["lost"] == 0


@pytest.mark.req("R079", "R090")
@pytest.mark.timeout(240)
def test_a_control_plane_that_hangs_costs_no_call_and_no_event(tmp_path: Path, model: str) -> None:
    with Installation(tmp_path / "data", {"TENURE_SNAPSHOT_MAX_AGE": "120"}) as tenure:
        tenure.employ(manifest("worker", model))
        token = tenure.instance("worker")["token"]
        assert call(tenure, token, "s0") == 200
        control = tenure.child("control")
        control.send_signal(signal.SIGSTOP)
        try:
            made = [f"s{number}" for number in range(1, 51)]
            assert {call(tenure, token, session) for session in made} == {200}
        finally:
            control.send_signal(signal.SIGCONT)
        until(lambda: recorded(tenure) == ["s0", *made], "the record to be whole", 60)
