"""The way of a call of a model API: who asks and for what, may it, and then on. The bytes stay as they came."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from urllib.parse import unquote_plus

from tenure.gateway.http import Request, Response, decode_json
from tenure.gateway.llm import codec, routes
from tenure.gateway.llm.answers import Answers, refused
from tenure.gateway.llm.attempts import Attempts, find
from tenure.gateway.llm.codec import Fault, Wire
from tenure.gateway.llm.forward import Bounds, Forwarder
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.routes import Models, Route
from tenure.gateway.llm.run import Run
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.turned_away import TurnedAway
from tenure.gateway.upstream import Client, UpstreamError
from tenure.gateway.verdict import NoLongerAllowed
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact, ModelFact
from tenure.kernel.values import CallKind, Principal

_JSON = "application/json"
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")  # RFC 7240 section 4.3


class LlmHandler:
    """Everything under ``/v1``, ``/v1beta`` and ``/v1alpha``."""

    def __init__(
        self,
        pipeline: Pipeline,
        turned_away: TurnedAway,
        client: Client,
        bounds: Bounds,
    ) -> None:
        self._pipeline = pipeline
        self._turned_away = turned_away
        self._attempts = Attempts(pipeline, Forwarder(client, bounds, pipeline.facts.credentials))
        self._answers = Answers(pipeline, bounds)

    async def handle(self, request: Request) -> Response:
        """The answer to one request, in the caller's own protocol whatever comes of it."""
        try:
            route = routes.find(request)
            wire = route.wire
        except Refused as error:
            return self._refused(request, routes.wire_of(request), error)
        principal: Principal | None = None
        try:
            token = _token(request, wire)
            principal = self._pipeline.identify(request, "llm", token)
            if isinstance(route, Models):
                return self._models(route, principal)
            ask = _read(request, route)
        except Refused as error:
            return self._refused(request, wire, error, principal)
        return await self._call(request, route, ask, principal, token)

    def _refused(self, request: Request, wire: Wire, error: Refused, principal: Principal | None = None) -> Response:
        if error.code != "credential_revoked":  # which the pipeline has told as a call
            self._turned_away.note(request, error.status, error.code, error.message, principal)
        return refused(wire, error)

    def explain(self, request: Request, status: int, code: str, message: str) -> bytes:
        """The body of the answer to a request that could not be read, in the protocol of its path."""
        self._turned_away.note(request, status, code, message)
        return routes.wire_of(request).error(Fault(status, "invalid_request_error", code, message))

    def _agent(self, principal: Principal) -> AgentFact | None:
        snapshot = self._pipeline.facts.current
        return snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None

    def _models(self, route: Models, principal: Principal) -> Response:
        """The models that the agent may ask for under this credential; asks no upstream."""
        agent = self._agent(principal)
        facts = agent.models if agent is not None else ()
        may = self._pipeline.reach.may(principal, agent)
        if may is not None:
            facts = tuple(fact for fact in facts if may(CallKind.LLM, fact.name))
        names = list(dict.fromkeys(name for fact in facts for name in (fact.asked, fact.name)))
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
        agent = self._agent(principal)
        asked, facts, query = find(agent, ask.model), {}, request.query
        if query:
            query = _without_key(query, token)
        if route.operation is PASS:
            # What no codec knows is decided as the model it names, or as one of the same provider: an agent without a
            # model there has no business there.
            endpoint = f"{request.method} {request.path}"
            asked = _own(agent, route.wire) if not ask.model else asked
            ask = replace(ask, arguments={**ask.arguments, "operation": endpoint, "query": query})
            facts = {"http.request.method": request.method, "url.path": request.path}
        elif asked is not None and asked.name != ask.model:
            ask = replace(ask, arguments={**ask.arguments, "alias": ask.model})  # policies speak of the model itself
        resource = asked.name if asked is not None else ask.model or f"{request.method} {request.path}"
        call = pipeline.call(CallKind.LLM, resource, ask.arguments, principal, request.headers, ask.end_user, ask.body)
        run = Run(route, ask, len(request.body), call, principal)
        run.query, run.facts = query, facts
        self._met(request, run)
        prefer = _prefer_wait(request.headers.get("prefer"))
        try:
            run.verdict = await pipeline.decide(call, principal, prefer_wait=prefer, content=request.body)
        except asyncio.CancelledError:
            run.verdict = pipeline.judge(call, principal)  # the client went while a person was asked
            if not run.verdict.allowed:
                self._answers.tell(run, {"error.type": "client_disconnected"})
            raise
        if not run.verdict.allowed:
            return self._answers.refusal(run)
        if run.verdict.agent is not agent:  # the facts have changed while a person was asked
            asked = find(run.verdict.agent, ask.model) if ask.model else _own(run.verdict.agent, route.wire)
        return await self._act(request, run, asked if asked is not None and asked.name == resource else None)

    def _met(self, request: Request, run: Run) -> None:
        """Notes what the session has met, which a request to a model carries."""
        provenance, ask, operation = self._pipeline.provenance, run.ask, run.route.operation
        if operation is PASS:
            if request.method != "GET":
                provenance.not_read(run.principal, f"a request to {request.path[:100]}")
        elif run.size > codec.CAPTURE_MAX:
            provenance.not_read(run.principal, "a request too long to be read")
        elif operation.name != "embeddings":
            provenance.asked(run.principal, ask.body, lambda: operation.asked(ask))

    async def _act(self, request: Request, run: Run, asked: ModelFact | None) -> Response:
        if asked is None:
            problem = UpstreamError("no_upstream", f"nothing serves the model {run.call.resource}")
            return self._answers.failed(run, problem)
        try:
            reply, body = await self._attempts.reach(request, run, asked)
        except NoLongerAllowed as change:
            run.verdict = change.verdict
            return self._answers.refusal(run)
        except UpstreamError as error:
            return self._answers.failed(run, error)
        except asyncio.CancelledError:
            self._answers.tell(run, {"error.type": "client_disconnected"})
            raise
        if body is None:
            return self._answers.streaming(run, reply)
        if self._pipeline.returned.matters(run.acting, run.principal):
            return await self._answers.weighed(run, reply, body, _prefer_wait(request.headers.get("prefer")))
        return self._answers.whole(run, reply, body)


def _read(request: Request, route: Route) -> codec.Ask:
    kind = request.headers.get("content-type", _JSON)
    if kind != _JSON and route.operation is not PASS and "json" not in kind.lower():
        message = f"The body is {kind[:100]}, where JSON is read."
        raise Refused("not_json", message, fix=f"Send it as Content-Type: {_JSON}.", status=415)
    if request.headers.get("content-encoding", "identity") != "identity" and route.operation is not PASS:
        raise Refused("encoded_body", "The body is compressed, which is not read.", fix="Send it plain.", status=415)
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


def _own(agent: AgentFact | None, wire: Wire) -> ModelFact | None:
    """The first of the agent's models whose provider speaks that wire."""

    def is_of(fact: ModelFact) -> bool:
        return routes.speaks(wire, fact.wire or codec.provider(fact.upstream.base_url, fact.provider, "")[0])

    return next((fact for fact in agent.models if is_of(fact)), None) if agent is not None else None


def _prefer_wait(value: str | None) -> float | None:
    match = _PREFER_WAIT.search(value) if value else None
    return float(match[1]) if match else None
