"""``/mcp``: requests of agents in, answers out. Which method, which life of the protocol, JSON or an event stream."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

from tenure.base import log
from tenure.gateway.clients import Introductions
from tenure.gateway.http import Request, Response
from tenure.gateway.mcp import codec
from tenure.gateway.mcp.attempt import Attempts
from tenure.gateway.mcp.calls import ToolCalls
from tenure.gateway.mcp.codec import Message
from tenure.gateway.mcp.connection import Limits
from tenure.gateway.mcp.fingerprints import Fingerprints
from tenure.gateway.mcp.line import Line, asked_elsewhere
from tenure.gateway.mcp.offers import LISTS, METHODS, Offers, capabilities
from tenure.gateway.mcp.outbox import Outbox
from tenure.gateway.mcp.performing import Performing
from tenure.gateway.mcp.sandbox import Sandbox
from tenure.gateway.mcp.session import LEVELS, capabilities_of, flags_of, owns_session, session_id
from tenure.gateway.mcp.subscriptions import Subscriptions
from tenure.gateway.mcp.upstream import Servers, identity_of
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.turned_away import TurnedAway
from tenure.gateway.upstream import Client
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import LifecycleState, Principal

_log = log.get("gateway.mcp")
_QUEUE = 256
_ENDED_KEPT = 4096
_GONE = frozenset({LifecycleState.RETIRED, LifecycleState.REJECTED})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ALLOW = (("allow", "GET, POST, DELETE"),)
_STREAM = (("cache-control", "no-cache, no-transform"), ("x-accel-buffering", "no"))
_SUBSCRIBING = frozenset({"resources/subscribe", "subscriptions/listen"})
_FAR = METHODS | _SUBSCRIBING | {"tools/call"}


class McpHandler:
    """One for the whole process. ``start`` it before the first request, ``stop`` it after the last."""

    def __init__(
        self, pipeline: Pipeline, limits: Limits | None = None, sandbox: Sandbox | None = None, console: str = ""
    ) -> None:
        """``console``: where people reach the control plane."""
        self._pipeline = pipeline
        self._turned_away = TurnedAway(pipeline.spool)
        self._introductions = Introductions(pipeline.spool)
        self._limits = limits or Limits()
        self._client = Client(self._limits.call_s)
        self._servers = Servers(self._client, self._limits, sandbox, pipeline.facts.credentials)
        self._attempts = Attempts(pipeline, self._servers, self._limits, console)
        self._fingerprints = Fingerprints(pipeline, self._attempts)
        self._calls = ToolCalls(self._attempts, self._fingerprints)
        self._offers = Offers(self._attempts)
        self._subscriptions = Subscriptions(self._attempts, self._offers, self._limits)
        self._running: dict[tuple[str, str | int], asyncio.Task[bytes]] = {}
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._waiting: dict[tuple[str, str | int], asyncio.Future[JsonObject]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._keeper: asyncio.Task[None] | None = None
        self._performer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to follow the Snapshot: servers that no agent needs any more are stopped."""
        self._keeper = asyncio.create_task(self._keep())
        self._performer = asyncio.create_task(Performing(self._pipeline, self._calls).run())
        self._subscriptions.start()

    async def look_ahead(self) -> None:
        """Looks at the tools of agents that were put to work before they are called, until it is cancelled."""
        await self._fingerprints.look_ahead()

    def end_streams(self) -> None:
        """Ends what would never end by itself, so that the gateway can be drained."""
        self._subscriptions.end()

    async def stop(self) -> None:
        """Cancels what still runs and ends every upstream server."""
        own = [task for task in (self._keeper, self._performer) if task is not None]
        for one in own:
            one.cancel()
        await asyncio.gather(*own, return_exceptions=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._subscriptions.stop()
        await self._servers.stop()
        self._client.close()

    async def _keep(self) -> None:
        while True:
            await self._pipeline.facts.changed()
            await asyncio.sleep(1.0)  # facts change in bursts
            snapshot = self._pipeline.facts.current
            agents = snapshot.agents.values() if snapshot is not None else ()
            needed = {
                identity_of(agent.workspace, server, agent.name)
                for agent in agents
                if agent.state not in _GONE
                for server in agent.servers
            }
            await self._servers.retain(needed)
            self._servers.turn()

    async def handle(self, request: Request) -> Response:
        """Answers one HTTP request. Cancelling it (the client hung up) cancels the tool call that it carries."""
        headers = request.headers
        principal: Principal | None = None
        try:
            _check_origin(headers)
            principal = self._pipeline.identify(request, "mcp")
            modern = headers.get("mcp-protocol-version") in codec.MODERN_VERSIONS
            session = "" if modern else headers.get("mcp-session-id", "")
            if request.method == "DELETE" and not modern:
                return self._end_session(principal, session)
            if request.method == "GET" and session:
                return self._follow(principal, session, headers)
            if request.method != "POST":
                return Response(405, headers=_ALLOW)
            message = codec.read_message(request.body, headers)
            if message.method != "initialize":
                self._check_session(principal, session)
            return await self._answer(message, principal, headers, session)
        except Refused as refused:
            told = refused.code == "credential_revoked" or refused.code.startswith("delegation_")
            if principal is None and not told:
                self._turned_away.note(request, refused.status, refused.code, refused.message)
            return _refusal(refused, headers, None)

    def _check_session(self, principal: Principal, session: str) -> None:
        """Sessions are optional here, but one that was shown must be this instance's own and not ended."""
        if session and (session in self._ended or not owns_session(principal, session)):
            raise Refused("no_session", "There is no such session.", fix="Send `initialize` again.", status=404)

    def _follow(self, principal: Principal, session: str, headers: Mapping[str, str]) -> Response:
        """The event stream of a session."""
        self._check_session(principal, session)
        if "text/event-stream" not in headers.get("accept", ""):
            return Response(406)
        return self._subscriptions.follow(principal, session, headers.get("last-event-id", ""))

    def _end_session(self, principal: Principal, session: str) -> Response:
        self._check_session(principal, session)
        if not session:
            return Response(405, headers=_ALLOW)
        self._ended[session] = None
        self._subscriptions.forget(session)
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        for (owner, _), task in list(self._running.items()):
            if owner == session:
                task.cancel()
        return Response(204)

    async def _answer(
        self, message: Message, principal: Principal, headers: Mapping[str, str], session: str
    ) -> Response:
        if message.answer is not None:
            return self._answered(message.id, message.answer, session)
        if message.id is None:
            wanted = message.params.get("requestId")
            if message.method == "notifications/cancelled" and session and isinstance(wanted, str | int):
                task = self._running.get((session, wanted))
                if task is not None:
                    task.cancel()
            return Response(202)
        try:
            if message.modern or message.method == "initialize":
                info = message.meta.get(codec.META_CLIENT) if message.modern else message.params.get("clientInfo")
                agent = headers.get("user-agent", "")
                self._introductions.meet(info, principal, self._pipeline.facts.current, agent)
            if message.method in _FAR:
                return await self._far(message, principal, headers, session)
            extra: tuple[tuple[str, str], ...] = ()
            if message.method == "initialize":
                flags = flags_of(message.params.get("capabilities"))
                extra = (("mcp-session-id", session_id(principal, new_id(), flags)),)
            result = await self._simple(message, principal, session)
        except Refused as refused:
            return _refusal(refused, headers, message)
        return Response(200, codec.result_message(message.id, result), headers=extra)

    def _answered(self, identity: str | int | None, answer: JsonObject, session: str) -> Response:
        """Hands the client's answer to the call that waits for it; one that comes too late is nothing special."""
        future = self._waiting.get((session, identity)) if session and identity is not None else None
        if future is not None and not future.done():
            future.set_result(answer)
        elif asked_elsewhere(identity):
            raise Refused(
                "answer_lost",
                "Another gateway process asked this, and the call that waits for the answer is not here.",
                fix="If that call has failed, make it again.",
            )
        return Response(202)

    async def _far(self, message: Message, principal: Principal, headers: Mapping[str, str], session: str) -> Response:
        """Answers what is decided on and goes to a server."""
        if message.method == "subscriptions/listen" and message.modern:
            if "text/event-stream" not in headers.get("accept", ""):
                return Response(406)
            return await self._subscriptions.listen(message, principal, headers)
        if message.method == "resources/subscribe" and session:
            return Response(200, await self._subscriptions.subscribe(message, principal, headers, session))
        if message.method in _SUBSCRIBING:
            text = f"{message.method} is not offered here."
            raise Refused("method_not_found", text, fix="Subscribe in a session, or with 2026-07-28 by listening.")
        return await self._call(message, principal, headers, session)

    async def _simple(self, message: Message, principal: Principal, session: str) -> JsonObject:
        """The result of every method that no server is asked for by name."""
        method = message.method
        offered = capabilities(self._attempts.agent(principal))
        instructions = f"What was granted to agent {principal.agent}. A refused call says why, and what to do."
        if method == "tools/list" or (method in LISTS and method.partition("/")[0] in offered):
            return await self._list(message, principal)
        if message.modern:
            if method == "server/discover":
                return codec.discover_result(offered, instructions)
        elif method == "initialize":
            return codec.initialize_result(message.params, offered, instructions)
        elif method == "ping":
            return {}
        elif method == "logging/setLevel" and session:
            return self._set_level(principal, session, message.params.get("level"))
        elif method == "resources/unsubscribe" and session:
            return self._subscriptions.unsubscribe(message, session)
        raise Refused("method_not_found", f"{method[:100]} is not offered here.", fix=f"Offered: {', '.join(offered)}.")

    async def _list(self, message: Message, principal: Principal) -> JsonObject:
        if message.params.get("cursor") is not None:
            raise Refused("invalid_params", "There is one page only.", fix="Send no cursor.")
        if message.method == "tools/list":
            key, (items, unavailable) = "tools", await self._calls.visible(principal)
        else:
            key, (items, unavailable) = LISTS[message.method][0], await self._offers.visible(principal, message.method)
        listed = codec.list_result(key, items, unavailable)
        return codec.modern_result(listed, cacheable=True) if message.modern else listed

    def _set_level(self, principal: Principal, session: str, level: Json) -> JsonObject:
        """How much of what servers log is told."""
        if not isinstance(level, str) or level not in LEVELS:
            raise Refused("invalid_params", f"No such level: {level!r}.", fix=f"Levels are {', '.join(LEVELS)}.")
        self._subscriptions.set_level(principal, session, level)
        return {}

    # -- requests that go to a server
    async def _call(self, message: Message, principal: Principal, headers: Mapping[str, str], session: str) -> Response:
        streams = "text/event-stream" in headers.get("accept", "")
        outbox = Outbox(_QUEUE)
        line = Line(outbox.tell if streams else None, message.meta.get("progressToken"), session, waiting=self._waiting)
        line.capabilities = capabilities_of(session)
        line.level = None if message.modern else self._subscriptions.level(session)
        task = asyncio.create_task(self._run(message, principal, headers, line))
        key = (session, message.id if message.id is not None else "")
        self._tasks.add(task)
        if session:
            self._running[key] = task

        def done(ended: asyncio.Task[bytes]) -> None:
            self._tasks.discard(ended)
            if self._running.get(key) is ended:
                del self._running[key]
            outbox.answer(_outcome(ended, message))

        def stop() -> None:
            task.cancel()  # the client is gone; nothing happens when the answer was sent

        task.add_done_callback(done)
        try:
            item = await outbox.next(self._limits.stream_after_s if streams else None)
        except asyncio.CancelledError:
            task.cancel()
            raise
        first, final = item or (b"", False)
        if final:
            return Response(_status(first, modern=message.modern), first)
        stream = _stream(first, outbox, self._limits.ping_s)
        return Response(200, stream, _STREAM, "text/event-stream", done=stop)

    async def _run(self, message: Message, principal: Principal, headers: Mapping[str, str], line: Line) -> bytes:
        try:
            if message.method == "tools/call":
                return await self._calls.call(message, principal, headers, line)
            return await self._offers.call(message, principal, headers, line)
        except Refused as refused:
            return codec.error_message(message.id, codec.refusal_error(refused))


def _outcome(task: asyncio.Task[bytes], message: Message) -> bytes:
    """The answer that a finished task stands for."""
    if task.cancelled():
        return codec.error_message(message.id, {"code": -32000, "message": "The request was cancelled."})
    error = task.exception()
    if error is not None:
        _log.error("mcp_call_failed", exc_info=error)
        return codec.error_message(message.id, {"code": -32603, "message": "The gateway failed; see its log."})
    return task.result()


async def _stream(first: bytes, outbox: Outbox, ping_s: float) -> AsyncIterator[bytes]:
    """The messages of a call as server-sent events, up to its answer."""
    yield codec.sse(first) if first else codec.WORKING
    while True:
        item = await outbox.next(ping_s)
        yield codec.sse(item[0]) if item is not None else codec.WORKING
        if item is not None and item[1]:
            return


def _status(answer: bytes, *, modern: bool) -> int:
    """The HTTP status of a tool call's answer: only 2026-07-28 tells errors by it."""
    if not modern or b'"error":' not in answer[:4096]:
        return 200
    error = codec.error_of(answer)
    return codec.error_status(error, modern=True) if error is not None else 200


def _check_origin(headers: Mapping[str, str]) -> None:
    """No page of another site reaches a gateway on this machine through a person's browser, not even one whose name
    was made to point here: of pages, only those of this machine are answered."""
    origin = headers.get("origin")
    if origin is None:
        return
    page = urlsplit(origin)
    if page.netloc != headers.get("host") or page.hostname not in _LOOPBACK:
        raise Refused("bad_origin", f"Requests from {origin[:200]} are not taken.", status=403)


def _refusal(refused: Refused, headers: Mapping[str, str], message: Message | None) -> Response:
    """A Refused as HTTP: the status that says what kind it is, and a JSON-RPC error in the body."""
    error = codec.refusal_error(refused)
    identity = message.id if message is not None else refused.details.get("id")
    extra: tuple[tuple[str, str], ...] = ()
    if refused.code in codec.RPC_CODES:
        modern = message.modern if message is not None else "mcp-protocol-version" in headers
        status = codec.error_status(error["code"], modern=modern)
    else:
        status = refused.status
        error.setdefault("data", {"code": refused.code})
    if status == 401:
        extra = (("www-authenticate", 'Bearer error="invalid_token"'),)
    return Response(status, codec.error_message(identity, error), headers=extra)
