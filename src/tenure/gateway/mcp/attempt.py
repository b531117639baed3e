"""One request of an agent to one of its servers on its way: decided on, sent, recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from tenure.base.scan.texts import clean
from tenure.gateway.approvals import demands
from tenure.gateway.confidence import META as CONFIDENCE
from tenure.gateway.confidence import with_stated
from tenure.gateway.justification import META, justification
from tenure.gateway.mcp import codec
from tenure.gateway.mcp.asking import Asking, Invitation
from tenure.gateway.mcp.codec import Message
from tenure.gateway.mcp.connection import Limits
from tenure.gateway.mcp.edited import Edit
from tenure.gateway.mcp.line import Line
from tenure.gateway.mcp.session import ASKS, wanted_inputs
from tenure.gateway.mcp.upstream import Server, Servers
from tenure.gateway.modes import more_than_one
from tenure.gateway.pipeline import Pipeline
from tenure.gateway.returned import Withheld, told
from tenure.gateway.verdict import NoLongerAllowed, Verdict
from tenure.kernel.errors import Failed
from tenure.kernel.fingerprint import Fingerprint
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Call, CallKind, Decision, Effect, Principal
from tenure.policy.model import ARGUMENTS, redactions

MAX_WAIT_S = 50.0
"""How long a held request waits for a person at most: clients give up after 60 s."""
_KEPT_BYTES = 256 << 10
_NAMES = ("name", "uri", "ref")
_OWN_PARAMS = ("name", "arguments", "uri", "ref", "argument", "_meta")


@dataclass(slots=True)
class Attempt:
    """``name`` is the server's own: of a tool, or of what else is asked for. ``asked`` lists what the server asked of
    the client meanwhile. ``prefer`` is how many seconds the client would wait for a person, ``returned`` what the Event
    tells of a decision on what came back. ``draft``: the prepared call that ``by``, a person, makes with it.
    ``invitation``: what a client is asked that opens pages for the person in front of it. ``edit``: the
    arguments that a person put in the place of the agent's."""

    message: Message
    principal: Principal
    call: Call
    server: str
    name: str
    started: datetime
    begun: int
    verdict: Verdict | None = None
    asked: tuple[str, ...] = ()
    prefer: float | None = None
    returned: JsonObject = field(default_factory=dict)
    draft: str = ""
    by: str = ""
    invitation: Invitation | None = None
    edit: Edit | None = None


