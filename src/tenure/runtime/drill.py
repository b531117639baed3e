"""The drill of rotation: everything that signs or is shown is replaced under live load, through a door like that of
``tenure run``, and what became of every call is kept as evidence."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from tenure.client import Client
from tenure.runtime.door import Door
from tenure.runtime.renew import Renewer
from tenure.runtime.tend import Tender

_TIMEOUT_S = 60.0


@dataclass
class Load:
    """Calls through a door, ``each`` after the other in several threads, until ``stop``. ``model``: what is asked for
    one word; empty to have the models listed only."""

    door: Door
    model: str
    answers: Counter[str] = field(default_factory=Counter)
    _going: bool = True

    def run(self) -> None:
        """One thread's calls."""
        headers = {"authorization": f"Bearer {self.door.key}"}
        with httpx2.Client(base_url=self.door.gateway, headers=headers, timeout=_TIMEOUT_S, trust_env=False) as http:
            while self._going:
                self.answers[self._ask(http)] += 1

    def _ask(self, http: httpx2.Client) -> str:
        body = {"model": self.model, "messages": [{"role": "user", "content": "Say one word."}], "max_tokens": 5}
        try:
            answer = http.post("/v1/chat/completions", json=body) if self.model else http.get("/v1/models")
        except httpx2.TransportError as error:
            return type(error).__name__
        return "ok" if answer.status_code == 200 else f"status {answer.status_code}: {answer.text[:200]}"

    def stop(self) -> None:
        """No further ones."""
        self._going = False


def drill(  # noqa: PLR0917 (each is an option of the command)
    connect: Callable[[], Client], agent: str, model: str, seconds: float, every_s: float, threads: int
) -> dict[str, Any]:
    """Runs the drill for so many seconds, with a rotation of each kind every ``every_s``, and returns the evidence.
    Raises Refused and Failed as the verbs do."""
    began = datetime.now(UTC)
    with connect() as client:
        started = client.post(f"/v1/agents/{agent}/instances", dict[str, Any], {"renewed": True})
    door = Door(started["gateway_url"], started["control_url"], started["token"])
    tokens = [0]

    def take(token: str) -> None:
        door.token = token
        tokens[0] += 1

    issued, expires = (datetime.fromisoformat(started[name]).timestamp() for name in ("issued_at", "expires_at"))
    renewer = Renewer(connect, started["instance"], None, issued, expires, take)
    ended: list[str] = []
    tender = Tender(connect, started["instance"], ended.append, lambda _text: None, renewer.renew)
    load = Load(door, model)
    workers = [threading.Thread(target=load.run, daemon=True) for _ in range(threads)]
    rotations: list[dict[str, Any]] = []
    renewer.start()
    tender.start()
    try:
        for worker in workers:
            worker.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until and not ended:
            rotations += _rotate(connect, agent, overlap_s=max(1, int(every_s)))
            time.sleep(every_s)
    finally:
        load.stop()
        for worker in workers:
            worker.join(_TIMEOUT_S)
        renewer.stop()
        tender.finish(0)
    failed = {what: count for what, count in load.answers.items() if what != "ok"}
    return {
        "drill": "rotation",
        "began": began.isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "agent": agent,
        "instance": started["instance"],
        "calls": load.answers.total(),
        "failed": sum(failed.values()),
        "failures": failed,
        "stopped_early": ended,
        "tokens_taken": 1 + tokens[0],
        "rotations": rotations,
    }


def _rotate(connect: Callable[[], Client], agent: str, *, overlap_s: int) -> list[dict[str, Any]]:
    out = []
    with connect() as client:
        made = client.post("/v1/keys/rotate", dict[str, Any])
        out.append({"what": "keys", "at": datetime.now(UTC).isoformat(), "kid": made["kid"]})
        wish = {"overlap_s": overlap_s, "reason": "a drill"}
        told = client.post(f"/v1/agents/{agent}/credentials/rotate", dict[str, Any], wish)
        out.append({"what": "credentials", "at": told["before"], "good_until": told["good_until"]})
    return out


def keep(evidence: dict[str, Any], folder: Path) -> Path:
    """Writes the evidence to a dated file of ``folder``."""
    path = folder / f"drill-rotation-{evidence['began'][:19].replace(':', '')}.json"
    path.write_text(json.dumps(evidence, indent=2) + "\n", encoding="utf-8")
    return path
