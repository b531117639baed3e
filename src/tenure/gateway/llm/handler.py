"""Forwards chat completions: the bytes as they came, after the decision, with the provider's key attached last."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tenure.base import log
from tenure.gateway.http import Request, Response
from tenure.gateway.llm import codec
from tenure.gateway.pipeline import NoLongerAllowed, Pipeline
from tenure.gateway.upstream import Client, Reply, UpstreamError
from tenure.gateway.verdict import Verdict
from tenure.kernel.errors import Refused
from tenure.kernel.snapshot import AgentFact, Upstream
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
    | {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
)
_NOT_RETURNED = frozenset(
    _HOP_BY_HOP
    | {"content-length", "content-type", "date", "set-cookie", "alt-svc", "strict-transport-security"}
    | {"www-authenticate", "proxy-authenticate"}
)


class _Run:
    """One call on its way: what is known of it so far, told to the record exactly once."""

    __slots__ = ("ask", "base_url", "begun", "call", "first_chunk", "principal", "size", "started", "told", "verdict")

    def __init__(self, ask: codec.Ask, size: int, call: Call, principal: Principal) -> None:
        self.ask = ask
        self.size = size
        self.call = call
        self.principal = principal
        self.started = datetime.now(UTC)
        self.begun = time.perf_counter()
        self.verdict: Verdict | None = None
        self.base_url: str | None = None
        self.first_chunk: float | None = None
        self.told = False


class LlmHandler:
    """``/v1/chat/completions`` and ``/v1/models``."""

    def __init__(self, pipeline: Pipeline, client: Client, environ: Mapping[str, str] = os.environ) -> None:
        self._pipeline = pipeline
        self._client = client
        self._environ = environ

    async def models(self, request: Request) -> Response:
        """The models that the agent may ask for; asks no upstream."""
        try:
            principal = self._pipeline.identify(request.headers)
        except Refused as error:
            return refused(error)
        snapshot = self._pipeline.facts.current
        agent = snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None
        return Response(200, codec.model_list(model.name for model in agent.models) if agent else codec.model_list(()))

    async def chat(self, request: Request) -> Response:
        """A chat completion, streaming or not."""
        pipeline = self._pipeline
        try:
            principal = pipeline.identify(request.headers)
            ask = codec.read_request(request.body)
        except Refused as error:
            return refused(error)
        call = pipeline.call(CallKind.LLM, ask.model, ask.arguments, principal, request.headers, ask.end_user)
        run = _Run(ask, len(request.body), call, principal)
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
        upstream = _upstream(_decided(run).agent, run.ask.model)
        if upstream is None:
            return self._failed(run, 502, "no_upstream", f"No upstream serves the model {run.ask.model}.")
        run.base_url = upstream.base_url
        try:
            reply = await self._client.send(
                upstream.base_url,
                "POST",
                "/chat/completions",
                self._headers(request, upstream),
                request.body,
                admit=lambda: self._pipeline.admit(run.call, run.principal, _decided(run)),
            )
            _refuse_redirect(reply)
            if reply.status < 300 and reply.header("content-type").partition(";")[0].strip() == "text/event-stream":
                return self._streaming(run, reply)
            body = await reply.read(_ANSWER_MAX)
            _refuse_nonsense(reply, body)
        except NoLongerAllowed as change:
            run.verdict = change.verdict
            return self._refusal(run)
        except UpstreamError as error:
            status = 504 if error.kind in ("timeout", "connect_timeout") else 503 if error.kind == "busy" else 502
            return self._failed(run, status, error.kind, f"The model's upstream failed: {error}.")
        except asyncio.CancelledError:
            self._tell(run, {"error.type": "client_disconnected"})
            raise
        return self._whole(run, reply, body)

    def _headers(self, request: Request, upstream: Upstream) -> list[tuple[str, str]]:
        named = request.headers.get("connection", "").lower()
        dropped = _NOT_FORWARDED if named in ("", "keep-alive", "close") else _NOT_FORWARDED | set(_words(named))
        headers = [(name, value) for name, value in request.headers.items() if name not in dropped]
        headers.append(("accept-encoding", "identity"))
        if upstream.credential_env:
            key = self._environ.get(upstream.credential_env, "").strip()
            if key:
                headers.append(("authorization", f"Bearer {key}"))
            else:
                _log.warning("upstream_key_missing", variable=upstream.credential_env)
        return headers

    # -- answers
    def _whole(self, run: _Run, reply: Reply, body: bytes) -> Response:
        took = time.perf_counter() - run.begun

        def done() -> None:
            seen = codec.response_attributes(body) if reply.status < 300 else codec.error_attributes(body)
            self._tell(run, seen, status=reply.status, took=took)

        headers = _returned(reply, run.call.id)
        return Response(reply.status, body, headers, reply.header("content-type", "application/json"), done)

    def _streaming(self, run: _Run, reply: Reply) -> Response:
        captured: list[bytes] = []
        problem: dict[str, Any] = {"error.type": "client_disconnected"}

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal problem
            size = 0
            try:
                while chunk := await reply.next_chunk():
                    if run.first_chunk is None:
                        run.first_chunk = time.perf_counter() - run.begun
                    yield chunk
                    size += len(chunk)
                    if size <= codec.CAPTURE_MAX:
                        captured.append(chunk)
                problem = {} if size <= codec.CAPTURE_MAX else {"tenure.capture.truncated": True}
            except UpstreamError as error:
                problem = {"error.type": error.kind, "error.message": str(error)}
                raise
            finally:
                reply.close()

        def done() -> None:
            reply.close()
            self._tell(run, codec.stream_attributes(b"".join(captured)) | problem, status=reply.status)

        return Response(reply.status, chunks(), _returned(reply, run.call.id), reply.header("content-type"), done)

    def _refusal(self, run: _Run) -> Response:
        verdict = _decided(run)
        status, body = codec.refusal(verdict.decision, run.call.id, verdict.approval_id)
        headers: tuple[tuple[str, str], ...] = (("x-tenure-call-id", run.call.id),)
        if verdict.pending:
            headers += (("retry-after", str(_RETRY_AFTER_S)),)
        elif status == 403:
            headers += (("x-should-retry", "false"),)
        return Response(status, body, headers, done=lambda: self._tell(run, {}))

    def _failed(self, run: _Run, status: int, kind: str, message: str) -> Response:
        body = codec.error_body(message, "upstream_error", f"upstream_{kind}", decision_id=run.call.id)
        facts = {"error.type": kind, "error.message": message}
        headers = (("x-tenure-call-id", run.call.id),)
        return Response(status, body, headers, done=lambda: self._tell(run, facts, status=status))

    def _tell(
        self, run: _Run, seen: Mapping[str, Any], *, status: int | None = None, took: float | None = None
    ) -> None:
        """Records the call, once."""
        if run.told:
            return
        run.told = True
        duration = time.perf_counter() - run.begun if took is None else took
        data = codec.request_attributes(run.ask, run.size, run.base_url)
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


def _upstream(agent: AgentFact | None, model: str) -> Upstream | None:
    return next((fact.upstream for fact in agent.models if fact.name == model), None) if agent is not None else None


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


def refused(error: Refused) -> Response:
    """A refusal before there was a call, as OpenAI's clients read it."""
    kind = "authentication_error" if error.status == 401 else "invalid_request_error"
    text = f"{error.message} {error.fix}".strip()
    headers = (("www-authenticate", "Bearer"),) if error.status == 401 else ()
    return Response(error.status, codec.error_body(text, kind, error.code), headers)