class Attempts:
    """What every kind of request has in common."""

    def __init__(self, pipeline: Pipeline, servers: Servers, limits: Limits, console: str = "") -> None:
        """``console``: where people reach the control plane."""
        self.console = console
        self.asking = Asking(console, limits.ask_s)
        self.pipeline = pipeline
        self._servers = servers
        self._limits = limits

    def agent(self, principal: Principal) -> AgentFact | None:
        """The agent's fact of this moment."""
        snapshot = self.pipeline.facts.current
        return snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None

    def server(self, agent: AgentFact, name: str, principal: Principal | None = None) -> Server | None:
        """The server that the agent's manifest calls ``name``, as the person for whom ``principal`` works is let in."""
        fact = next((server for server in agent.servers if server.name == name and not server.in_process), None)
        person = principal.on_behalf_of if principal is not None else None
        return self._servers.get(agent.workspace, fact, agent.name, person or "") if fact is not None else None

    def unconnected(self, agent: AgentFact, name: str, principal: Principal) -> str:
        """The connector by which the person for whom ``principal`` works has yet to let agents in at a server; empty
        where nobody has to."""
        fact = next((server for server in agent.servers if server.name == name), None)
        if fact is None or not fact.connector:
            return ""
        key = f"{agent.workspace}/{fact.connector}/{(principal.on_behalf_of or '').lower()}"
        return "" if self.pipeline.facts.credentials.mark(key) else fact.connector

    def begin(  # noqa: PLR0917 (the facts of one request, in the order they come to be)
        self,
        message: Message,
        principal: Principal,
        headers: Mapping[str, str],
        server: str,
        name: str,
        arguments: JsonObject,
    ) -> Attempt:
        """A request as a Call of the resource ``<server>/<name>``."""
        sent = message.meta.get("traceparent")
        if isinstance(sent, str) and "traceparent" not in headers:
            headers = {**headers, "traceparent": sent}
        headers = with_stated(headers, message.meta.get(CONFIDENCE))
        resource = f"{server}/{name}" if server else name
        call = self.pipeline.call(CallKind.TOOL, resource, arguments, principal, headers)
        if said := justification(message.meta.get(META)):
            call = replace(call, justification=said)
        return Attempt(message, principal, call, server, name, datetime.now(UTC), time.perf_counter_ns())

    async def decide(self, attempt: Attempt, headers: Mapping[str, str]) -> Verdict:
        """The decision; what is not among the arguments is bound into an approval all the same."""
        extra = {key: value for key, value in attempt.message.params.items() if key not in _OWN_PARAMS}
        extra |= {"_meta": meta} if (meta := codec.lasting_meta(attempt.message.meta)) else {}
        if extra:
            attempt.call = replace(attempt.call, content=extra)
        if attempt.message.method != "tools/call":
            attempt.call = replace(attempt.call, reads=True)  # what else there is changes nothing (MCP)
        attempt.prefer = preferred_wait(headers)
        if attempt.by:
            plain = self.pipeline.judge(attempt.call, attempt.principal, by=attempt.by)
            if plain.pending and (wanted := demands(plain)):
                attempt.verdict = more_than_one(plain, wanted)
                return attempt.verdict
        invitation = attempt.invitation
        verdict = None
        try:
            verdict = attempt.verdict = await self.pipeline.decide(
                attempt.call,
                attempt.principal,
                prefer_wait=attempt.prefer,
                max_wait=MAX_WAIT_S,
                content=msgspec.json.encode(extra, order="sorted") if extra else b"",
                approved=bool(attempt.by),
                by=attempt.by,
                invite=invitation,
            )
        finally:
            if invitation is not None:
                await invitation.end(decided=verdict is not None and not verdict.pending)
        return verdict

    async def decide_changed(self, attempt: Attempt, edit: Edit, faults: str) -> Verdict:
        """The decision on a call that was approved with other arguments, once it has them: by policy as it is now,
        under limits and sequence rules, held by nothing that the approval does not answer. ``faults``: in what they do
        not fit the tool."""
        first = self.pipeline.approvals.as_changed(attempt.call, attempt.principal, edit.fact)
        if faults:
            decision = first.decision
            denied = Decision(Effect.DENY, f"They do not fit: {faults}.", (ARGUMENTS,), (), decision.policy_version)
            first = msgspec.structs.replace(first, decision=denied)
        if not first.allowed and not first.half_open and not first.mode:
            attempt.verdict = first
            return first
        made = await self.pipeline.decide(attempt.call, attempt.principal, prefer_wait=0.0, approved=True)
        attempt.verdict = msgspec.structs.replace(made, approval_id=edit.fact.id)
        return attempt.verdict

    async def send(self, attempt: Attempt, server: Server, verdict: Verdict, params: JsonObject, line: Line) -> Any:
        """The server's response message. A client of a revision with sessions is asked on its stream for what an
        ``input_required`` result wants, and the request is made again with the answers. What policy wants redacted is
        taken out of what goes and of what came back.

        Raises Failed, NoLongerAllowed when a fact changed for the worse, Withheld for what may not be handed on."""
        if what := redactions(verdict.decision):
            own = {key: value for key, value in params.items() if key in _NAMES}
            params = {**clean(params, what), **own}
        answer = await self._weighed(attempt, verdict, await self._send(attempt, server, verdict, params, line))
        said = answer.get("result", answer.get("error"))
        self.pipeline.provenance.returned(attempt.principal, attempt.call.resource, said)
        return answer

    async def _weighed(self, attempt: Attempt, verdict: Verdict, answer: JsonObject) -> JsonObject:
        returned, key = self.pipeline.returned, "error" if answer.get("error") is not None else "result"
        if not returned.matters(attempt.call, attempt.principal):
            return answer
        value = answer.get(key)
        weighed = await returned.decide(attempt.call, attempt.principal, verdict, value, attempt.prefer, MAX_WAIT_S)
        attempt.returned = {"gen_ai.tool.call.result": kept(value), **told(weighed)}
        if not weighed.allowed:
            raise Withheld(weighed)
        what = redactions(weighed.decision)
        return {**answer, key: clean(value, what)} if what else answer

    async def _send(self, attempt: Attempt, server: Server, verdict: Verdict, params: JsonObject, line: Line) -> Any:
        call = attempt.call

        def admit() -> None:
            if attempt.message.method == "tools/call" and (now := server.described(attempt.name)) != call.definition:
                self._reconsider(attempt, verdict, now)  # the server has described it otherwise since the decision
            self.pipeline.admit(attempt.call, attempt.principal, verdict)

        for _ in range(self._limits.rounds):
            answer = await server.request(
                attempt.message.method,
                params,
                line=line,
                traceparent=f"00-{call.trace_id}-{call.span_id}-01" if call.trace_id else "",
                admit=admit,
            )
            result = answer.get("result")
            if not isinstance(result, dict) or result.get("resultType") != "input_required":
                return answer
            self._check_asks(attempt, server, result)
            if attempt.message.modern:
                return answer
            given: dict[str, Json] = {}
            for key, (method, wanted) in wanted_inputs(result).items():
                self.pipeline.provenance.returned(attempt.principal, attempt.call.resource, wanted)
                told = await line.ask(method, wanted, self._limits.ask_s)
                if not isinstance(told.get("result"), dict):
                    raise Failed("client_refused", f"The agent's client did not answer {method}.")
                given[key] = told["result"]
            params = {**params, "inputResponses": given}
            params.pop("requestState", None)
            if "requestState" in result:
                params["requestState"] = result["requestState"]
        raise Failed("input_required", f"The server asked {self._limits.rounds} times and did not come to an end.")

    def _reconsider(self, attempt: Attempt, verdict: Verdict, definition: Fingerprint | None) -> None:
        """Decides anew on a tool that is described otherwise now, or no more. Raises NoLongerAllowed."""
        if definition is None:
            raise Failed("unknown_tool", f"The server {attempt.server} offers no tool {attempt.name} now.")
        attempt.call = replace(attempt.call, definition=definition)
        approved = verdict.approval_id is not None or bool(attempt.by)
        newer = self.pipeline.judge(attempt.call, attempt.principal, approved=approved, by=attempt.by)
        if not newer.allowed:
            raise NoLongerAllowed(msgspec.structs.replace(newer, charge=verdict.charge, entered=verdict.entered))

    @staticmethod
    def _check_asks(attempt: Attempt, server: Server, result: JsonObject) -> None:
        for method, _ in wanted_inputs(result).values():
            attempt.asked = (*attempt.asked, method)
            if ASKS.get(method) not in server.asks:
                what = ASKS.get(method, method[:100] or "something unknown")
                text = f"The server asks the agent's client for {what}, which its manifest does not let it (asks)."
                raise Failed("ask_not_granted", text)

    def judged(self, attempt: Attempt) -> Verdict:
        """The decision on a request that comes to nothing whatever is decided: nothing of it is drafted."""
        verdict = self.pipeline.judge(attempt.call, attempt.principal, approved=bool(attempt.by), by=attempt.by)
        return msgspec.structs.replace(verdict, mode="")

    def record(self, attempt: Attempt, data: JsonObject) -> None:
        """Records what came of it."""
        verdict = attempt.verdict or self.judged(attempt)
        message, definition = attempt.message, attempt.call.definition
        given = message.meta.get("gen_ai.tool.call.id")
        facts: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": attempt.name,
            "gen_ai.tool.call.id": given if isinstance(given, str) else attempt.call.id,
            "gen_ai.tool.call.arguments": kept(attempt.call.arguments),
            "mcp.method.name": message.method,
            "mcp.protocol.version": message.version,
            "mcp.server.name": attempt.server,
            "jsonrpc.request.id": str(message.id),
            **({"tenure.tool.fingerprint": definition.digest} if definition is not None else {}),
            **({"tenure.draft.id": attempt.draft} if attempt.draft else {}),
            **({"tenure.approval.edited": attempt.edit.record} if attempt.edit is not None else {}),
            **({"tenure.approval.invited": said} if (i := attempt.invitation) is not None and (said := i.said) else {}),
            **({"tenure.mcp.asked": list(attempt.asked)} if attempt.asked else {}),
            **data,
            **attempt.returned,
        }
        duration_us = (time.perf_counter_ns() - attempt.begun) // 1000
        self.pipeline.record(attempt.call, attempt.principal, verdict, attempt.started, duration_us, facts)


