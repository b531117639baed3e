"""Resources, prompts and completions: which of them an agent was granted, reading and getting them, recording it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.attempt import Attempt, Attempts, answered, failure_text, kept, withheld_text
from tenure.gateway.mcp.codec import Message
from tenure.gateway.mcp.line import Line
from tenure.gateway.mcp.upstream import Server
from tenure.gateway.returned import Withheld
from tenure.gateway.verdict import NoLongerAllowed, Verdict
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.naming import exposed_name, uri_matches
from tenure.kernel.snapshot import AgentFact, ServerFact
from tenure.kernel.values import CallKind, Principal
from tenure.policy.model import GRANT

METHODS = frozenset({"resources/read", "prompts/get", "completion/complete"})
"""Requests that are decided on and go to one server."""
_CONTENT = {"resources/read": "contents", "prompts/get": "messages", "completion/complete": "completion"}
_OF_RESOURCES = ("resources/read", "resources/subscribe", "subscriptions/listen")
_URI_LIMIT = 4096
Act: TypeAlias = Callable[[Attempt, Server, Verdict], Awaitable[JsonObject]]
"""What is done when it was decided that it may be; returns the response message. Raises Failed, NoLongerAllowed."""
_Pick: TypeAlias = Callable[[AgentFact, ServerFact, JsonObject], JsonObject | None]


def resource_grant(agent: AgentFact, uri: str) -> tuple[ServerFact, str] | None:
    """The server that ``uri`` is read from and the pattern that grants it: the first, in the manifest's order."""
    for server in agent.servers:
        for pattern in server.resources:
            if uri_matches(pattern, uri):
                return server, pattern
    return None


def prompt_grant(agent: AgentFact, name: str) -> tuple[ServerFact, str] | None:
    """The server and its own name of the prompt that the agent sees as ``name``."""
    for server in agent.servers:
        for prompt in server.prompts:
            if exposed_name(server.name, prompt, server.prefix) == name:
                return server, prompt
    return None


def capabilities(agent: AgentFact | None) -> dict[str, Any]:
    """What an agent's virtual server offers it."""
    out: dict[str, Any] = {"tools": {"listChanged": True}}
    servers = agent.servers if agent is not None else ()
    if any(server.resources for server in servers):
        out["resources"] = {"subscribe": True, "listChanged": True}
    if any(server.prompts for server in servers):
        out["prompts"] = {"listChanged": True}
    if len(out) > 1:
        out["completions"] = {}
    return out


def _resource(uri_key: str) -> _Pick:
    def pick(agent: AgentFact, server: ServerFact, item: JsonObject) -> JsonObject | None:
        uri = item.get(uri_key)
        grant = resource_grant(agent, uri) if isinstance(uri, str) else None
        return item if grant is not None and grant[0].name == server.name else None

    return pick


def _prompt(agent: AgentFact, server: ServerFact, item: JsonObject) -> JsonObject | None:  # noqa: ARG001 (of one form)
    name = item.get("name")
    if not isinstance(name, str) or name not in server.prompts:
        return None
    return {**item, "name": exposed_name(server.name, name, server.prefix)}


def key_place(agent: AgentFact, key: str, item: JsonObject) -> str:
    """What an item of a list is to a decision, at its server: ``resources/PATTERN`` or ``prompts/NAME``."""
    if key == "prompts":
        return f"prompts/{item.get('name')}"
    grant = resource_grant(agent, str(item.get("uri") or item.get("uriTemplate")))
    return f"resources/{grant[1] if grant is not None else ''}"


LISTS: Mapping[str, tuple[str, _Pick]] = {
    "resources/list": ("resources", _resource("uri")),
    "resources/templates/list": ("resourceTemplates", _resource("uriTemplate")),
    "prompts/list": ("prompts", _prompt),
}
"""Lists, the key that they come under, and what of them an agent is shown."""


