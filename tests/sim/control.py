"""A control plane for gateways under test: the Snapshot stream and the Event intake over real HTTP, in a thread.

It keeps the contract and nothing else: pushes Deltas, beats every 0.2 s, takes Events, claims approvals atomically.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
from joserfc.jwk import ECKey

from tenure.base.sealing import HEADER, seal_for
from tenure.identity.model import AUDIENCE, agent_claims, sign
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import AgentFact, ApprovalFact, SecretFact, Snapshot, WorkspaceFact, difference
from tenure.kernel.values import Principal
from tenure.policy.model import compile_bundle
from tests.sim.histories import HistoryBook
from tests.sim.ledger import Ledger
from tests.sim.pins import pinned

ISSUER = "http://control.test"
_BEAT_S = 0.2
_FACTS = tuple(field.name for field in fields(Snapshot) if field.name not in ("version", "issued_at"))
_CHUNK = b"%x\r\n%s\r\n"


class ControlSim:
    """``policies``: (file name, Cedar text) pairs of workspace "default". ``data_dir`` gets the gateway's token."""

    def __init__(self, data_dir: Path, policies: tuple[tuple[str, str], ...], *, max_age_s: float = 15.0) -> None:
        key = ECKey.generate_key("P-256", {"kid": "k1"})
        self.key: Mapping[str, Any] = dict(key.as_dict(private=True))
        data_dir.mkdir(parents=True, exist_ok=True)
        (data_dir / "gateway.token").write_text("gateway-secret\n")
        self.snapshot = Snapshot(
            version=1,
            issued_at=datetime.now(UTC),
            max_age_s=max_age_s,
            keys={"k1": dict(key.as_dict(private=False))},
            issuer=ISSUER,
            workspaces={"default": _workspace(policies)},
        )
        self.first = self.snapshot
        self.events: list[dict[str, Any]] = []
        self.confirmed: dict[str, int] = {}  # gateway -> version
        self.beating = True
        self.intake_status = 200
        self.intake_s = 0.0  # seconds that one request takes, whatever becomes of it
        self.hanging = False  # takes requests and answers none while this holds
        self.ledger: Ledger | None = None  # keeps the accounts of limits, where a test has some
        self.histories = HistoryBook()
        self.discarding = False  # acknowledges without reading, for measurements of the gateway alone
        self._changed = threading.Condition()
        self._writers: dict[asyncio.StreamWriter, str] = {}
        self._values: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._loop.is_closed():
            return  # a test has ended it already, as part of its story
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(10)
        self._loop.close()

    # -- what a test says
    def token(self, agent: str, *, ttl_s: float = 600.0, epoch: int = 1, issued: float = 0.0, **more: Any) -> str:
        """A credential of ``agent``, signed by this control plane."""
        now = issued or time.time()
        values = {"release": "sha256:r1", "instance": "i1", "session": "s1", **more}
        principal = Principal("default", agent, credential_epoch=epoch, expires_at=now + ttl_s, **values)
        claims = agent_claims(principal, issuer=ISSUER, audience=AUDIENCE, issued_at=now, jti=new_id())
        return sign(claims, self.key)

    def agent(self, fact: AgentFact) -> None:
        """Publishes an agent."""
        self.change(agents={**self.snapshot.agents, f"{fact.workspace}/{fact.name}": fact})

    def policies(self, policies: tuple[tuple[str, str], ...]) -> None:
        """Publishes other policies."""
        self.change(workspaces={"default": _workspace(policies)})

    def approval(self, approval_id: str, state: str, **more: Any) -> None:
        """Changes the state of an approval, as a person's decision or time does."""
        fact = replace(self.snapshot.approvals[approval_id], state=state, **more)
        self.change(approvals={**self.snapshot.approvals, approval_id: fact})

    def change(self, **facts: Any) -> None:
        """Publishes the Snapshot with ``facts`` replaced."""
        asyncio.run_coroutine_threadsafe(self._change(facts), self._loop).result(60)

    def reset(self) -> None:
        """Publishes the facts that it began with."""
        self._values = {}
        self.change(**{name: getattr(self.first, name) for name in _FACTS})

    def secrets(self, values: Mapping[str, str], facts: Mapping[str, SecretFact]) -> None:
        """Publishes secrets: their values by mark, and their facts."""
        self._values = {**self._values, **values}
        self.change(credentials=facts)

    def cut(self) -> None:
        """Breaks off every Snapshot stream."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(60)

    def forget(self) -> None:
        """Skips a version, as if a Delta had been lost, so that the next one has a base the gateway does not have."""
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1)

    def wait(self, found: Callable[[list[dict[str, Any]]], Any], seconds: float = 10.0) -> Any:
        """What ``found`` returns of the Events so far, as soon as it is true."""
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                result = found(self.events)
                if result:
                    return result
                left = end - time.monotonic()
                assert left > 0, f"not seen in {[event['type'] for event in self.events]}"
                self._changed.wait(left)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The Events of a type that have arrived."""
        return [event for event in self.events if event["type"] == kind]

    # -- the server
    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        self._beat = asyncio.create_task(self._beats())
        self._started.set()

    def _stop(self) -> None:
        self._server.close()
        self._beat.cancel()
        for writer in self._writers:
            writer.transport.abort()
        self._loop.call_later(0.02, self._loop.stop)

    async def _change(self, facts: dict[str, Any]) -> None:
        old = self.snapshot
        self.snapshot = replace(old, version=old.version + 1, issued_at=datetime.now(UTC), **facts)
        self._push({"delta": difference(old, self.snapshot), "confirm": True})

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            if self.beating:
                self._push({"delta": difference(self.snapshot, self.snapshot), "confirm": True})

    def _push(self, frame: Mapping[str, Any]) -> None:
        for writer in tuple(self._writers):
            self._tell(writer, frame)

    def _tell(self, writer: asyncio.StreamWriter, frame: Mapping[str, Any]) -> None:
        told = frame.get("snapshot") or frame["delta"]
        sealed = seal_for(self._writers[writer], msgspec.json.encode(self._values)) if told.credentials else None
        line = msgspec.json.encode({**frame, "sealed": sealed}) + b"\n"
        writer.write(_CHUNK % (len(line), line))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lines = [line.partition(":") for line in head.split("\r\n")[1:]]
                headers = {name.lower(): value.strip() for name, _, value in lines if name}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if head.startswith("POST /internal/v1/events"):
                    await self._linger()
                if headers.get("authorization") != "Bearer gateway-secret":
                    _answer(writer, 401, b"{}")
                elif head.startswith("GET /internal/v1/snapshot"):
                    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    self._writers[writer] = headers[HEADER]
                    self._tell(writer, {"snapshot": self.snapshot, "confirm": True})
                    await reader.read(1)
                    break
                elif "/snapshot/confirmed" in head:
                    told = msgspec.json.decode(body)
                    with self._changed:
                        self.confirmed[told["gateway"]] = told["version"]
                        self._changed.notify_all()
                    _answer(writer, 200, b"{}")
                elif self.intake_status != 200:
                    _answer(writer, self.intake_status, b"{}")
                else:
                    if not self.discarding:
                        self._take(body)
                    _answer(writer, 200, b'{"accepted": 1}')
        self._writers.pop(writer, None)
        writer.close()

    async def _linger(self) -> None:
        await asyncio.sleep(self.intake_s)
        while self.hanging:  # noqa: ASYNC110 (another thread says when it is over)
            await asyncio.sleep(0.01)

    def _take(self, body: bytes) -> None:
        events = [msgspec.json.decode(line) for line in body.splitlines()]
        for event in events:
            data = event["data"]
            if event["type"] == "tool.seen":
                key = f"{event['workspace']}/{event['agent']}"
                self._settle(agents={**self.snapshot.agents, key: pinned(self.snapshot.agents[key], data)})
            elif event["type"] == "approval.requested":
                fact = ApprovalFact(
                    id=data["approval_id"],
                    workspace=event["workspace"],
                    agent=event["agent"],
                    resource=data["resource"],
                    digest=data["digest"],
                    grounds=data["grounds"],
                    state="pending",
                )
                self._settle(approvals={**self.snapshot.approvals, fact.id: fact})
            elif event["type"] == "breaker.trial":
                self._try(event["workspace"], data)
            elif event["type"] == "approval.claimed":
                known = self.snapshot.approvals.get(data["approval_id"])
                if known is not None and known.state == "granted":
                    claimed = replace(known, state="claimed", claim=data["claim"])
                    self._settle(approvals={**self.snapshot.approvals, known.id: claimed})
        if self.ledger is not None:
            asked = [self.ledger.take(event["type"], event["data"]) for event in events]
            if any(asked):
                self._settle(leases=self.ledger.facts())
        heard = [self.histories.take(event["type"], event["data"]) for event in events]
        if any(heard):
            self._settle(histories=self.histories.facts())
        with self._changed:
            self.events.extend(events)
            self._changed.notify_all()

    def _try(self, workspace: str, data: dict[str, Any]) -> None:
        """Lets a call pass the half-open breakers that it asks to pass, if all of them have a place left."""
        breakers, agents = dict(self.snapshot.breakers), dict(self.snapshot.agents)
        for one in data["breakers"]:
            key, agent = f"{workspace}/{one['scope']}/{one['name']}", f"{workspace}/{one['name']}"
            own = one["scope"] == "agent"
            fact = agents[agent].breaker if own else breakers[key]
            if fact.epoch != one["epoch"] or len(fact.tried) >= fact.trials:
                return
            fact = replace(fact, tried=(*fact.tried, data["call_id"]))
            if own:
                agents[agent] = replace(agents[agent], breaker=fact)
            else:
                breakers[key] = fact
        self._settle(agents=agents, breakers=breakers)

    def _settle(self, **facts: Any) -> None:
        old = self.snapshot
        self.snapshot = replace(old, version=old.version + 1, **facts)
        self._push({"delta": difference(old, self.snapshot)})


def _workspace(policies: tuple[tuple[str, str], ...]) -> WorkspaceFact:
    return WorkspaceFact("default", compile_bundle(policies).version, policies)


def _answer(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
