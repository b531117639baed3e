"""``POST /v1/decide`` and ``POST /v1/record``: the same decisions for tools that never cross the gateway.

An agent asks before it runs a tool of its own process, and tells afterwards what came of it. Held calls wait for their
approval here and claim it, as any other; the breaker counts; the Event is the one that a call through the gateway has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from tenure.base.scan.texts import clean
from tenure.gateway.confidence import with_stated
from tenure.gateway.http import Request, Response, decode_json
from tenure.gateway.justification import justification
from tenure.gateway.llm.codec import Fault
from tenure.gateway.llm.openai.codec import error_body
from tenure.gateway.modes import words
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.turned_away import TurnedAway
from tenure.gateway.verdict import Verdict
from tenure.kernel.errors import Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Call, CallKind, Decision, Effect, Principal
from tenure.policy.model import may_fail_open, redactions

PATHS = frozenset({"/v1/decide", "/v1/record"})
MAX_WAIT_S = 600.0
_OPEN = 10_000
_OPEN_S = 3600.0
_KEPT = 64 << 10  # bytes of a result
_NAME = 200
ALONE, TOLD = "client/alone", "client/told"
"""In place of policies: the client decided alone, for no gateway answered; it told of a call whose gateway is gone."""


@dataclass(slots=True)
class _Open:
    call: Call
    principal: Principal
    verdict: Verdict
    started: datetime
    begun: float


class Deciding:
    """Both routes. One for the process."""

    def __init__(self, pipeline: Pipeline, turned_away: TurnedAway) -> None:
        self._pipeline = pipeline
        self._turned_away = turned_away
        self._open: dict[str, _Open] = {}

    async def handle(self, request: Request) -> Response:
        """The decision, or that what was told is kept."""
        principal: Principal | None = None
        try:
            principal = self._pipeline.identify(request, "gateway")
            body = _object(request)
            act = self._decide if request.path == "/v1/decide" else self._record
            return Response(200, msgspec.json.encode(await act(request, principal, body)))
        except Refused as error:
            self._turned_away.note(request, error.status, error.code, error.message, principal)
            text = f"{error.message} {error.fix}".strip()
            return Response(error.status, error_body(Fault(error.status, "invalid_request_error", error.code, text)))

    def end(self) -> None:
        """Tells of the calls that are still open: what came of them will not be heard here."""
        for ident in list(self._open):
            self._close(ident, {"error.type": "not_told"})

    async def _decide(self, request: Request, principal: Principal, body: JsonObject) -> JsonObject:
        tool, arguments = _tool(body), body.get("arguments", {})
        wait = body.get("wait_s")
        if not isinstance(arguments, dict):
            raise Refused("bad_request", "`arguments` must be an object.", fix="Send {} for none.")
        if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float) or wait < 0):
            raise Refused("bad_request", "`wait_s` is a number of seconds.", fix="Leave it out for the agent's own.")
        self._forget()
        pipeline, begun, started = self._pipeline, time.monotonic(), datetime.now(UTC)
        headers = with_stated(request.headers, body.get("confidence"))
        call = pipeline.call(CallKind.TOOL, tool, arguments, principal, headers)
        if said := justification(body.get("reason")):
            call = replace(call, justification=said)
        call = replace(call, reads=_reads(pipeline, call, principal))
        if pipeline.returned.matters(call, principal):
            decision = Decision(
                Effect.DENY, f"What {tool} returns is decided on, which takes a call through the gateway.", (), ()
            )
            verdict = Verdict(decision, None, counts=False)
        else:
            verdict = await pipeline.decide(call, principal, prefer_wait=wait, max_wait=MAX_WAIT_S)
        opened = _Open(call, principal, verdict, started, begun)
        if verdict.allowed:
            self._open[call.id] = opened
        else:
            self._tell(opened, {})
        return self._answer(opened)

    def _answer(self, opened: _Open) -> JsonObject:
        decision = opened.verdict.decision
        can_go_on = may_fail_open(decision, self._pipeline.facts.bundles.get(opened.principal.workspace))
        out: dict[str, Any] = {
            "call": opened.call.id,
            "effect": decision.effect.value,
            "reason": decision.reason,
            "policies": list(decision.policies),
            "obligations": list(decision.obligations),
            "policy_version": decision.policy_version,
            "over": list(decision.over),
            "approval": opened.verdict.approval_id,
            "fail_mode": "open" if can_go_on else "closed",
        }
        if mode := opened.verdict.mode:
            out |= {"effect": Effect.DENY.value, "mode": mode, "reason": words(opened.call, opened.verdict)}
        if opened.verdict.allowed and (what := redactions(decision)):
            out["arguments"] = clean(opened.call.arguments, what)
        return out

    async def _record(self, request: Request, principal: Principal, body: JsonObject) -> JsonObject:
        ident, data = body.get("call"), _told(body)
        if not isinstance(ident, str) or not 0 < len(ident) <= 64:
            raise Refused("bad_request", "`call` is the id that /v1/decide gave.", fix="Send it.")
        known = self._open.get(ident)
        mine = known is not None and known.principal.instance == principal.instance
        resource = known.call.resource if known is not None and mine else _tool(body)
        self._pipeline.provenance.returned(principal, resource, [body.get("result"), body.get("error")])
        if mine:
            self._close(ident, data)
            return {"kept": True}
        # Its gateway is gone, or there was none: what the agent says of itself is kept as that and no more.
        arguments = body.get("arguments", {})
        alone, allowed = body.get("alone") is True, body.get("effect", "allow") == "allow"
        rule, duty = (ALONE, "fail_open") if alone else (TOLD, "notify")
        reason = "The client decided alone: no gateway answered." if alone else "Told by the client afterwards."
        decision = Decision(Effect.ALLOW if allowed else Effect.DENY, reason, (rule,), (duty,))
        call = self._pipeline.call(
            CallKind.TOOL, _tool(body), arguments if isinstance(arguments, dict) else {}, principal, request.headers
        )
        opened = _Open(_renamed(call, principal, ident), principal, Verdict(decision, None), _when(body), 0.0)
        self._tell(opened, data | {"tenure.alone": alone})
        return {"kept": True}

    def _forget(self) -> None:
        """Tells of calls that have been open for too long, and of the oldest when there are too many."""
        oldest = time.monotonic() - _OPEN_S
        while self._open:
            ident = next(iter(self._open))
            if self._open[ident].begun > oldest and len(self._open) < _OPEN:
                return
            self._close(ident, {"error.type": "not_told"})

    def _close(self, ident: str, data: JsonObject) -> None:
        opened = self._open.pop(ident)
        self._tell(opened, {"tenure.duration_us": int((time.monotonic() - opened.begun) * 1e6), **data})

    def _tell(self, opened: _Open, data: JsonObject) -> None:
        facts = dict(data)
        duration = facts.pop("tenure.duration_us", 0)
        facts = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": opened.call.resource.rpartition("/")[2],
            "gen_ai.tool.call.arguments": opened.call.arguments,
            "tenure.in_process": True,
            **facts,
        }
        waited = opened.verdict.waited_us
        if waited:
            facts["tenure.waited_us"] = waited
        self._pipeline.record(
            opened.call,
            opened.principal,
            opened.verdict,
            opened.started,
            duration if isinstance(duration, int) else 0,
            facts,
        )


def _object(request: Request) -> dict[str, Any]:
    if request.method != "POST":
        raise Refused("method_not_allowed", "This is asked with POST.", fix="Use POST.", status=405)
    body = decode_json(request.body)
    if not isinstance(body, dict):
        raise Refused("bad_request", "The body must be a JSON object.", fix="Send one with `tool`.")
    return body


def _renamed(call: Call, principal: Principal, ident: str) -> Call:
    """The call under an id that only this instance can have made, the same however often it is told."""
    own = stable_id("told", principal.workspace, principal.instance, ident)
    return Call(own, call.kind, call.resource, call.arguments, call.trace_id, own[16:], call.parent_span_id)


def _reads(pipeline: Pipeline, call: Call, principal: Principal) -> bool:
    """Whether the manifest says that such calls change nothing; no definition of the tool is seen here."""
    snapshot = pipeline.facts.current
    agent = snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None
    tools = agent.tools if agent is not None else ()
    return any(one.reads is True and f"{one.server}/{one.name}" == call.resource for one in tools)


def _tool(body: Mapping[str, Any]) -> str:
    tool = body.get("tool")
    if not isinstance(tool, str) or "/" not in tool or len(tool) > _NAME:
        raise Refused("bad_request", "`tool` is SERVER/TOOL as the manifest grants it.", fix="Name it.")
    return tool


def _told(body: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if body.get("error") is not None:
        out["error.type"] = "tool_error"
        out["error.message"] = str(body["error"])[:1000]
    if "result" in body:
        encoded = msgspec.json.encode(body["result"])
        cut = {"truncated": True, "bytes": len(encoded), "json": encoded[:_KEPT].decode("utf-8", "ignore")}
        out["gen_ai.tool.call.result"] = body["result"] if len(encoded) <= _KEPT else cut
    if isinstance(body.get("duration_us"), int):
        out["tenure.duration_us"] = max(0, min(body["duration_us"], 10**12))
    return out


def _when(body: Mapping[str, Any]) -> datetime:
    at = body.get("at")
    now = time.time()
    good = isinstance(at, int | float) and not isinstance(at, bool) and 0 < at <= now + 60
    return datetime.fromtimestamp(float(at) if good and at is not None else now, UTC)
