"""What agents' clients are told without having asked: changes of lists, and of the resources they subscribe to.

A session (revisions through 2025-11-25) is told on the stream of its GET, a ``subscriptions/listen`` (2026-07-28) in
its own answer. Subscribing is a Call: decided on, recorded, and taken back when a fact changes for the worse.

No gateway has to remember a session for another: the id of every event says what the session is subscribed to, and a
client that lost its gateway shows the last id to the next one, which decides on it all anew and tells the client to
look at everything once, because nobody knows what it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tenure.gateway.http import Response
from tenure.gateway.mcp import codec
from tenure.gateway.mcp.attempt import Attempt, Attempts, answered
from tenure.gateway.mcp.codec import Message
from tenure.gateway.mcp.connection import CHANGES, UPDATED, Limits
from tenure.gateway.mcp.feeds import NOTHING, Feed, Key
from tenure.gateway.mcp.line import PROCESS
from tenure.gateway.mcp.offers import Offers, capabilities, resource_grant
from tenure.gateway.mcp.session import DEFAULT_LEVEL, RESUME_BYTES, Resume, read_resume_id, resume_id
from tenure.gateway.mcp.standing import ACKNOWLEDGED
from tenure.gateway.mcp.upstream import Server
from tenure.gateway.mcp.watch import Listener
from tenure.gateway.verdict import NoLongerAllowed, Verdict
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import AgentFact, WorkspaceFact
from tenure.kernel.values import CallKind, Decision, Effect, Principal
from tenure.policy.model import GRANT

_SESSIONS = 10_000
_STREAM = (("cache-control", "no-cache, no-transform"), ("x-accel-buffering", "no"))
_RETRY = b"retry: 500\r\n"  # milliseconds until a client that lost its stream comes back


@dataclass(slots=True)
class _Subscription:
    """One resource. ``verdict`` is the one under which it stands now."""

    attempt: Attempt
    verdict: Verdict
    server: Server


@dataclass(slots=True, eq=False)
class _Watcher:
    """One who is told: a session, or one listening request (``listen`` is its id). ``told`` says of every change at
    which number, out of ``seq``, it was last told."""

    principal: Principal
    kinds: frozenset[str]
    listen: str | int | None = None
    level: str = DEFAULT_LEVEL
    subscriptions: dict[str, _Subscription] = field(default_factory=dict)
    servers: dict[Server, Listener] = field(default_factory=dict)
    basis: tuple[AgentFact | None, WorkspaceFact | None] = (None, None)
    feed: Feed | None = None
    seq: int = 0
    told: dict[Key, int] = field(default_factory=dict)
    restoring: tuple[str, ...] = ()
    detaching: asyncio.TimerHandle | None = None


class Subscriptions:
    """One for the whole process. ``start`` it before the first request, ``stop`` it before the servers."""

    def __init__(self, attempts: Attempts, offers: Offers, limits: Limits) -> None:
        self._attempts = attempts
        self._pipeline = attempts.pipeline
        self._offers = offers
        self._limits = limits
        self._sessions: OrderedDict[str, _Watcher] = OrderedDict()
        self._watchers: set[_Watcher] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begins to follow the facts."""
        self._later(self._follow())

    def end(self) -> None:
        """Ends every stream in its own way, so that clients go elsewhere."""
        for watcher in tuple(self._watchers):
            self._drop(watcher)

    async def stop(self) -> None:
        """Stops following."""
        self.end()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _later(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- sessions
    def level(self, session: str) -> str:
        """The level of log messages that the session wants, as far as is known here."""
        watcher = self._sessions.get(session)
        return watcher.level if watcher is not None else DEFAULT_LEVEL

    def set_level(self, principal: Principal, session: str, level: str) -> None:
        """Sets it. The client learns the id of an event that says so."""
        watcher = self._session(principal, session)
        watcher.level = level
        self._say(watcher, NOTHING)

    def forget(self, session: str) -> None:
        """The session has ended."""
        watcher = self._sessions.pop(session, None)
        if watcher is not None:
            self._drop(watcher)

    def _session(self, principal: Principal, session: str) -> _Watcher:
        watcher = self._sessions.get(session)
        if watcher is None:
            watcher = self._sessions[session] = _Watcher(principal, frozenset(CHANGES))
            self._watchers.add(watcher)
            if len(self._sessions) > _SESSIONS:
                self._drop(self._sessions.popitem(last=False)[1])
        self._sessions.move_to_end(session)
        watcher.principal = principal
        return watcher

    async def subscribe(
        self, message: Message, principal: Principal, headers: Mapping[str, str], session: str
    ) -> bytes:
        """Answers ``resources/subscribe``. Raises Refused."""
        watcher = self._session(principal, session)
        uri = message.params.get("uri")
        if isinstance(uri, str) and uri in watcher.subscriptions:
            return answered(message, {})
        self._check_room(watcher, [uri] if isinstance(uri, str) else [])
        return await self._take(watcher, message, headers)

    def unsubscribe(self, message: Message, session: str) -> JsonObject:
        """Answers ``resources/unsubscribe``."""
        watcher, uri = self._sessions.get(session), message.params.get("uri")
        if watcher is not None and isinstance(uri, str):
            self._release(watcher, uri)
            self._say(watcher, NOTHING)
        return {}

    def follow(self, principal: Principal, session: str, last_event_id: str) -> Response:
        """Answers the GET of a session: its event stream, in place of one that it had before. Raises Refused when the
        agent may not act now."""
        self._check_standing(principal)
        known = session in self._sessions
        watcher = self._session(principal, session)
        if watcher.feed is not None:
            watcher.feed.end()
        if watcher.detaching is not None:
            watcher.detaching.cancel()
            watcher.detaching = None
        feed = watcher.feed = Feed(lambda key: self._frame(watcher, key), principal.expires_at)
        resume = read_resume_id(last_event_id) or Resume("", 0, watcher.level)
        since = 0
        if resume.boot not in ("", PROCESS) or (resume.boot and not known):
            watcher.level, watcher.restoring = resume.level, resume.uris[: self._limits.subscriptions]
            self._later(self._restore(watcher))
        else:
            since = resume.seq
            for key in sorted(watcher.told, key=watcher.told.__getitem__):
                if watcher.told[key] > since:
                    feed.tell(key)
        self._attach(watcher)

        def gone() -> None:
            if watcher.feed is feed:
                watcher.feed = None
                loop = asyncio.get_running_loop()
                watcher.detaching = loop.call_later(self._limits.detached_s, self._detach, watcher)

        first = _RETRY + codec.sse(b"", self._event_id(watcher, since))
        body = feed.body(first, b"", self._limits.ping_s)
        return Response(200, body, _STREAM, "text/event-stream", done=gone)

    async def _restore(self, watcher: _Watcher) -> None:
        """Subscribes to what another gateway had subscribed to for this session, then has the client look."""
        uris = watcher.restoring
        for uri in uris:
            if uri not in watcher.subscriptions:
                one = Message("resources/subscribe", new_id(), {"uri": uri})
                # what was granted then need not be granted now; the Event says why
                with contextlib.suppress(Refused):
                    await self._take(watcher, one, {"prefer": "wait=0"})
        watcher.restoring = ()
        for key in (*((method, "") for method in sorted(watcher.kinds)), *((UPDATED, uri) for uri in uris)):
            if key[0] in watcher.kinds or key[1] in watcher.subscriptions:
                self._say(watcher, key)

    def _detach(self, watcher: _Watcher) -> None:
        """Nobody reads what the session is told, and did not for a while."""
        for uri in tuple(watcher.subscriptions):
            self._release(watcher, uri)
        self._leave(watcher)

    # -- listening requests
    async def listen(self, message: Message, principal: Principal, headers: Mapping[str, str]) -> Response:
        """Answers ``subscriptions/listen``: what is taken of it, then changes, for as long as the client stays.
        Raises Refused."""
        self._check_standing(principal)
        wanted = message.params.get("notifications")
        if not isinstance(wanted, dict):
            raise Refused("invalid_params", "`notifications` must say what is subscribed to.")
        uris = wanted.get("resourceSubscriptions") or []
        if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
            raise Refused("invalid_params", "`resourceSubscriptions` must be a list of URIs.")
        offered = capabilities(self._attempts.agent(principal))
        kinds = {method for method, name in CHANGES.items() if wanted.get(name) is True and _kind(method) in offered}
        watcher = _Watcher(principal, frozenset(kinds), message.id)
        self._check_room(watcher, uris)
        feed = watcher.feed = Feed(lambda key: self._frame(watcher, key), principal.expires_at)
        self._watchers.add(watcher)
        try:
            self._attach(watcher)
            for uri in dict.fromkeys(uris):
                params: JsonObject = {"uri": uri, "_meta": message.meta}
                one = Message(message.method, message.id, params, modern=True, version=message.version)
                try:
                    await self._take(watcher, one, {**headers, "prefer": "wait=0"})
                except Refused:
                    continue  # the acknowledgement says what was taken, the Event why the rest was not
        except BaseException:
            self._drop(watcher)
            raise
        honored: dict[str, Any] = {CHANGES[method]: True for method in sorted(kinds)}
        if watcher.subscriptions:
            honored["resourceSubscriptions"] = list(watcher.subscriptions)
        tag = {codec.META_SUBSCRIPTION: message.id}
        first = codec.sse(codec.notification(ACKNOWLEDGED, {"notifications": honored, "_meta": tag}))
        body = feed.body(first, _ended(watcher), self._limits.ping_s)
        return Response(200, body, _STREAM, "text/event-stream", done=lambda: self._drop(watcher))

    # -- what both have in common
    def _check_room(self, watcher: _Watcher, uris: list[Json]) -> None:
        most = self._limits.subscriptions
        state = Resume(PROCESS, 1 << 40, DEFAULT_LEVEL, (*watcher.subscriptions, *map(str, uris)))
        if len(state.uris) > most or (watcher.listen is None and len(resume_id(state)) > RESUME_BYTES):
            text = f"No more than {most} subscriptions are taken here, and of a session {RESUME_BYTES} bytes of URIs."
            raise Refused("invalid_params", text, fix="Unsubscribe from others first.")

    def _check_standing(self, principal: Principal) -> None:
        if (decision := self._problem(principal)) is not None:
            data = {codec.META_DECISION: codec.decision_meta(decision)}
            raise Refused("not_allowed", decision.reason, status=403, details={"data": data})

    def _problem(self, principal: Principal) -> Decision | None:
        """Why the agent may do nothing at all now; None when it may."""
        call = self._pipeline.call(CallKind.TOOL, "subscriptions", {}, principal, {})
        decision = self._pipeline.judge(call, principal).decision
        return None if decision.policies == (GRANT,) or decision.effect is Effect.ALLOW else decision

    async def _take(self, watcher: _Watcher, message: Message, headers: Mapping[str, str]) -> bytes:
        """Decides on one subscription, makes it and records it; the answer to the client. Raises Refused."""
        uri = message.params.get("uri")

        async def act(attempt: Attempt, server: Server, verdict: Verdict) -> JsonObject:
            await server.watch.subscribe(str(uri))
            try:
                self._pipeline.admit(attempt.call, attempt.principal, verdict)
            except NoLongerAllowed:
                server.watch.release(str(uri))
                raise
            if str(uri) in watcher.subscriptions or watcher not in self._watchers:
                server.watch.release(str(uri))  # it was asked for twice, or the client has gone meanwhile
            else:
                watcher.subscriptions[str(uri)] = _Subscription(attempt, verdict, server)
            return {"jsonrpc": "2.0", "result": {}}

        answer = await self._offers.ask(message, watcher.principal, headers, act)
        self._attach(watcher)
        self._say(watcher, NOTHING)
        return answer

    def _release(self, watcher: _Watcher, uri: str) -> None:
        found = watcher.subscriptions.pop(uri, None)
        if found is not None:
            found.server.watch.release(uri)
        watcher.told.pop((UPDATED, uri), None)

    def _attach(self, watcher: _Watcher) -> None:
        """Listens to exactly the servers of the agent."""
        watcher.basis = self._basis(watcher)
        agent = watcher.basis[0]
        wanted: dict[Server, None] = {}
        for fact in agent.servers if agent is not None else ():
            server = self._attempts.server(agent, fact.name, watcher.principal) if agent is not None else None
            if server is not None:
                wanted[server] = None
        for server in [known for known in watcher.servers if known not in wanted]:
            server.watch.leave(watcher.servers.pop(server))
        for server in wanted:
            if server not in watcher.servers:
                listener = watcher.servers[server] = self._listener(watcher, server)
                server.watch.listen(listener)

    def _listener(self, watcher: _Watcher, server: Server) -> Listener:
        def heard(method: str, params: JsonObject) -> None:
            if method in watcher.kinds:
                self._say(watcher, (method, ""))
            elif method == UPDATED and isinstance(uri := params.get("uri"), str):
                self._updated(watcher, server, uri)

        return heard

    def _updated(self, watcher: _Watcher, server: Server, uri: str) -> None:
        """A resource has changed: one that is subscribed to, or a part of one."""
        for known, subscription in tuple(watcher.subscriptions.items()):
            if subscription.server is server and (uri == known or uri.startswith(known.rstrip("/") + "/")):
                agent = self._attempts.agent(watcher.principal)
                grant = resource_grant(agent, uri) if agent is not None else None
                if not self._stands(subscription):
                    self._review(watcher)
                elif grant is not None and grant[0].name == subscription.attempt.server:
                    self._say(watcher, (UPDATED, uri))

    def _stands(self, subscription: _Subscription) -> bool:
        attempt = subscription.attempt
        try:
            subscription.verdict = self._pipeline.standing(attempt.call, attempt.principal, subscription.verdict)
        except NoLongerAllowed:
            return False
        return True

    def _say(self, watcher: _Watcher, key: Key) -> None:
        if key != NOTHING:
            watcher.seq += 1
            watcher.told[key] = watcher.seq
        if watcher.feed is not None and (key != NOTHING or watcher.listen is None):
            watcher.feed.tell(key)

    def _frame(self, watcher: _Watcher, key: Key) -> bytes:
        method, uri = key
        params: dict[str, Any] = {"uri": uri} if uri else {}
        if watcher.listen is not None:
            params["_meta"] = {codec.META_SUBSCRIPTION: watcher.listen}
            return codec.sse(codec.notification(method, params))
        identity = self._event_id(watcher, watcher.told.get(key, watcher.seq))
        return codec.sse(codec.notification(method, params) if method else b"", identity)

    def _event_id(self, watcher: _Watcher, seq: int) -> str:
        uris = dict.fromkeys((*watcher.subscriptions, *watcher.restoring))
        return resume_id(Resume(PROCESS, seq, watcher.level, tuple(uris)))

    # -- changes of facts
    async def _follow(self) -> None:
        while True:
            bell = self._pipeline.facts.bell()
            for watcher in tuple(self._watchers):
                if self._basis(watcher) != watcher.basis:
                    self._review(watcher)
            await asyncio.shield(bell)

    def _basis(self, watcher: _Watcher) -> tuple[AgentFact | None, WorkspaceFact | None]:
        """All that decides on a watcher, but for what the gateway sees itself: that is looked at when it is told."""
        snapshot = self._pipeline.facts.current
        workspaces = snapshot.workspaces if snapshot is not None else {}
        return self._attempts.agent(watcher.principal), workspaces.get(watcher.principal.workspace)

    def _review(self, watcher: _Watcher) -> None:
        """Takes back what the facts of this moment do not allow any more, and tells of other grants."""
        before, (agent, _) = watcher.basis[0], self._basis(watcher)
        if self._problem(watcher.principal) is not None:
            self._drop(watcher)
            return
        lost = [uri for uri, subscription in watcher.subscriptions.items() if not self._stands(subscription)]
        for uri in lost:
            self._release(watcher, uri)
        if lost and watcher.listen is not None:
            self._drop(watcher)  # its client asks again, and is told what it still gets
            return
        self._attach(watcher)
        if before is not None and agent is not None and (before.tools, before.servers) != (agent.tools, agent.servers):
            for method in sorted(watcher.kinds):
                self._say(watcher, (method, ""))
        if lost:
            self._say(watcher, NOTHING)

    def _leave(self, watcher: _Watcher) -> None:
        for server, listener in watcher.servers.items():
            server.watch.leave(listener)
        watcher.servers.clear()

    def _drop(self, watcher: _Watcher) -> None:
        """Takes everything back and ends the stream."""
        for uri in tuple(watcher.subscriptions):
            self._release(watcher, uri)
        self._leave(watcher)
        feed, watcher.feed = watcher.feed, None
        if feed is not None:
            feed.end(_ended(watcher))
        if watcher.detaching is not None:
            watcher.detaching.cancel()
        self._watchers.discard(watcher)
        for session, known in tuple(self._sessions.items()) if watcher.listen is None else ():
            if known is watcher:
                del self._sessions[session]


def _kind(method: str) -> str:
    """``tools``, ``prompts`` or ``resources``."""
    return method.split("/")[1]


def _ended(watcher: _Watcher) -> bytes:
    """What a stream ends with: the answer to the listening request, if it is one."""
    if watcher.listen is None:
        return b""
    result = codec.modern_result({"_meta": {codec.META_SUBSCRIPTION: watcher.listen}})
    return codec.sse(msgspec.json.encode({"jsonrpc": "2.0", "id": watcher.listen, "result": result}))
