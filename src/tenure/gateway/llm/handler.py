"""Forwards calls of model APIs: the bytes as they came, after the decision, with the provider's key attached last."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from tenure.base import log
from tenure.gateway.http import Request, Response, decode_json
from tenure.gateway.llm import codec, routes
from tenure.gateway.llm.codec import Fault, Wire
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.routes import Models, Route
from tenure.gateway.pipeline import NoLongerAllowed, Pipeline
from tenure.gateway.upstream import Client, Reply, UpstreamError
from tenure.gateway.verdict import Verdict
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact, ModelFact, Upstream
from tenure.kernel.values import Call, CallKind, Principal

_log = log.get("gateway")
_ANSWER_MAX = 64 << 20
_RETRY_AFTER_S = 2
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")  # RFC 7240 section 4.3
# Hop by hop (RFC 9110 section 7.6.1), the agent's credential, and what is Tenure's own. Content coding is left out so
# that what is captured can be read.
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_NOT_FORWARDED = frozenset(
    _HOP_BY_HOP
    | {"host", "content-length", "expect", "accept-encoding", "prefer", "traceparent", "tracestate"}
    | {"authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "x-tenure-session"}
    | {"x-goog-api-key"}
    | {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_NOT_RETURNED = frozenset(
    _HOP_BY_HOP
    | {"content-length", "content-type", "date", "set-cookie", "alt-svc", "strict-transport-security"}
    | {"www-authenticate", "proxy-authenticate"}
)


class _Run:
    """One call on its way: what is known of it so far, told to the record exactly once."""

    __slots__ = (
        *("ask", "begun", "call", "facts", "first_chunk", "principal", "query", "route", "served", "size", "started"),
        *("told", "verdict"),
    )

    def __init__(self, route: Route, ask: codec.Ask, request: Request, call: Call, principal: Principal) -> None:
        self.route = route
        self.ask = ask
        self.size = len(request.body)
        self.query = ""
        self.call = call
        self.principal = principal
        self.started = datetime.now(UTC)
        self.begun = time.perf_counter()
        self.verdict: Verdict | None = None
        self.served: ModelFact | None = None
        self.first_chunk: float | None = None
        self.facts: dict[str, Any] = {}
        self.told = False


class LlmHandler:
    """Everything under ``/v1``, ``/v1beta`` and ``/v1alpha``."""

    def __init__(self, pipeline: Pipeline, client: Client, environ: Mapping[str, str] = os.environ) -> None:
        self._pipeline = pipeline
        self._client = client
        self._environ = environ

    async def handle(self, request: Request) -> Response:
        """The answer to one request, in the caller's own protocol whatever comes of it."""
        try:
            route = routes.find(request)
            wire = route.wire
        except Refused as error:
            return refused(routes.wire_of(request), error)
        try:
            token = _token(request, wire)
            principal = self._pipeline.identify(request.headers, token)
            if isinstance(route, Models):
                return self._models(route, principal)
            ask = _read(request, route)
        except Refused as error:
            return refused(wire, error)
        return await self._call(request, route, ask, principal, token)

    def _agent(self, principal: Principal) -> AgentFact | None:
        snapshot = self._pipeline.facts.current
        return snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None

    def _models(self, route: Models, principal: Principal) -> Response:
        """The models that the agent may ask for; asks no upstream."""
        agent = self._agent(principal)
        names = [model.name for model in agent.models] if agent is not None else []
        if not route.name:
            return Response(200, route.wire.models(names))
        if route.name in names:
            return Response(200, route.wire.model(route.name))
        text = f"Agent {principal.agent} has no model {route.name}."
        return Response(404, route.wire.error(Fault(404, "invalid_request_error", "model_not_found", text)))

    async def _call(
        self, request: Request, route: Route, ask: codec.Ask, principal: Principal, token: str | None
    ) -> Response:
        """One call, streaming or not."""
        pipeline = self._pipeline
        resource, facts, query = ask.model, {}, request.query
        if query:
            query = _without_key(query, token)
        if route.operation is PASS:
            # What no codec knows is decided as the model it names, or as one of the same provider: an agent without a
            # model there has no business there.
            endpoint = f"{request.method} {request.path}"
            resource = resource or _own(self._agent(principal), route.wire) or endpoint
            ask = replace(ask, arguments={**ask.arguments, "operation": endpoint, "query": query})
            facts = {"http.request.method": request.method, "url.path": request.path}
        call = pipeline.call(CallKind.LLM, resource, ask.arguments, principal, request.headers, ask.end_user)
        run = _Run(route, ask, request, call, principal)
        run.query, run.facts = query, facts
        prefer = _prefer_wait(request.headers.get("prefer"))
        try:
            run.verdict = await pipeline.decide(call, principal, prefer_wait=prefer, content=request.body)
        except asyncio.CancelledError:
            run.verdict = pipeline.judge(call, principal)  # the client went while a person was asked
            if not run.verdict.allowed:
                self._tell(run, {"error.type": "client_disconnected"})
            raise
        if not run.verdict.allowed:
            return self._refusal(run)
        return await self._act(request, run)

    async def _act(self, request: Request, run: _Run) -> Response:
        run.served = served = _served(_decided(run).agent, run.call.resource)
        if served is None:
            return self._failed(run, 502, "no_upstream", f"nothing serves the model {run.call.resource}")
        route = run.route
        try:
            reply = await self._client.send(
                route.base(served.upstream.base_url),
                request.method,
                f"{route.path}?{run.query}" if run.query else route.path,
                self._headers(request, served.upstream, route.wire),
                request.body,
                replay=route.operation is not PASS or request.method == "GET",
                admit=lambda: self._pipeline.admit(run.call, run.principal, _decided(run)),
            )
            _refuse_redirect(reply)
            if _is_stream(run, reply):
                return self._streaming(run, reply)
            body = await reply.read(_ANSWER_MAX)
            if route.operation is not PASS:
                _refuse_nonsense(reply, body)
        except NoLongerAllowed as change:
            run.verdict = change.verdict
            return self._refusal(run)
        except UpstreamError as error:
            return self._failed(run, _status(error), error.kind, str(error))
        except asyncio.CancelledError:
            self._tell(run, {"error.type": "client_disconnected"})
            raise
        return self._whole(run, reply, body)

    def _headers(self, request: Request, upstream: Upstream, wire: Wire) -> list[tuple[str, str]]:
        named = request.headers.get("connection", "").lower()
        dropped = _NOT_FORWARDED if named in ("", "keep-alive", "close") else _NOT_FORWARDED | set(_words(named))
        headers = [(name, value) for name, value in request.headers.items() if name not in dropped]
        headers.append(("accept-encoding", "identity"))
        if upstream.credential_env:
            key = self._environ.get(upstream.credential_env, "").strip()
            if key:
                headers.append((wire.key_header, wire.key_prefix + key))
            else:
                _log.warning("upstream_key_missing", variable=upstream.credential_env)
        return headers

    # -- answers
    def _whole(self, run: _Run, reply: Reply, body: bytes) -> Response:
        took = time.perf_counter() - run.begun

        def done() -> None:
            read = run.route.operation.answered if reply.status < 300 else codec.error_attributes
            seen = read(body)
            self._tell(run, seen, status=reply.status, took=took)

        headers = _returned(reply, run.call.id)
        return Response(reply.status, body, headers, reply.header("content-type"), done)

    def _streaming(self, run: _Run, reply: Reply) -> Response:
        captured: list[bytes] = []
        problem: dict[str, Any] = {"error.type": "client_disconnected"}
        operation, wire = run.route.operation, run.route.wire
        size = 0
        is_events = operation is not PASS and _media(reply) in codec.EVENT_STREAM

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal problem, size
            standing = _decided(run)
            try:
                while chunk := await reply.next_chunk():
                    standing = self._pipeline.standing(run.call, run.principal, standing)
                    if run.first_chunk is None:
                        run.first_chunk = time.perf_counter() - run.begun
                    yield chunk
                    size += len(chunk)
                    if size <= codec.CAPTURE_MAX:
                        captured.append(chunk)
                problem = {} if size <= codec.CAPTURE_MAX else {"tenure.capture.truncated": True}
            except NoLongerAllowed as change:
                # Stopped in the middle: nothing more of it reaches an agent that may not act any longer.
                problem = {"error.type": "stopped", "error.message": change.verdict.decision.reason}
                if is_events:
                    yield wire.broken(codec.refusal(change.verdict.decision, run.call.id, None))
                raise UpstreamError("stopped", change.verdict.decision.reason) from None
            except UpstreamError as error:
                problem = {"error.type": error.kind, "error.message": str(error)}
                if is_events:
                    # Said in the client's own protocol first; then the connection is broken off for all others.
                    yield wire.broken(_upstream_fault(run, _status(error), error.kind, str(error)))
                raise
            finally:
                reply.close()

        def done() -> None:
            reply.close()
            if operation is PASS:
                problem["http.response.body.size"] = size
            self._tell(run, operation.streamed(b"".join(captured)) | problem, status=reply.status)

        return Response(reply.status, chunks(), _returned(reply, run.call.id), reply.header("content-type"), done)

    def _refusal(self, run: _Run) -> Response:
        verdict = _decided(run)
        fault = codec.refusal(verdict.decision, run.call.id, verdict.approval_id)
        headers: tuple[tuple[str, str], ...] = (("x-tenure-call-id", run.call.id),)
        if verdict.pending:
            headers += (("retry-after", str(_RETRY_AFTER_S)),)
        elif fault.status == 403:
            headers += (("x-should-retry", "false"),)
        return Response(fault.status, run.route.wire.error(fault), headers, done=lambda: self._tell(run, {}))

    def _failed(self, run: _Run, status: int, kind: str, problem: str) -> Response:
        fault = _upstream_fault(run, status, kind, problem)
        facts = {"error.type": kind, "error.message": fault.message}
        headers = (("x-tenure-call-id", run.call.id),)
        return Response(
            status, run.route.wire.error(fault), headers, done=lambda: self._tell(run, facts, status=status)
        )

    def _tell(
        self, run: _Run, seen: Mapping[str, Any], *, status: int | None = None, took: float | None = None
    ) -> None:
        """Records the call, once."""
        if run.told:
            return
        run.told = True
        duration = time.perf_counter() - run.begun if took is None else took
        data = _asked(run)
        data.update(seen)
        if status is not None:
            data["http.response.status_code"] = status
            if status >= 400:
                data.setdefault("error.type", str(status))
        if run.first_chunk is not None:
            data["gen_ai.response.time_to_first_chunk"] = run.first_chunk
        self._pipeline.record(run.call, run.principal, _decided(run), run.started, int(duration * 1e6), data)


