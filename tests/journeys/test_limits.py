"""A limit over three gateways under load, one of which is killed: never more than the bound, and nothing is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import Process, free_port, listening, until
from tests.sim.installation import Installation, clean_environment
from tests.sim.manifests import manifest

CALLS = 300
LEASE = CALLS // 10  # what a gateway is granted at most


@pytest.fixture
def model() -> Iterator[str]:
    port = free_port(0)
    process = Process((sys.executable, "-m", "demo.model", str(port)), clean_environment())
    until(lambda: listening(port), "the model server")
    yield f"http://127.0.0.1:{port}/v1"
    process.stop()


class Replica:
    """A further gateway of an installation, with a folder of its own."""

    def __init__(self, tenure: Installation, folder: Path) -> None:
        self.port = free_port(0)
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gateway.token").write_text((tenure.folder / "gateway.token").read_text())
        self._env = {**tenure.env, "TENURE_DATA": str(folder), "TENURE_GATEWAY_PORT": str(self.port)}
        self.start()

    def start(self) -> None:
        self.process = Process((sys.executable, "-m", "tenure.gateway"), self._env)
        until(self._ready, "a gateway", 30)

    def _ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/healthz", timeout=2, trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False


class Worker(threading.Thread):
    """Calls the model through one gateway as fast as it is answered, until told otherwise."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(daemon=True)
        self.url, self.token = url, token
        self.answered = self.cut = 0
        self.refusals: list[httpx2.Response] = []
        self.enough = threading.Event()

    def run(self) -> None:
        body = {"model": "scripted-clerk", "messages": [{"role": "user", "content": "go on"}], "max_tokens": 10}
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx2.Client(headers=headers, timeout=20, trust_env=False) as client:
            while not self.enough.is_set():
                try:
                    answer = client.post(f"{self.url}/v1/chat/completions", json=body)
                except httpx2.TransportError:
                    self.cut += 1
                    time.sleep(0.1)  # the gateway is being started again
                    continue
                if answer.status_code == 200:
                    self.answered += 1
                else:
                    self.refusals.append(answer)
                    time.sleep(0.1)


def _limit(tenure: Installation) -> dict[str, Any]:
    with tenure.client() as client:
        return client.get("/v1/limits", list[dict[str, Any]])[0]


@pytest.mark.req("R035", "R110")
@pytest.mark.timeout(240)
def test_a_limit_holds_over_replicas_and_a_killed_one(tmp_path: Path, model: str) -> None:
    with Installation(tmp_path / "data") as tenure:
        tenure.employ(manifest("worker", model, limits=[{"calls": CALLS, "per": "day"}]))
        replicas = [Replica(tenure, tmp_path / name) for name in ("second", "third")]
        token = tenure.instance("worker")["token"]
        workers = [Worker(url, token) for url in (tenure.gateway, *(one.url for one in replicas)) for _ in range(2)]
        try:
            for worker in workers:
                worker.start()
            until(lambda: sum(worker.answered for worker in workers) > CALLS // 3, "a third of the calls")
            os.kill(replicas[0].process.pid, signal.SIGKILL)
            replicas[0].process.wait(10)
            replicas[0].start()
            until(lambda: all(worker.refusals for worker in workers), "all to be refused", 60)
            # What the killed gateway had left comes back when its lease is over, and is used.
            until(lambda: sum(worker.answered for worker in workers) >= CALLS - 2, "the rest", 90)
            time.sleep(2)
        finally:
            for worker in workers:
                worker.enough.set()
            for worker in workers:
                worker.join(20)
            for one in replicas:
                one.process.stop()
        answered = sum(worker.answered for worker in workers)
        assert answered <= CALLS + LEASE
        refusal = workers[0].refusals[-1]
        assert refusal.status_code == 429
        assert refusal.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refusal.headers["retry-after"]) > 0
        until(lambda: _limit(tenure)["accounts"][0]["percent"] == 100, "all to be told")
        with tenure.client() as client:
            told = client.get("/v1/events", dict[str, Any], type="limits.reached", limit=500)
        events = [item["event"] for item in told["events"]]
        marks = [one["data"]["percent"] for one in events if one["type"] == "limits.reached"]
        assert marks == [80, 100]
