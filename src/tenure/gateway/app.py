"""The gateway put together: the table of routes, the links to the control plane, and its start and stop."""

from __future__ import annotations

import asyncio
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tenure.base import log
from tenure.base.config import Config
from tenure.gateway.a2a.handler import A2aHandler
from tenure.gateway.addressed import addressed
from tenure.gateway.deciding import PATHS as DECIDING
from tenure.gateway.deciding import Deciding
from tenure.gateway.firstuse import FirstUse
from tenure.gateway.http import Request, Response
from tenure.gateway.keychain import Keychain
from tenure.gateway.llm.codec import Fault
from tenure.gateway.llm.forward import Bounds
from tenure.gateway.llm.handler import LlmHandler
from tenure.gateway.llm.openai.codec import error_body
from tenure.gateway.llm.routes import SERVED
from tenure.gateway.mcp.connection import Limits as McpLimits
from tenure.gateway.mcp.handler import McpHandler
from tenure.gateway.mcp.sandbox import Sandbox
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.resources import WELL_KNOWN, Resources
from tenure.gateway.risk.judge import Judge
from tenure.gateway.server import Limits, Server, plain
from tenure.gateway.snapshot import Facts, Link
from tenure.gateway.spool import Spool
from tenure.gateway.turned_away import TurnedAway
from tenure.gateway.upstream import Client, UpstreamError
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.values import Event

_log = log.get("gateway")
_NAME = "local"
_EVENTS = "/internal/v1/events"
_SHIP_S = 30.0
_USED_S = 5.0


