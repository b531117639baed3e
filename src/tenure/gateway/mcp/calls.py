"""``tools/call``: which tool is meant, do the arguments fit, may it be called; then calling and recording it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec

from tenure.gateway.justification import ARGUMENT, listed, parted
from tenure.gateway.mcp import codec
from tenure.gateway.mcp.aside import set_aside
from tenure.gateway.mcp.asking import restored
from tenure.gateway.mcp.attempt import Attempt, Attempts, answered, failure_text, kept, withheld_text
from tenure.gateway.mcp.catalogue import Catalogue
from tenure.gateway.mcp.codec import Message
from tenure.gateway.mcp.edited import Edit
from tenure.gateway.mcp.fingerprints import Fingerprints
from tenure.gateway.mcp.line import Line
from tenure.gateway.mcp.tools import Tool, check_param_headers, granted
from tenure.gateway.mcp.upstream import Server
from tenure.gateway.returned import Withheld
from tenure.gateway.verdict import NoLongerAllowed, Verdict
from tenure.kernel.drafts import DRAFT, SIMULATE, DraftFact
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import Call, CallKind, Effect, Principal
from tenure.policy.model import ARGUMENTS, GRANT, JUSTIFICATION, NOT_VIOLATIONS, facts_read, withheld

_ANYWAY = NOT_VIOLATIONS - {JUSTIFICATION}  # which may be among the arguments
_READ_AT_ONCE = 20  # definitions
_NAMED = 20  # tools in an error text
_CHECKED_AT_ONCE = 32 << 10  # bytes of arguments; the check of more would hold up the calls of everybody


class ToolCalls:
    """Everything that ``tools/list`` and ``tools/call`` need to know of agents and servers."""

    def __init__(self, attempts: Attempts, fingerprints: Fingerprints) -> None:
        self._attempts = attempts
        self._fingerprints = fingerprints
        self._pipeline = attempts.pipeline
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="schema")
        self._names: dict[str, tuple[AgentFact, dict[str, ToolFact]]] = {}

    def _granted(self, agent: AgentFact) -> dict[str, ToolFact]:
        key = f"{agent.workspace}/{agent.name}"
        known = self._names.get(key)
        if known is None or known[0] is not agent:
            known = self._names[key] = (agent, granted(agent))
        return known[1]

    async def visible(self, principal: Principal) -> tuple[list[JsonObject], dict[str, str]]:
        """The granted tools that the credential reaches, as their servers describe them, under the names agents see;
        and, by server or by tool, why some are missing."""
        agent = self._attempts.agent(principal)
        if agent is None:
            return [], {}
        names = self._granted(agent)
        may = self._pipeline.reach.may(principal, agent)
        if may is not None:
            names = {name: fact for name, fact in names.items() if may(CallKind.TOOL, f"{fact.server}/{fact.name}")}
        wanted = sorted({tool.server for tool in names.values()})
        offers: dict[str, Catalogue] = {}
        missing: dict[str, str] = {}

        async def ask(name: str) -> None:
            server = self._attempts.server(agent, name, principal)
            try:
                offers[name] = await server.tools() if server is not None else Catalogue()
            except Failed as error:
                missing[name] = error.message

        await asyncio.gather(*(ask(name) for name in wanted))
        found: dict[str, Tool] = {}
        for number, (exposed, fact) in enumerate(names.items()):
            tool = offers.get(fact.server, Catalogue()).get(fact.name)
            if tool is not None and tool.validator is not None:
                found[exposed] = tool
            if number % _READ_AT_ONCE == _READ_AT_ONCE - 1:
                await asyncio.sleep(0)  # reading many for the first time must not hold up the calls of everybody
        await self._fingerprints.settle(agent, [(names[exposed], tool) for exposed, tool in found.items()])
        now = self._attempts.agent(principal)
        names = self._granted(now) if now is not None else {}
        out: list[JsonObject] = []
        for exposed, tool in found.items():
            if exposed not in names:
                continue
            refusal = withheld(names[exposed], tool.fingerprint)
            if refusal is None:
                out.append({**self._definition(now, names[exposed], tool), "name": exposed})
            else:
                missing[exposed] = refusal[1]
        return out, missing

    def _demanded(self, agent: AgentFact, resource: str) -> bool:
        """Whether a policy in scope of a tool wants to be told what its call is for."""
        bundle = self._pipeline.facts.bundles.get(agent.workspace)
        if bundle is None or "justified" not in bundle.reads:
            return False
        return "justified" in facts_read(Call("", CallKind.TOOL, resource), agent, bundle)

    def _definition(self, agent: AgentFact | None, fact: ToolFact, tool: Tool) -> JsonObject:
        demanded = agent is not None and self._demanded(agent, f"{fact.server}/{fact.name}")
        return listed(tool.definition) if demanded else tool.definition

    def _part(self, attempt: Attempt, agent: AgentFact, tool: Tool) -> None:
        """Takes what the call is for out of its arguments, where the tool was listed with a field for it."""
        if ARGUMENT in attempt.call.arguments and self._demanded(agent, attempt.call.resource):
            arguments, said = parted(attempt.call.arguments, tool.definition)
            said = said or attempt.call.justification
            attempt.call = replace(attempt.call, arguments=arguments, justification=said)

    async def call(self, message: Message, principal: Principal, headers: Mapping[str, str], line: Line) -> bytes:
        """The response to one ``tools/call``. Raises Refused (``invalid_params``, ``header_mismatch``) for a call that
        names no granted tool or is not well formed."""
        name, arguments = message.params.get("name"), message.params.get("arguments")
        arguments = {} if arguments is None else arguments
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise Refused("invalid_params", "`name` must be a string and `arguments` an object.")
        agent = self._attempts.agent(principal)
        fact = self._granted(agent).get(name) if agent is not None else None
        server_name, tool_name = (fact.server, fact.name) if fact is not None else _as_resource(name)
        message, returned = restored(message)
        attempt = self._attempts.begin(message, principal, headers, server_name, tool_name, arguments)
        attempt.invitation = self._attempts.asking.of(message, principal, line, returned)
        try:
            if agent is None or fact is None:
                return await self._unknown(attempt, name, agent)
            return await self._attempt(attempt, name, agent, fact, headers, line)
        except asyncio.CancelledError:
            self._record(attempt, {"error.type": "cancelled"})
            raise

    async def perform(self, fact: DraftFact) -> None:
        """Makes a prepared call in the agent's place, as the person who wants it made. What comes of it is recorded."""
        principal, (server, _, tool) = fact.principal, fact.resource.partition("/")
        agent = self._attempts.agent(principal)
        known = self._granted(agent).items() if agent is not None else ()
        name, granted_as = next(
            ((name, one) for name, one in known if (one.server, one.name) == (server, tool)), ("", None)
        )
        params = {"name": name, "arguments": dict(fact.arguments)}
        message, headers = (
            Message("tools/call", fact.id, params),
            {"traceparent": f"00-{fact.trace_id}-{fact.parent}-01"},
        )
        attempt = self._attempts.begin(message, principal, headers, server, tool, dict(fact.arguments))
        attempt.draft, attempt.by, attempt.prefer = fact.id, fact.by, 0.0
        try:
            if agent is None or granted_as is None:
                self._record(attempt, {"error.type": "unknown_tool"})
            else:
                await self._attempt(attempt, name, agent, granted_as, {"prefer": "wait=0"}, Line())
        except asyncio.CancelledError:
            self._record(attempt, {"error.type": "cancelled"})
            raise

    async def _unknown(self, attempt: Attempt, name: str, agent: AgentFact | None) -> bytes:
        """A name that is no granted tool. It is decided on all the same, so that it is recorded and counts."""
        verdict = attempt.verdict = await self._pipeline.decide(attempt.call, attempt.principal, prefer_wait=0.0)
        self._record(attempt, {"error.type": "unknown_tool"})
        if not verdict.allowed and GRANT not in verdict.decision.policies:
            return self._not_allowed(attempt, verdict)
        known = sorted(self._granted(agent)) if agent is not None else []
        more = f" and {len(known) - _NAMED} more, see tools/list" if len(known) > _NAMED else ""
        raise Refused(
            "invalid_params",
            f"Unknown tool: {name[:200]}.",
            fix=f"Granted to this agent: {', '.join(known[:_NAMED]) or 'none'}{more}.",
            details={"id": attempt.message.id, "data": _decision_data(verdict)},
        )

    def _unconnected(self, attempt: Attempt, connector: str) -> bytes:
        """The answer to a call for somebody who has yet to let agents in at the server: where to do that (MCP
        2025-11-25, URL elicitation). It is recorded with the decision that it would have had."""
        self._record(attempt, {"error.type": "not_connected"})
        error = codec.connect_error(connector, attempt.server, attempt.principal.on_behalf_of, self._attempts.console)
        return codec.error_message(attempt.message.id, error)

    async def _attempt(  # noqa: PLR0917 (the facts of one call, in the order they come to be)
        self,
        attempt: Attempt,
        name: str,
        agent: AgentFact,
        fact: ToolFact,
        headers: Mapping[str, str],
        line: Line,
    ) -> bytes:
        connector = self._attempts.unconnected(agent, attempt.server, attempt.principal)
        if connector:
            return self._unconnected(attempt, connector)
        server = self._attempts.server(agent, attempt.server, attempt.principal)
        tool: Tool | None = None
        problem: Failed | None = None
        try:
            tool = await self._find(server, attempt)
        except Failed as error:
            problem = error  # the decision comes first: a suspended agent need not hear of servers
        if tool is not None:
            if self._fingerprints.unsettled(fact, tool):
                await self._fingerprints.settle(agent, [(fact, tool)])
            attempt.call = replace(attempt.call, definition=tool.fingerprint, reads=tool.reads(fact))
            self._part(attempt, agent, tool)
            faults = await self._faults(tool, attempt, headers)
            if faults:
                return self._misfit(attempt, name, faults)
        verdict = await self._attempts.decide(attempt, headers)
        if verdict.edited is not None and tool is not None:
            edit = attempt.edit = Edit(attempt.call.arguments, verdict.edited)
            attempt.call = replace(attempt.call, arguments=dict(verdict.edited.edited or {}))
            faults = await self._fits(tool, attempt.call.arguments)
            verdict = await self._attempts.decide_changed(attempt, edit, faults)
        if verdict.mode in (DRAFT, SIMULATE):
            return self._set_aside(attempt, tool, verdict)
        if not verdict.allowed:
            return self._refuse(attempt, verdict)
        if server is None or problem is not None:
            return self._failed(attempt, problem or Failed("no_server", f"No server {attempt.server} is configured."))
        return await self._act(attempt, server, verdict, line)

    async def _find(self, server: Server | None, attempt: Attempt) -> Tool | None:
        if server is None:
            return None
        tool = server.current(attempt.name)
        if tool is None:
            early = self._pipeline.judge(attempt.call, attempt.principal).decision
            if _ANYWAY.intersection(early.policies):
                return None  # refused whatever the server offers: a server that hangs must not delay a stop
            tool = (await server.tools(wanted=attempt.name)).get(attempt.name)
            if tool is None:
                raise Failed("unknown_tool", f"The server {attempt.server} offers no tool {attempt.name} now.")
        return tool

    async def _faults(self, tool: Tool, attempt: Attempt, headers: Mapping[str, str]) -> str:
        arguments = attempt.call.arguments
        if attempt.message.modern and tool.header_params:
            check_param_headers(tool, arguments, headers)
        return await self._fits(tool, arguments)

    async def _fits(self, tool: Tool, arguments: JsonObject) -> str:
        if len(msgspec.json.encode(arguments)) <= _CHECKED_AT_ONCE:
            return tool.check(arguments)
        return await asyncio.get_running_loop().run_in_executor(self._checker, tool.check, arguments)

    def _misfit(self, attempt: Attempt, name: str, faults: str) -> bytes:
        """Arguments that do not fit the schema. The model is told, so that it can mend them; nobody is asked for an
        approval, and it is no violation."""
        verdict = attempt.verdict = self._attempts.judged(attempt)
        if verdict.decision.effect is Effect.DENY and ARGUMENTS not in verdict.decision.policies:
            return self._refuse(attempt, verdict)
        self._record(attempt, {"error.type": "invalid_arguments"})
        text = f"Invalid arguments: {name} was not called. {faults}."
        return _told(attempt, codec.error_result(text, {codec.META_ERROR: {"code": "invalid_arguments"}}))

    async def _act(self, attempt: Attempt, server: Server, verdict: Verdict, line: Line) -> bytes:
        params = {**attempt.message.params, "name": attempt.name}
        if params.get("arguments") is not None or attempt.edit is not None:
            params["arguments"] = attempt.call.arguments  # without what they were for
        try:
            answer = await self._attempts.send(attempt, server, verdict, params, line)
        except NoLongerAllowed as newer:
            attempt.verdict = newer.verdict
            await self._tell(attempt, server)
            return self._refuse(attempt, newer.verdict)
        except Withheld as withheld:
            self._record(attempt, {})
            decision = withheld.verdict.decision
            meta = {codec.META_DECISION: codec.decision_meta(decision)}
            return _told(attempt, codec.error_result(withheld_text(attempt, decision), meta))
        except Failed as error:
            return self._failed(attempt, error)
        told = answer.get("error")
        if told is not None:
            self._record(attempt, {"error.type": str(told["code"]), "gen_ai.tool.call.result": kept(told)})
            return codec.error_message(attempt.message.id, told)
        result: dict[str, Any] = answer["result"]
        if result.get("resultType") != "input_required" and not isinstance(result.get("content"), list):
            return self._failed(attempt, Failed("upstream_garbage", "The result has no content."))
        shown = {key: value for key, value in result.items() if key != "_meta"}
        data: dict[str, Any] = {"gen_ai.tool.call.result": kept(shown)}
        if result.get("isError") is True:
            data["error.type"] = "tool_error"
        self._record(attempt, data)
        return _told(attempt, result)

    async def _tell(self, attempt: Attempt, server: Server) -> None:
        """Tells of a definition that came between the decision and the call."""
        agent, tool = self._attempts.agent(attempt.principal), server.current(attempt.name)
        facts = self._granted(agent).values() if agent is not None else ()
        fact = next((fact for fact in facts if (fact.server, fact.name) == (attempt.server, attempt.name)), None)
        if agent is not None and fact is not None and tool is not None:
            await self._fingerprints.settle(agent, [(fact, tool)])

    def _refuse(self, attempt: Attempt, verdict: Verdict) -> bytes:
        self._record(attempt, {})
        return self._not_allowed(attempt, verdict)

    def _set_aside(self, attempt: Attempt, tool: Tool | None, verdict: Verdict) -> bytes:
        """The answer to a call that is drafted or simulated."""
        self._record(attempt, {})
        result = set_aside(attempt.call, verdict, tool.definition if tool is not None else {})
        return _told(attempt, result)

    @staticmethod
    def _not_allowed(attempt: Attempt, verdict: Verdict) -> bytes:
        decision = verdict.decision
        if verdict.pending and verdict.approval_id is not None:
            invitation = attempt.invitation
            if invitation is not None and (asked := invitation.answer(attempt.call.resource)) is not None:
                return asked
            result = codec.pending_result(attempt.call.resource, verdict.approval_id, decision.reason)
        elif verdict.mode:
            result = set_aside(attempt.call, verdict, {})
        else:
            result = codec.denied_result(attempt.call.resource, decision, verdict.retry_s)
        return _told(attempt, result)

    def _failed(self, attempt: Attempt, error: Failed) -> bytes:
        self._record(attempt, {"error.type": error.code})
        text = failure_text(attempt, error)
        return _told(attempt, codec.error_result(text, {codec.META_ERROR: {"code": error.code}}))

    def _record(self, attempt: Attempt, data: JsonObject) -> None:
        self._attempts.record(attempt, data)


def _told(attempt: Attempt, result: JsonObject) -> bytes:
    """A result, with what a person changed of the call."""
    return answered(attempt.message, attempt.edit.told(result) if attempt.edit is not None else result)


def _as_resource(name: str) -> tuple[str, str]:
    server, mark, tool = name.partition("__")
    return (server[:200], tool[:200]) if mark else ("", name[:200])


def _decision_data(verdict: Verdict) -> JsonObject:
    return {"reason": verdict.decision.reason, "policies": list(verdict.decision.policies)}
