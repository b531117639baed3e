"""kill -9 of either process while agents work: no acknowledged Event is lost, none is doubled, both recover."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import Process, free_port, listening, until
from tests.sim.installation import Installation, clean_environment
from tests.sim.manifests import manifest

# A gateway acknowledges an Event when its batch is on disk, milliseconds after the call (more on a busy machine). An
# answer this close to a kill may be of a call that the killed process had not acknowledged; every other is on record.
SETTLED_S = 1.0


@pytest.fixture
def model() -> Iterator[str]:
    port = free_port(0)
    process = Process((sys.executable, "-m", "demo.model", str(port)), clean_environment())
    until(lambda: listening(port), "the model server")
    yield f"http://127.0.0.1:{port}/v1"
    process.stop()


class Worker(threading.Thread):
    """Calls the model through the gateway, a session a call, and notes when each was answered."""

    def __init__(self, tenure: Installation, token: str, name: str) -> None:
        super().__init__(daemon=True)
        self.answered: dict[str, float] = {}
        self.refused = 0
        self._tenure, self._token, self._name = tenure, token, name
        self.enough = threading.Event()

    def run(self) -> None:
        """Until ``enough`` is set."""
        url = f"{self._tenure.gateway}/v1/chat/completions"
        body = {"model": "scripted-clerk", "messages": [{"role": "user", "content": "go on"}]}
        number = 0
        while not self.enough.is_set():
            number += 1
            session = f"{self._name}-{number}"
            headers = {"Authorization": f"Bearer {self._token}", "x-tenure-session": session}
            try:
                answer = httpx2.post(url, json=body, headers=headers, timeout=60)
            except httpx2.TransportError:
                time.sleep(0.05)  # the gateway is being started again
                continue
            if answer.status_code == 200:
                self.answered[session] = time.monotonic()
            else:
                self.refused += 1
            time.sleep(0.005)


def _back(tenure: Installation, name: str, killed: int, port: int) -> bool:
    return tenure.pid(name) not in (0, killed) and listening(port)


def _acknowledged(tenure: Installation) -> int:
    """How many Events the running gateway has on disk, as it says itself."""
    return int(httpx2.get(f"{tenure.gateway}/healthz", timeout=60).json()["events"]["durable"])


def _answered(workers: list[Worker]) -> int:
    return sum(len(worker.answered) for worker in workers)


def _recorded(tenure: Installation) -> Counter[str]:
    """How many calls the trace store has of each session."""
    return Counter(event["session"] for event in _told(tenure) if event["type"] == "call.completed")


def _told(tenure: Installation) -> list[dict[str, Any]]:
    """Every Event that a gateway made: calls, and what was refused before it was one (while it had no facts yet)."""
    found: list[dict[str, Any]] = []
    after = 0
    with tenure.client() as client:
        while True:
            page = client.get("/v1/events", dict[str, Any], limit=500, after=after)
            if not page["events"]:
                return [event for event in found if event["type"].startswith(("call.", "request."))]
            found += [item["event"] for item in page["events"]]
            after = page["events"][-1]["seq"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["gateway", "control"])
def test_no_acknowledged_event_is_lost_when_a_process_is_killed(tmp_path: Path, model: str, name: str) -> None:
    with Installation(tmp_path / "data") as tenure:
        tenure.employ(manifest("worker", model))
        workers = [Worker(tenure, tenure.instance("worker")["token"], f"w{n}") for n in range(3)]
        for worker in workers:
            worker.start()
        killed_at: list[float] = []
        acknowledged = 0
        for _ in range(2):
            time.sleep(1.5)
            victim = tenure.child(name)
            if name == "gateway":  # by its own count, which begins anew with each process
                acknowledged += _acknowledged(tenure)
            killed_at.append(time.monotonic())
            victim.kill()
            port = tenure.gateway_port if name == "gateway" else tenure.control_port
            until(partial(_back, tenure, name, victim.pid, port), "the restart", 30)
        seen = _answered(workers)
        until(lambda: _answered(workers) > seen + 30, "calls to pass again", 30)
        for worker in workers:
            worker.enough.set()
            worker.join(15)
        answered = {session: at for worker in workers for session, at in worker.answered.items()}
        must = {
            session
            for session, at in answered.items()
            if name == "control" or not any(abs(killed - at) < SETTLED_S for killed in killed_at)
        }
        assert len(must) > 30
        until(lambda: must <= set(_recorded(tenure)), "the record to be whole", 30)
        recorded = _recorded(tenure)
        assert max(recorded.values()) == 1, "an Event was doubled"
        acknowledged += _acknowledged(tenure)
        until(lambda: len(_told(tenure)) >= acknowledged, "all that was acknowledged to be told", 30)
        assert '"ok": true' in tenure.run("audit", "verify", "--json")