def _decided(run: _Run) -> Verdict:
    assert run.verdict is not None  # noqa: S101 (asked only after decide)
    return run.verdict


def _asked(run: _Run) -> dict[str, Any]:
    """The attributes of the Event that the request alone tells."""
    ask, operation = run.ask, run.route.operation
    out: dict[str, Any] = {"gen_ai.operation.name": operation.name}
    if ask.model:
        out["gen_ai.request.model"] = ask.model
    out["gen_ai.request.stream"] = ask.stream
    if run.served is not None:
        known = codec.provider(run.served.upstream.base_url, run.served.provider, run.route.wire.provider)
        out["gen_ai.provider.name"], out["server.address"] = known
    out.update(run.facts)
    if run.size <= codec.CAPTURE_MAX or operation is PASS:  # which has a bound of its own
        out.update(operation.asked(ask))
    else:
        out["tenure.capture.truncated"] = True
    return out


def _read(request: Request, route: Route) -> codec.Ask:
    if route.operation is PASS and request.body and "json" in request.headers.get("content-type", "").lower():
        decode_json(request.body)  # what says that it is JSON and is not could name another model to its reader
    return route.operation.read(request.body, route.model)


def _token(request: Request, wire: Wire) -> str | None:
    """The agent's token where clients of that wire send a key; None: as a bearer token, as every wire may."""
    if wire.key_prefix:
        return None
    sent = request.headers.get(wire.key_header)
    if sent is None and wire.key_header == "x-goog-api-key":
        pairs = (pair.partition("=") for pair in request.query.split("&"))
        sent = next((unquote_plus(value) for name, _, value in pairs if name == "key"), None)
    return sent.strip() if sent is not None else None