def withheld_text(attempt: Attempt, decision: Decision) -> str:
    """What is told in place of what came back."""
    by = f" (policy {', '.join(decision.policies)})" if decision.policies else ""
    return f"Withheld: {attempt.call.resource} was called, and what came back is not handed on. {decision.reason}{by}"


def failure_text(attempt: Attempt, error: Failed) -> str:
    """What a failed request is told as, with whether it may have taken effect."""
    unsure = error.code in ("upstream_died", "upstream_timeout", "upstream_garbage")
    tail = " Whether it took effect is not known." if unsure else " It was not called."
    if attempt.asked:
        tail = " It came to no end."
    return f"{attempt.call.resource} failed: {error.message}{tail}"


def answered(message: Message, result: JsonObject, *, cacheable: bool = False) -> bytes:
    """A result as the client's revision wants it."""
    return codec.result_message(
        message.id, codec.modern_result(result, cacheable=cacheable) if message.modern else result
    )


def kept(value: Json) -> Json:
    """What an Event keeps of ``value``: all of it, or the beginning of its JSON when it is large."""
    encoded = msgspec.json.encode(value)
    if len(encoded) <= _KEPT_BYTES:
        return value
    return {"truncated": True, "bytes": len(encoded), "json": encoded[: _KEPT_BYTES // 4].decode("utf-8", "ignore")}


def preferred_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds of ``Prefer: wait=N`` (RFC 7240)."""
    for preference in headers.get("prefer", "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.strip().lower() == "wait" and value.strip().isdigit():
            return float(value.strip()[:6])
    return None
