"""The MCP end of a gateway on a real socket, with the real pipeline and spool; the control plane's part (approvals, the
Snapshot, the Events' inbox) is played by ``Site`` in the same process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from joserfc.jwk import ECKey
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client

from tenure.base.bounds import variables
from tenure.gateway.firstuse import FirstUse
from tenure.gateway.keychain import Keychain
from tenure.gateway.mcp.connection import Limits
from tenure.gateway.mcp.handler import McpHandler
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.server import Limits as ServerLimits
from tenure.gateway.server import Server
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.identity.model import AUDIENCE, agent_claims, sign
from tenure.kernel.drafts import DraftFact
from tenure.kernel.snapshot import AgentFact, ApprovalFact, SecretFact, ServerFact, Snapshot, ToolFact, WorkspaceFact
from tenure.kernel.values import Event, LifecycleState, Principal
from tenure.policy.model import Bundle, compile_bundle
from tests.sim.histories import HistoryBook
from tests.sim.pins import pinned

POLICY = """
@id("granted") permit(principal, action == Action::"call_tool", resource) when { principal.tools.contains(resource) };
@id("no-secrets") @reason("Files named secret are nobody's business.")
forbid(principal, action == Action::"call_tool", resource == Tool::"files/read_file")
when { context.strings.hasTag("name") && context.strings.getTag("name") like "secret*" };
@id("large-refunds") @obligation("approve") @reason("Refunds above 100.00 need a person.")
forbid(principal, action == Action::"call_tool", resource == Tool::"database/refund")
unless { context.approved || (context.longs.hasTag("cents") && context.longs.getTag("cents") <= 10000) };
"""
ISSUER = "http://control.test"
_KEY = ECKey.generate_key("P-256", {"kid": "k1"})
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def token(
    agent: str,
    instance: str = "i1",
    epoch: int = 0,
    person: str | None = None,
    scopes: tuple[str, ...] = (),
    **more: Any,
) -> str:
    """A credential of an agent in the workspace ``default``, at work for a ``person``, limited to ``scopes``."""
    now = time.time()
    principal = Principal("default", agent, "sha256:r", instance, f"s-{instance}", epoch, person, expires_at=now + 600)
    principal = replace(principal, **more)
    if scopes:
        principal = replace(principal, scopes=scopes, bounds=(scopes,))
    claims = agent_claims(principal, issuer=ISSUER, audience=AUDIENCE, issued_at=now, jti=f"{agent}-{instance}")
    return sign(claims, _KEY.as_dict(private=True))


class Site:
    """A gateway and what it is told. ``events`` is all that it has sent upward; ``auto`` is the decision on every
    approval that is asked for, None to leave them pending; ``deciders`` may approve a call that is made for them."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self.auto: str | None = None
        self.deciders: frozenset[str] = frozenset()
        self.port = 0
        self.http: httpx2.AsyncClient | None = None
        self.facts = Facts(credentials=Keychain(variables("DB_TOKEN=127.0.0.1:*")))
        self.spool = Spool(folder / "spool", 1 << 28)
        self.handler = McpHandler(
            Pipeline(self.facts, self.spool, FirstUse(folder / "tools.seen")),
            limits or Limits(call_s=10.0),
            console="http://console.test",
        )
        self._server = Server(self.handler.handle, ServerLimits())
        self._snapshot = Snapshot(1, _EPOCH, 600.0, {"k1": _KEY.as_dict(private=False)}, ISSUER)
        self._bundles: dict[str, Bundle] = {}
        self._histories = HistoryBook()
        self.policy(POLICY)

    @property
    def url(self) -> str:
        """Where agents connect."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def policy(self, text: str, sequences: str = "") -> None:
        """Puts a policy file into force, and one of sequence rules."""
        files = (("test.cedar", text), *((("test.sequence.yaml", sequences),) if sequences else ()))
        bundle = compile_bundle(files)
        self._bundles = {"default": bundle}
        fact = WorkspaceFact("default", bundle.version, files)
        self._snapshot = replace(self._snapshot, workspaces={"default": fact})

    def agent(self, name: str, servers: list[ServerFact], tools: str, **changes: Any) -> None:
        """Tells the gateway of an agent; ``tools`` are ``server/tool`` words."""
        self.agents({name: servers}, tools, **changes)

    def agents(self, agents: dict[str, list[ServerFact]], tools: str, **changes: Any) -> None:
        """Tells it of many at once."""
        facts = {f"default/{name}": self._agent(name, servers, tools, changes) for name, servers in agents.items()}
        self._replace(agents={**self._snapshot.agents, **facts})

    @staticmethod
    def _agent(name: str, servers: list[ServerFact], tools: str, changes: dict[str, Any]) -> AgentFact:
        granted = tuple(ToolFact(server, tool) for server, tool in (word.split("/", 1) for word in tools.split()))
        facts: dict[str, Any] = {
            "workspace": "default",
            "name": name,
            "state": LifecycleState.PRODUCTION,
            "release": "sha256:r",
            "credential_epoch": 0,
            "owner": "ann@example.com",
            "servers": tuple(servers),
            "tools": granted,
            "hold_timeout_s": 0.5,
        }
        return AgentFact(**(facts | changes))

    def change(self, name: str, **changes: Any) -> None:
        """Changes the fact of an agent."""
        key = f"default/{name}"
        self._replace(agents={**self._snapshot.agents, key: replace(self._snapshot.agents[key], **changes)})

    def secret(self, facts: Mapping[str, SecretFact], values: Mapping[str, str]) -> None:
        """Tells of secrets, with values by mark."""
        self._snapshot = replace(self._snapshot, version=self._snapshot.version + 1, credentials=facts)
        self.facts.replace(self._snapshot, self._bundles, values)

    async def busy(self, name: str) -> None:
        """Returns when a call runs at the server of this name."""
        servers = self.handler._servers._servers.values()
        while all(server.idle for server in servers if server.name == name):  # noqa: ASYNC110 (it has no bell)
            await asyncio.sleep(0.005)

    def silence(self) -> None:
        """The control plane has not been heard of for longer than allowed."""
        self._replace(max_age_s=0.0)

    def fact(self, name: str) -> AgentFact:
        """The fact of an agent."""
        return self._snapshot.agents[f"default/{name}"]

    async def known(self, name: str) -> None:
        """Returns when every tool of an agent is pinned: from then on its list changes only when something does."""
        await self.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, name)

    def decide(self, approval: str, state: str, **more: Any) -> None:
        """Decides on an approval: granted or rejected."""
        fact = replace(self._snapshot.approvals[approval], state=state, decided_by="person:op@example.com", **more)
        self._replace(approvals={**self._snapshot.approvals, approval: fact})

    def draft(self, fact: DraftFact) -> None:
        """Tells of a prepared call that is to be made."""
        self._replace(drafts={**self._snapshot.drafts, fact.id: fact})

    @property
    def approvals(self) -> list[ApprovalFact]:
        """All approvals ever asked for."""
        return list(self._snapshot.approvals.values())

    def _replace(self, **changes: Any) -> None:
        self._snapshot = replace(self._snapshot, version=self._snapshot.version + 1, **changes)
        self.facts.replace(self._snapshot, self._bundles)
        self.facts.good_from(self.facts.now())

    async def _ship(self, payload: bytes) -> int:
        for line in payload.splitlines():
            event = msgspec.json.decode(line, type=Event)
            self.events.append(event)
            if self._histories.take(event.type, event.data):
                self._replace(histories=self._histories.facts())
            if event.type == "tool.seen":
                key = f"default/{event.agent}"
                self._replace(agents={**self._snapshot.agents, key: pinned(self._snapshot.agents[key], event.data)})
            elif event.type == "approval.requested":
                fact = ApprovalFact(
                    event.data["approval_id"],
                    "default",
                    event.agent or "",
                    event.data["resource"],
                    event.data["digest"],
                    event.data["grounds"],
                    "pending",
                    person=self._person(event.data),
                )
                self._replace(approvals={**self._snapshot.approvals, fact.id: fact})
                if self.auto is not None:
                    self.decide(fact.id, self.auto)
            elif event.type == "draft.claimed":
                draft = self._snapshot.drafts.get(event.data["draft"])
                if draft is not None and draft.state == "released":
                    self.draft(replace(draft, state="claimed", claim=event.data["claim"]))
            elif event.type == "approval.claimed":
                known = self._snapshot.approvals[event.data["approval_id"]]
                if known.state == "granted":
                    claimed = replace(known, state="claimed", claim=event.data["claim"])
                    self._replace(approvals={**self._snapshot.approvals, known.id: claimed})
        return 200

    def _person(self, data: Mapping[str, Any]) -> str:
        person = str(data.get("on_behalf_of", ""))
        return person if person in self.deciders and not data["demands"] else ""

    async def start(self) -> None:
        """Listens."""
        self.facts.replace(self._snapshot, self._bundles)
        self.facts.good_from(self.facts.now())
        self.port = await self._server.start("127.0.0.1", 0)
        await self.handler.start()
        self.spool.start(self._ship)

    async def stop(self) -> None:
        """Drains and stops."""
        self.handler.end_streams()
        await self._server.drain(1.0)
        await self.handler.stop()
        await self.spool.stop(2.0)

    async def calls(self) -> list[Event]:
        """The Events of calls, once all are here."""
        await self.spool.flush()
        deadline = time.monotonic() + 60
        while self.spool.backlog_bytes and time.monotonic() < deadline:  # noqa: ASYNC110 (the spool has no bell)
            await asyncio.sleep(0.01)
        return [event for event in self.events if event.type.startswith("call.")]

    @asynccontextmanager
    async def client(self, agent: str, mode: str = "auto", **options: Any) -> AsyncIterator[McpClient]:
        """The SDK's client as an agent. ``mode``: ``legacy`` (initialize) or ``auto`` (server/discover)."""
        headers = {"authorization": f"Bearer {token(agent, **options)}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            McpClient(streamable_http_client(self.url, http_client=http), mode=mode) as client,
        ):
            yield client

    async def post(self, body: Any, agent: str = "clerk", **headers: str) -> httpx2.Response:
        """One raw POST, by ``http`` or else by a client of its own."""
        sent = {
            "authorization": f"Bearer {token(agent)}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        if self.http is not None:
            return await self.http.post(self.url, headers=sent, content=content)
        async with httpx2.AsyncClient(timeout=30) as own:
            return await own.post(self.url, headers=sent, content=content)