def _without_key(query: str, token: str | None) -> str:
    """The query without a key in it: it is the agent's, whatever the parameter is called."""

    def is_key(pair: str) -> bool:
        name, _, value = pair.partition("=")
        return unquote_plus(name) == "key" or (token is not None and unquote_plus(value) == token)

    return "&".join(pair for pair in query.split("&") if not is_key(pair))


def _served(agent: AgentFact | None, model: str) -> ModelFact | None:
    return next((fact for fact in agent.models if fact.name == model), None) if agent is not None else None


def _own(agent: AgentFact | None, wire: Wire) -> str | None:
    """The first of the agent's models whose provider speaks that wire."""

    def is_of(fact: ModelFact) -> bool:
        return routes.speaks(wire, codec.provider(fact.upstream.base_url, fact.provider, "")[0])

    return next((fact.name for fact in agent.models if is_of(fact)), None) if agent is not None else None


def _is_stream(run: _Run, reply: Reply) -> bool:
    streams = run.route.operation.streams
    if reply.status >= 300 or reply.status == 204:
        return False
    media = _media(reply)
    return streams is None or (media in streams and (run.ask.stream or media in codec.EVENT_STREAM))


def _media(reply: Reply) -> str:
    return reply.header("content-type").partition(";")[0].strip()


