"""The way of a call of a model API: who asks and for what, may it, and then on. The bytes stay as they came."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote_plus

from tenure.gateway.http import Request, Response, decode_json
from tenure.gateway.llm import codec, routes
from tenure.gateway.llm.answers import Answers, refused, status_of
from tenure.gateway.llm.codec import Fault, Wire
from tenure.gateway.llm.forward import Forwarder, is_stream, refuse_nonsense
from tenure.gateway.llm.opaque.codec import PASS
from tenure.gateway.llm.routes import Models, Route
from tenure.gateway.llm.run import Run
from tenure.gateway.pipeline import NoLongerAllowed, Pipeline
from tenure.gateway.upstream import Client, UpstreamError
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact, ModelFact
from tenure.kernel.values import CallKind, Principal

_ANSWER_MAX = 64 << 20
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")  # RFC 7240 section 4.3


class LlmHandler:
    """Everything under ``/v1``, ``/v1beta`` and ``/v1alpha``."""

    def __init__(self, pipeline: Pipeline, client: Client, environ: Mapping[str, str] = os.environ) -> None:
        self._pipeline = pipeline
        self._forwarder = Forwarder(client, environ)
        self._answers = Answers(pipeline)

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
        run = Run(route, ask, len(request.body), call, principal)
        run.query, run.facts = query, facts
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
        return await self._act(request, run)

    async def _act(self, request: Request, run: Run) -> Response:
        run.served = served = _served(run.decided.agent, run.call.resource)
        if served is None:
            return self._answers.failed(run, 502, "no_upstream", f"nothing serves the model {run.call.resource}")
        try:
            reply = await self._forwarder.send(
                request, run, served, lambda: self._pipeline.admit(run.call, run.principal, run.decided)
            )
            if is_stream(run, reply):
                return self._answers.streaming(run, reply)
            body = await reply.read(_ANSWER_MAX)
            if run.route.operation is not PASS:
                refuse_nonsense(reply, body)
        except NoLongerAllowed as change:
            run.verdict = change.verdict
            return self._answers.refusal(run)
        except UpstreamError as error:
            return self._answers.failed(run, status_of(error), error.kind, str(error))
        except asyncio.CancelledError:
            self._answers.tell(run, {"error.type": "client_disconnected"})
            raise
        return self._answers.whole(run, reply, body)


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


def _prefer_wait(value: str | None) -> float | None:
    match = _PREFER_WAIT.search(value) if value else None
    return float(match[1]) if match else None