class Offers:
    """What ``METHODS`` and ``LISTS`` need to know of agents and servers."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def visible(self, principal: Principal, method: str) -> tuple[list[JsonObject], dict[str, str]]:
        """What was granted and the credential reaches, as the servers describe it; and, by server, why it is
        missing."""
        agent = self._attempts.agent(principal)
        if agent is None:
            return [], {}
        key, pick = LISTS[method]
        found: dict[str, tuple[JsonObject, ...]] = {}
        missing: dict[str, str] = {}

        async def ask(fact: ServerFact) -> None:
            server = self._attempts.server(agent, fact.name, principal)
            try:
                found[fact.name] = await server.listing(method, key) if server is not None else ()
            except Failed as error:
                missing[fact.name] = error.message

        granting = [
            fact for fact in agent.servers if not fact.off and (fact.prompts if key == "prompts" else fact.resources)
        ]
        await asyncio.gather(*(ask(fact) for fact in granting))
        may = self._attempts.pipeline.reach.may(principal, agent)
        shown = (
            pick(agent, fact, item)
            for fact in granting
            for item in found.get(fact.name, ())
            if may is None or may(CallKind.TOOL, f"{fact.name}/{key_place(agent, key, item)}")
        )
        return [item for item in shown if item is not None], missing

    async def call(self, message: Message, principal: Principal, headers: Mapping[str, str], line: Line) -> bytes:
        """The response to one of ``METHODS``. Raises Refused (``invalid_params``) for what names nothing that was
        granted or is not well formed."""

        async def send(attempt: Attempt, server: Server, verdict: Verdict) -> JsonObject:
            answer: JsonObject = await self._attempts.send(
                attempt, server, verdict, _own_names(message, attempt.name), line
            )
            return answer

        return await self.ask(message, principal, headers, send)

    async def ask(self, message: Message, principal: Principal, headers: Mapping[str, str], act: Act) -> bytes:
        """Finds what is meant, decides on it, does it and records it. Raises Refused as ``call`` does."""
        agent = self._attempts.agent(principal)
        what, name, arguments = _meant(message)
        grant = _grant(agent, what, name) if agent is not None else None
        place = f"{what}/{grant[1] if grant is not None else name[:200]}"
        server_name = grant[0].name if grant is not None else ""
        attempt = self._attempts.begin(message, principal, headers, server_name, place, arguments)
        try:
            verdict = await self._attempts.decide(attempt, headers)
            if not verdict.allowed:
                return self._refuse(attempt, verdict, what, name)
            server = self._attempts.server(agent, server_name, attempt.principal) if agent is not None else None
            if server is None:
                return self._failed(attempt, Failed("no_server", f"No server {server_name} is configured."))
            answer = await act(attempt, server, verdict)
        except NoLongerAllowed as newer:
            attempt.verdict = newer.verdict
            return self._refuse(attempt, newer.verdict, what, name)
        except Withheld as withheld:
            self._attempts.record(attempt, {})
            decision = withheld.verdict.decision
            data: JsonObject = {codec.META_DECISION: codec.decision_meta(decision)}
            told = {"code": codec.NOT_DONE, "message": withheld_text(attempt, decision), "data": data}
            return codec.error_message(attempt.message.id, told)
        except Failed as error:
            return self._failed(attempt, error)
        except asyncio.CancelledError:
            self._attempts.record(attempt, {"error.type": "cancelled"})
            raise
        return self._answer(attempt, answer)

    def _answer(self, attempt: Attempt, answer: JsonObject) -> bytes:
        told = answer.get("error")
        if told is not None:
            self._attempts.record(attempt, {"error.type": str(told["code"]), "gen_ai.tool.call.result": kept(told)})
            return codec.error_message(attempt.message.id, told)
        method = attempt.message.method
        result: dict[str, Any] = answer["result"]
        key = _CONTENT.get(method, "")
        wanted = dict if method == "completion/complete" else list
        if key and result.get("resultType") != "input_required" and not isinstance(result.get(key), wanted):
            return self._failed(attempt, Failed("upstream_garbage", f"The result has no {key}."))
        shown = {key: value for key, value in result.items() if key != "_meta"}
        self._attempts.record(attempt, {"gen_ai.tool.call.result": kept(shown)})
        final = result.get("resultType") != "input_required"
        return answered(attempt.message, result, cacheable=final and method == "resources/read")

    def _refuse(self, attempt: Attempt, verdict: Verdict, what: str, name: str) -> bytes:
        self._attempts.record(attempt, {} if attempt.server else {"error.type": f"unknown_{what.removesuffix('s')}"})
        decision = verdict.decision
        if GRANT in decision.policies:
            key = "uri" if what == "resources" else "name"
            raise Refused(
                "invalid_params",
                f"Unknown {what.removesuffix('s')}: {name[:500]}.",
                fix="Only what the agent's manifest grants can be asked for.",
                details={"id": attempt.message.id, "data": {key: name[:500], **codec.decision_meta(decision)}},
            )
        data: dict[str, Any] = {codec.META_DECISION: codec.decision_meta(decision, verdict.retry_s)}
        text = f"Denied: {attempt.call.resource} was not asked for. {decision.reason}"
        if verdict.pending and verdict.approval_id is not None:
            data = {codec.META_APPROVAL: verdict.approval_id}
            text = f"Waiting for a person: {decision.reason} Ask for the same again once it is approved."
        return codec.error_message(attempt.message.id, {"code": codec.NOT_DONE, "message": text, "data": data})

    def _failed(self, attempt: Attempt, error: Failed) -> bytes:
        self._attempts.record(attempt, {"error.type": error.code})
        data = {codec.META_ERROR: {"code": error.code}}
        told = {"code": codec.NOT_DONE, "message": failure_text(attempt, error), "data": data}
        return codec.error_message(attempt.message.id, told)


def _grant(agent: AgentFact, what: str, name: str) -> tuple[ServerFact, str] | None:
    return resource_grant(agent, name) if what == "resources" else prompt_grant(agent, name)


def _meant(message: Message) -> tuple[str, str, JsonObject]:
    """What is asked for (``resources`` or ``prompts``), its URI or name, and what a policy can read of it."""
    params = message.params
    name: Json
    given: Json
    if message.method == "completion/complete":
        ref, argument = params.get("ref"), params.get("argument")
        if not isinstance(ref, dict) or not isinstance(argument, dict):
            raise Refused("invalid_params", "`ref` and `argument` must be objects.")
        what = "resources" if ref.get("type") == "ref/resource" else "prompts"
        name, given = ref.get("uri" if what == "resources" else "name"), {"argument": argument}
    elif message.method in _OF_RESOURCES:
        what, name, given = "resources", params.get("uri"), {}
    else:
        what, name, given = "prompts", params.get("name"), params.get("arguments") or {}
    if not isinstance(name, str) or not isinstance(given, dict) or not 0 < len(name) <= _URI_LIMIT:
        raise Refused("invalid_params", f"Say which of the {what}, in at most {_URI_LIMIT} characters.")
    return what, name, {**given, "uri": name} if what == "resources" else given


def _own_names(message: Message, place: str) -> JsonObject:
    """The params with the server's own name of a prompt, out of its place ``prompts/<name>``."""
    params, name = message.params, place.partition("/")[2]
    if message.method == "prompts/get":
        return {**params, "name": name}
    ref = params.get("ref")
    if isinstance(ref, dict) and ref.get("type") != "ref/resource":
        return {**params, "ref": {**ref, "name": name}}
    return params