def _status(error: UpstreamError) -> int:
    return 504 if error.kind in ("timeout", "connect_timeout") else 503 if error.kind == "busy" else 502


def _upstream_fault(run: _Run, status: int, kind: str, problem: str) -> Fault:
    text = f"The model's upstream failed: {problem}."
    return Fault(status, "upstream_error", f"upstream_{kind}", text, {"decision_id": run.call.id})


def _refuse_redirect(reply: Reply) -> None:
    """A redirect handed on would lead the agent, and its token, past the gateway."""
    if 300 <= reply.status < 400:
        reply.close()
        raise UpstreamError("garbage", f"the upstream redirects ({reply.status}), which is not followed")


def _refuse_nonsense(reply: Reply, body: bytes) -> None:
    """A success that is no JSON object (a proxy's HTML page) would break the agent's client; an error says what it is.
    Looking at one byte is enough to tell them apart."""
    if reply.status < 300 and not body.lstrip().startswith(b"{"):
        raise UpstreamError("garbage", "the upstream answered with something else than a JSON object")


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",")]


def _returned(reply: Reply, call_id: str) -> tuple[tuple[str, str], ...]:
    kept = [(name, value) for name, value in reply.headers if name not in _NOT_RETURNED]
    kept.append(("x-tenure-call-id", call_id))
    return tuple(kept)


def _prefer_wait(value: str | None) -> float | None:
    match = _PREFER_WAIT.search(value) if value else None
    return float(match[1]) if match else None


def refused(wire: Wire, error: Refused) -> Response:
    """A refusal before there was a call, as the clients of that wire read it."""
    kind = "authentication_error" if error.status == 401 else "invalid_request_error"
    text = f"{error.message} {error.fix}".strip()
    headers = (("www-authenticate", "Bearer"),) if error.status == 401 else ()
    return Response(error.status, wire.error(Fault(error.status, kind, error.code, text)), headers)
