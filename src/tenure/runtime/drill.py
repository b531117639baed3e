"""The drill of rotation: everything that signs or is shown is replaced under live load, through a door like that of
``tenure run``, while tokens are issued all through it, and what became of every call and token is kept as evidence."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tenure.client import Client
from tenure.kernel.errors import Refused
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


class Verifier:
    """Somebody elsewhere who checks tokens by the published key set, and asks for it again when the answer before says
    that it has become old, and never sooner: also not for a key that it does not know."""

    def __init__(self, control: str) -> None:
        self._where = f"{control}/.well-known/jwks.json"
        self._keys = KeySet([])
        self._until = 0.0

    def check(self, token: str) -> str:
        """The id of the key that signed ``token``. Raises JoseError and ValueError for one that does not hold."""
        if time.monotonic() >= self._until:
            answer = httpx2.get(self._where, timeout=_TIMEOUT_S, trust_env=False)
            age = re.search(r"max-age=(\d+)", answer.headers.get("cache-control", ""))
            self._keys = KeySet.import_key_set(answer.json())
            self._until = time.monotonic() + (int(age.group(1)) if age else 0)
        return str(jwt.decode(token, self._keys, algorithms=["ES256"]).header["kid"])


@dataclass
class Issuing:
    """New tokens of an instance, one after the other, until ``stop``: each is shown at the gateway and to a verifier
    elsewhere as soon as it is there. ``answers`` counts what became of them, ``kids`` the keys that signed them."""

    connect: Callable[[], Client]
    started: dict[str, Any]
    answers: Counter[str] = field(default_factory=Counter)
    kids: Counter[str] = field(default_factory=Counter)
    _going: bool = True

    def run(self) -> None:
        """The thread."""
        verifier = Verifier(self.started["control_url"])
        with (
            self.connect() as client,
            httpx2.Client(base_url=self.started["gateway_url"], timeout=_TIMEOUT_S, trust_env=False) as http,
        ):
            while self._going:
                self.answers[self._one(client, http, verifier)] += 1

    def _one(self, client: Client, http: httpx2.Client, verifier: Verifier) -> str:
        try:
            token = client.post(f"/v1/instances/{self.started['instance']}/token", dict[str, Any])["token"]
            self.kids[verifier.check(token)] += 1
            answer = http.get("/v1/models", headers={"authorization": f"Bearer {token}"})
        except (Refused, httpx2.TransportError, JoseError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:200]
        return "ok" if answer.status_code == 200 else f"status {answer.status_code}: {answer.text[:200]}"

    def stop(self) -> None:
        """No further ones."""
        self._going = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: for so many ``seconds``, a rotation of each kind every ``every_s``, under calls of ``threads`` at
    once. ``secret``: the upstream secret to rotate too (empty: none); ``values``: the command that prints its next
    value, which the upstream believes by then."""

    agent: str
    model: str = ""
    seconds: float = 30.0
    every_s: float = 5.0
    threads: int = 4
    secret: str = ""
    values: str = ""


def drill(connect: Callable[[], Client], plan: Plan) -> dict[str, Any]:
    """Runs the drill and returns the evidence. Raises Refused and Failed as the verbs do."""
    if bool(plan.secret) != bool(plan.values):
        raise Refused("bad_drill", "A secret needs the command that makes its next value.", fix="Give both, or none.")
    began = datetime.now(UTC)
    with connect() as client:
        started = client.post(f"/v1/agents/{plan.agent}/instances", dict[str, Any], {"renewed": True})
    door = Door(started["gateway_url"], started["control_url"], started["token"])
    tokens = [0]

    def take(token: str) -> None:
        door.token = token
        tokens[0] += 1

    issued, expires = (datetime.fromisoformat(started[name]).timestamp() for name in ("issued_at", "expires_at"))
    renewer = Renewer(connect, started["instance"], None, issued, expires, take)
    ended: list[str] = []
    tender = Tender(connect, started["instance"], ended.append, lambda _text: None, renewer.renew)
    load, issuing = Load(door, plan.model), Issuing(connect, started)
    work = [load.run] * plan.threads + [issuing.run]
    workers = [threading.Thread(target=run, daemon=True) for run in work]
    rotations: list[dict[str, Any]] = []
    renewer.start()
    tender.start()
    try:
        for worker in workers:
            worker.start()
        until = time.monotonic() + plan.seconds
        while time.monotonic() < until and not ended:
            rotations += _rotate(connect, plan, rotations)
            time.sleep(plan.every_s)
    finally:
        load.stop()
        issuing.stop()
        for worker in workers:
            worker.join(_TIMEOUT_S)
        renewer.stop()
        tender.finish(0)
    failed, refused = _failures(load.answers), _failures(issuing.answers)
    return {
        "drill": "rotation",
        "began": began.isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "agent": plan.agent,
        "instance": started["instance"],
        "calls": load.answers.total(),
        "failed": sum(failed.values()),
        "failures": failed,
        "stopped_early": ended,
        "tokens_taken": 1 + tokens[0],
        "tokens_issued": issuing.answers.total(),
        "tokens_refused": sum(refused.values()),
        "refusals": refused,
        "tokens_by_key": dict(issuing.kids),
        "rotations": rotations,
    }


def _failures(answers: Counter[str]) -> dict[str, int]:
    return {what: count for what, count in answers.items() if what != "ok"}


def _rotate(connect: Callable[[], Client], plan: Plan, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out = []
    with connect() as client:
        made = client.post("/v1/keys/rotate", dict[str, Any])
        if made["kid"] not in {one.get("kid") for one in before}:  # one whose turn has not come yet is told again
            out.append({"what": "keys", "at": _now(), "kid": made["kid"], "signs_at": made["signs_at"]})
        wish = {"overlap_s": max(1, int(plan.every_s)), "reason": "a drill"}
        told = client.post(f"/v1/agents/{plan.agent}/credentials/rotate", dict[str, Any], wish)
        out.append({"what": "credentials", "at": told["before"], "good_until": told["good_until"]})
        if plan.secret:
            body = {"value": _next_value(plan.values), "overlap_s": max(60, int(plan.every_s))}
            secret = client.post(f"/v1/secrets/{plan.secret}/rotate", dict[str, Any], body)
            out.append({"what": "secret", "at": _now(), "secret": plan.secret, "version": secret["version"]})
    return out


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _next_value(command: str) -> str:
    """What the command prints, which is told to nobody: neither its output nor its complaints are in an error."""
    done = subprocess.run(shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    value = done.stdout.strip()
    if done.returncode != 0 or not value:
        raise Refused(
            "no_new_value",
            f"The command that makes the secret's next value ended with {done.returncode} and printed "
            f"{'something' if value else 'nothing'}.",
            fix="It is to print the value and nothing else, and to end with 0.",
        )
    return value


def keep(evidence: dict[str, Any], folder: Path) -> Path:
    """Writes the evidence to a dated file of ``folder``."""
    path = folder / f"drill-rotation-{evidence['began'][:19].replace(':', '')}.json"
    path.write_text(json.dumps(evidence, indent=2) + "\n", encoding="utf-8")
    return path
