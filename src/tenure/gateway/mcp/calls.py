"""``tools/call``: which tool is meant, do the arguments fit, may it be called; then calling and recording it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.codec import Message
from tenure.gateway.mcp.connection import Limits, Progress
from tenure.gateway.mcp.tools import Tool, check_param_headers, granted
from tenure.gateway.mcp.upstream import Server, Servers
from tenure.gateway.pipeline import NoLongerAllowed, Pipeline
from tenure.gateway.verdict import Verdict
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import Call, CallKind, Effect, Principal
from tenure.policy.model import ARGUMENTS, GRANT

MAX_WAIT_S = 50.0
"""How long a held tool call waits for a person at most: clients give up after 60 s."""
_KEPT_BYTES = 256 << 10
_CHECKED_AT_ONCE = 32 << 10  # bytes of arguments; the check of more would hold up the calls of everybody
_OWN_PARAMS = ("name", "arguments", "_meta")


@dataclass(slots=True)
class _Attempt:
    """One tool call on its way."""

    message: Message
    principal: Principal
    call: Call
    tool: str
    server: str
    started: datetime
    begun: int
    verdict: Verdict | None = None


class ToolCalls:
    """Everything that ``tools/list`` and ``tools/call`` need to know of agents and servers."""

    def __init__(self, pipeline: Pipeline, servers: Servers, limits: Limits) -> None:
        self._pipeline = pipeline
        self._servers = servers
        self._limits = limits
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="schema")
        self._names: dict[str, tuple[AgentFact, dict[str, ToolFact]]] = {}

    def agent(self, principal: Principal) -> AgentFact | None:
        """The agent's fact of this moment."""
        snapshot = self._pipeline.facts.current
        return snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None

    def _granted(self, agent: AgentFact) -> dict[str, ToolFact]:
        key = f"{agent.workspace}/{agent.name}"
        known = self._names.get(key)
        if known is None or known[0] is not agent:
            known = self._names[key] = (agent, granted(agent))
        return known[1]

    def _server(self, agent: AgentFact, name: str) -> Server | None:
        fact = next((server for server in agent.servers if server.name == name), None)
        return self._servers.get(agent.workspace, fact) if fact is not None else None

    async def visible(self, principal: Principal) -> tuple[list[JsonObject], dict[str, str]]:
        """The granted tools as their servers describe them, under the names agents see; and, by server, why the tools
        of a server are missing."""
        agent = self.agent(principal)
        if agent is None:
            return [], {}
        names = self._granted(agent)
        wanted = sorted({tool.server for tool in names.values()})
        offers: dict[str, dict[str, Tool]] = {}
        missing: dict[str, str] = {}

        async def ask(name: str) -> None:
            server = self._server(agent, name)
            try:
                offers[name] = await server.tools() if server is not None else {}
            except Failed as error:
                missing[name] = error.message

        await asyncio.gather(*(ask(name) for name in wanted))
        out: list[JsonObject] = []
        for exposed, fact in names.items():
            tool = offers.get(fact.server, {}).get(fact.name)
            if tool is not None and tool.validator is not None:
                out.append({**tool.definition, "name": exposed})
        return out, missing

    async def call(
        self, message: Message, principal: Principal, headers: Mapping[str, str], progress: Progress | None
    ) -> bytes:
        """The response to one ``tools/call``. Raises Refused (``invalid_params``, ``header_mismatch``) for a call that
        names no granted tool or is not well formed."""
        name, arguments = message.params.get("name"), message.params.get("arguments")
        arguments = {} if arguments is None else arguments
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise Refused("invalid_params", "`name` must be a string and `arguments` an object.")
        agent = self.agent(principal)
        fact = self._granted(agent).get(name) if agent is not None else None
        server_name, tool_name = (fact.server, fact.name) if fact is not None else _as_resource(name)
        sent = message.meta.get("traceparent")
        if isinstance(sent, str) and "traceparent" not in headers:
            headers = {**headers, "traceparent": sent}
        resource = f"{server_name}/{tool_name}" if server_name else tool_name
        call = self._pipeline.call(CallKind.TOOL, resource, arguments, principal, headers)
        attempt = _Attempt(message, principal, call, tool_name, server_name, datetime.now(UTC), time.perf_counter_ns())
        try:
            if agent is None or fact is None:
                return await self._unknown(attempt, name, agent)
            return await self._attempt(attempt, name, agent, headers, progress)
        except asyncio.CancelledError:
            self._record(attempt, {"error.type": "cancelled"})
            raise

    async def _unknown(self, attempt: _Attempt, name: str, agent: AgentFact | None) -> bytes:
        """A name that is no granted tool. It is decided on all the same, so that it is recorded and counts."""
        verdict = attempt.verdict = await self._pipeline.decide(attempt.call, attempt.principal, prefer_wait=0.0)
        self._record(attempt, {"error.type": "unknown_tool"})
        if not verdict.allowed and GRANT not in verdict.decision.policies:
            return self._not_allowed(attempt, verdict)
        known = ", ".join(sorted(self._granted(agent))) if agent is not None else ""
        raise Refused(
            "invalid_params",
            f"Unknown tool: {name}.",
            fix=f"Granted to this agent: {known or 'none'}.",
            details={"id": attempt.message.id, "data": _decision_data(verdict)},
        )

    async def _attempt(
        self, attempt: _Attempt, name: str, agent: AgentFact, headers: Mapping[str, str], progress: Progress | None
    ) -> bytes:
        server = self._server(agent, attempt.server)
        tool: Tool | None = None
        problem: Failed | None = None
        try:
            tool = await self._find(server, attempt)
        except Failed as error:
            problem = error  # the decision comes first: a suspended agent need not hear of servers
        if tool is not None:
            faults = await self._faults(tool, attempt, headers)
            if faults:
                return self._misfit(attempt, name, faults)
        wait = _preferred_wait(headers)
        extra = {key: value for key, value in attempt.message.params.items() if key not in _OWN_PARAMS}
        extra |= {"_meta": meta} if (meta := codec.lasting_meta(attempt.message.meta)) else {}
        verdict = attempt.verdict = await self._pipeline.decide(
            attempt.call,
            attempt.principal,
            prefer_wait=wait,
            max_wait=MAX_WAIT_S,
            content=msgspec.json.encode(extra, order="sorted") if extra else b"",
        )
        if not verdict.allowed:
            return self._refuse(attempt, verdict)
        if server is None or problem is not None:
            return self._failed(attempt, problem or Failed("no_server", f"No server {attempt.server} is configured."))
        return await self._act(attempt, server, verdict, progress)

    @staticmethod
    async def _find(server: Server | None, attempt: _Attempt) -> Tool | None:
        if server is None:
            return None
        tool = server.known(attempt.tool)
        if tool is None:
            tool = (await server.tools(wanted=attempt.tool)).get(attempt.tool)
            if tool is None:
                raise Failed("unknown_tool", f"The server {attempt.server} offers no tool {attempt.tool} now.")
        return tool

    async def _faults(self, tool: Tool, attempt: _Attempt, headers: Mapping[str, str]) -> str:
        arguments = attempt.call.arguments
        if attempt.message.modern and tool.header_params:
            check_param_headers(tool, arguments, headers)
        if len(msgspec.json.encode(arguments)) <= _CHECKED_AT_ONCE:
            return tool.check(arguments)
        return await asyncio.get_running_loop().run_in_executor(self._checker, tool.check, arguments)

    def _misfit(self, attempt: _Attempt, name: str, faults: str) -> bytes:
        """Arguments that do not fit the schema. The model is told, so that it can mend them; nobody is asked for an
        approval, and it is no violation."""
        verdict = attempt.verdict = self._pipeline.judge(attempt.call, attempt.principal)
        if verdict.decision.effect is Effect.DENY and ARGUMENTS not in verdict.decision.policies:
            return self._refuse(attempt, verdict)
        self._record(attempt, {"error.type": "invalid_arguments"})
        text = f"Invalid arguments: {name} was not called. {faults}."
        return _result(attempt.message, codec.error_result(text, {codec.META_ERROR: {"code": "invalid_arguments"}}))

    async def _act(self, attempt: _Attempt, server: Server, verdict: Verdict, progress: Progress | None) -> bytes:
        call, principal = attempt.call, attempt.principal
        try:
            answer = await server.call(
                attempt.tool,
                attempt.message.params,
                traceparent=f"00-{call.trace_id}-{call.span_id}-01" if call.trace_id else "",
                progress=progress,
                admit=lambda: self._pipeline.admit(call, principal, verdict),
            )
        except NoLongerAllowed as newer:
            attempt.verdict = newer.verdict
            return self._refuse(attempt, newer.verdict)
        except Failed as error:
            return self._failed(attempt, error)
        told = answer.get("error")
        if told is not None:
            self._record(attempt, {"error.type": str(told["code"]), "gen_ai.tool.call.result": _kept(told)})
            return codec.error_message(attempt.message.id, told)
        result: dict[str, Any] = answer["result"]
        if result.get("resultType") == "input_required":
            if not attempt.message.modern:
                needs = "The tool asks for input, which clients can only give at protocol version 2026-07-28."
                return self._failed(attempt, Failed("input_required", needs))
        elif not isinstance(result.get("content"), list):
            return self._failed(attempt, Failed("upstream_garbage", "The result has no content."))
        shown = {key: value for key, value in result.items() if key != "_meta"}
        data: dict[str, Any] = {"gen_ai.tool.call.result": _kept(shown)}
        if result.get("isError") is True:
            data["error.type"] = "tool_error"
        self._record(attempt, data)
        return _result(attempt.message, result)

    def _refuse(self, attempt: _Attempt, verdict: Verdict) -> bytes:
        self._record(attempt, {})
        return self._not_allowed(attempt, verdict)

    @staticmethod
    def _not_allowed(attempt: _Attempt, verdict: Verdict) -> bytes:
        decision = verdict.decision
        if verdict.pending and verdict.approval_id is not None:
            result = codec.pending_result(attempt.call.resource, verdict.approval_id, decision.reason)
        else:
            result = codec.denied_result(attempt.call.resource, decision)
        return _result(attempt.message, result)

    def _failed(self, attempt: _Attempt, error: Failed) -> bytes:
        self._record(attempt, {"error.type": error.code})
        unsure = error.code in ("upstream_died", "upstream_timeout", "upstream_garbage")
        tail = " Whether it took effect is not known." if unsure else " It was not called."
        text = f"{attempt.call.resource} failed: {error.message}{tail}"
        return _result(attempt.message, codec.error_result(text, {codec.META_ERROR: {"code": error.code}}))

    def _record(self, attempt: _Attempt, data: JsonObject) -> None:
        verdict = attempt.verdict or self._pipeline.judge(attempt.call, attempt.principal)
        message = attempt.message
        given = message.meta.get("gen_ai.tool.call.id")
        facts: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": attempt.tool,
            "gen_ai.tool.call.id": given if isinstance(given, str) else attempt.call.id,
            "gen_ai.tool.call.arguments": _kept(attempt.call.arguments),
            "mcp.method.name": message.method,
            "mcp.protocol.version": message.version,
            "mcp.server.name": attempt.server,
            "jsonrpc.request.id": str(message.id),
            **data,
        }
        duration_us = (time.perf_counter_ns() - attempt.begun) // 1000
        self._pipeline.record(attempt.call, attempt.principal, verdict, attempt.started, duration_us, facts)


def _result(message: Message, result: JsonObject) -> bytes:
    return codec.result_message(message.id, codec.modern_result(result) if message.modern else result)


def _as_resource(name: str) -> tuple[str, str]:
    server, mark, tool = name.partition("__")
    return (server[:200], tool[:200]) if mark else ("", name[:200])


def _decision_data(verdict: Verdict) -> JsonObject:
    return {"reason": verdict.decision.reason, "policies": list(verdict.decision.policies)}


def _kept(value: Json) -> Json:
    """What an Event keeps of ``value``: all of it, or the beginning of its JSON when it is large."""
    encoded = msgspec.json.encode(value)
    if len(encoded) <= _KEPT_BYTES:
        return value
    return {"truncated": True, "bytes": len(encoded), "json": encoded[: _KEPT_BYTES // 4].decode("utf-8", "ignore")}


def _preferred_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds of ``Prefer: wait=N`` (RFC 7240)."""
    for preference in headers.get("prefer", "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.strip().lower() == "wait" and value.strip().isdigit():
            return float(value.strip()[:6])
    return None