class Gateway:
    """Everything of one gateway process. Raises Refused when its folder cannot be used."""

    def __init__(self, config: Config) -> None:
        self._config = config
        folder = config.data_dir / "spool" / _NAME
        self.facts = Facts(credentials=Keychain(config.variables))
        self.spool = Spool(folder, config.spool_max_bytes, _NAME, config.redacted)
        self._client = Client(config.upstream_timeout_s, config.answer_timeout_s)
        self._control = Client(_SHIP_S)
        self._first_use = FirstUse(folder / "tools.seen")
        name = stable_id(platform.node(), str(folder.resolve()))  # the spool's lock makes it the name of one process
        judge = _judge(config, self._client)
        self._pipeline = Pipeline(
            self.facts, self.spool, self._first_use, depth=config.delegation_depth, name=name, judge=judge
        )
        self._turned_away = TurnedAway(
            self.spool, place=lambda request: addressed(request, self.facts.current, config.workspace)
        )
        self._llm = LlmHandler(self._pipeline, self._turned_away, self._client, Bounds(stream=config.stream_max_bytes))
        self._mcp = McpHandler(
            self._pipeline,
            _mcp_limits(config),
            Sandbox(config.sandbox, _private(config)),
            config.public_url.rstrip("/") or config.control_url,
        )
        self._a2a = A2aHandler(
            self._pipeline,
            self._turned_away,
            self._client,
            config.gateway_url,
            ttl_s=config.delegation_ttl_s,
            stream_max=config.stream_max_bytes,
        )
        self._resources = Resources(self.facts, config.gateway_url)
        self._deciding = Deciding(self._pipeline, self._turned_away)
        self._server = Server(self.handle, Limits(body=config.body_max_bytes), self._explain)
        self._link = Link(self.facts, self._control, config.control_url, self._token, name)
        self._tasks: list[asyncio.Task[None]] = []

    async def _token(self) -> str:
        path = self._config.data_dir / "gateway.token"
        text = await asyncio.to_thread(path.read_text, encoding="ascii")  # not here: this disk may hang
        return text.strip()

    async def start(self) -> int:
        """Listens and connects; returns the port. Raises OSError when the address is taken."""
        port = await self._server.start(self._config.host, self._config.gateway_port)
        await self._mcp.start()
        self._tasks.append(asyncio.create_task(self._link.run()))
        self._tasks.append(asyncio.create_task(self._mcp.look_ahead()))
        self._tasks.append(asyncio.create_task(self._tell_used()))
        self._tasks.append(asyncio.create_task(self._pipeline.leases.run()))
        self._tasks.append(asyncio.create_task(self._pipeline.histories.run()))
        self.spool.start(self._ship)
        return port

    async def stop(self) -> None:
        """Drains: running calls first, then what was recorded of them."""
        self._mcp.end_streams()
        await self._server.drain(self._config.drain_s)
        await self._mcp.stop()
        self._deciding.end()
        self._pipeline.histories.give_all_back()
        await self._link.leave()
        self._note_used()
        await self.spool.stop(min(2.0, self._config.drain_s))
        self._first_use.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.close()
        self._control.close()

    async def _ship(self, payload: bytes) -> int:
        headers = (
            ("authorization", f"Bearer {await self._token()}"),
            ("content-type", "application/x-ndjson"),
        )
        try:
            reply = await self._control.send(self._config.control_url, "POST", _EVENTS, headers, payload)
            await reply.read(1 << 20)
        except UpstreamError as error:
            if error.kind == "timeout":
                return 504
            raise
        return reply.status

    async def _tell_used(self) -> None:
        """Tells now and then which secrets were sent."""
        while True:
            await asyncio.sleep(_USED_S)
            self._note_used()

    def _note_used(self) -> None:
        for key in self.facts.credentials.taken():
            workspace, _, name = key.partition("/")
            self.spool.append(
                Event(
                    id=new_id(),
                    type="secret.used",
                    time=datetime.now(UTC),
                    workspace=workspace,
                    actor="system:gateway",
                    data={"secret": name},
                )
            )

    def _explain(self, request: Request, status: int, code: str, message: str) -> bytes:
        """The answer to a request that could not be read, in the protocol of its path."""
        if request.path.startswith("/v1"):
            return self._llm.explain(request, status, code, message)
        if request.path.startswith("/a2a/"):
            return self._a2a.explain(request, status, code, message)
        self._turned_away.note(request, status, code, message)
        return plain(request, status, code, message)

    async def handle(self, request: Request) -> Response:  # noqa: PLR0911 (one line for each address is a table)
        """The table of routes."""
        path, method = request.path, request.method
        if path in DECIDING:
            return await self._deciding.handle(request)
        if path.startswith("/v1"):
            return await self._llm.handle(request)
        if path == "/mcp":
            return self._resources.challenged(request, await self._mcp.handle(request))
        if path == "/a2a" or path.startswith("/a2a/"):
            return self._resources.challenged(request, await self._a2a.handle(request))
        if path == WELL_KNOWN or path.startswith(f"{WELL_KNOWN}/"):
            return self._resources.handle(request)
        if path == "/healthz":
            return self._health() if method in ("GET", "HEAD") else _wrong_method("GET")
        text = f"Nothing is at {path}. {SERVED}"
        return Response(404, error_body(Fault(404, "invalid_request_error", "not_found", text)))

    def _health(self) -> Response:
        """200 when calls can be decided, 503 when not. No fact about an agent is told here: it asks for no token."""
        facts = self.facts
        ready = not facts.stale
        body = {
            "status": "ok" if ready else "no_facts" if facts.current is None else "stale",
            "snapshot": facts.current.version if facts.current else None,
            "snapshot_age_s": round(facts.age_s, 3) if facts.current else None,
            "events": msgspec.to_builtins(self.spool.counts),
            "backlog_bytes": self.spool.backlog_bytes,
            "recorder": self.spool.trouble or "ok",
        }
        return Response(200 if ready else 503, msgspec.json.encode(body))


def _judge(config: Config, client: Client) -> Judge | None:
    if not config.judge:
        return None
    what = config.redacted
    return Judge(client, config.judge, config.judge_model, config.judge_key, config.judge_timeout_s, what)


def _mcp_limits(config: Config) -> McpLimits:
    return McpLimits(
        processes=config.mcp_processes,
        start_s=config.mcp_start_timeout_s,
        call_s=config.mcp_call_timeout_s,
        ask_s=config.mcp_ask_timeout_s,
        list_age_s=config.mcp_list_age_s,
        message_bytes=config.mcp_message_max_bytes,
        subscriptions=config.mcp_subscriptions,
    )


def _private(config: Config) -> tuple[Path, ...]:
    """What no MCP server sees: the data folder, and an SQLite file elsewhere."""
    kind, _, path = config.database.partition(":///")
    files = [Path(path + tail) for tail in ("", "-wal", "-shm", "-journal")] if kind.startswith("sqlite") else []
    return (config.data_dir, *files)


def _wrong_method(right: str) -> Response:
    body = error_body(Fault(405, "invalid_request_error", "method_not_allowed", f"Use {right} here."))
    return Response(405, body, (("allow", right),))
