"""Events of a fork. All stand in its own trace, under one root; what they say is about whom the run was for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tenure.forks.following import Reply
from tenure.forks.model import Fork
from tenure.kernel.ids import stable_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Decision, Event
from tenure.telemetry.model import Span

_TAKEN = (
    *("tenure.kind", "tenure.resource", "gen_ai.operation.name", "gen_ai.tool.name", "mcp.server.name"),
    *("gen_ai.request.model", "tenure.decision", "error.type"),
)
"""What of a recorded call is told of the same call in a fork."""


def root_of(item: Fork) -> str:
    """The span that all of a fork stands under: that of its beginning."""
    return stable_id("span", _ident(item, "fork.started", ""))[:16]


def _ident(item: Fork, kind: str, place: str) -> str:
    return stable_id(kind, item.id, place)


def event_of(  # noqa: PLR0917 (the facts of one Event)
    item: Fork, kind: str, now: datetime, data: JsonObject, about: str = "", place: str = ""
) -> Event:
    """One Event; the same ``place`` is the same Event, however often it is told. ``about``: the person whom the run was
    for, empty for nobody: then it is about whoever asked for the fork."""
    ident, whom = _ident(item, kind, place), about or item.person
    is_root = kind == "fork.started"
    return Event(
        id=ident,
        type=kind,
        time=now,
        workspace=item.workspace,
        actor=item.by if is_root else "system:forks",
        agent=item.agent,
        session=item.session,
        trace_id=item.trace_id,
        span_id=stable_id("span", ident)[:16] if kind == "fork.answered" else None,
        parent_span_id=None if is_root else root_of(item),
        data={"tenure.fork": item.id, **data, **({"enduser.id": whom} if whom else {})},
    )


def answered(reply: Reply, resource: str, decision: Decision | None) -> dict[str, Any]:
    """What is told of a tool call that a fork answered, or could not."""
    span = reply.of.span if reply.of is not None else None
    facts: dict[str, Any] = {"tenure.kind": "tool", "tenure.resource": resource}
    facts |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": reply.name}
    if span is not None:
        facts |= _taken(span)
    facts |= {"gen_ai.tool.call.id": reply.call, "gen_ai.tool.call.arguments": _given(reply, span)}
    if reply.how != "none":
        facts["gen_ai.tool.call.result"] = _result(reply, span)
    return facts | decided(decision) | {"tenure.fork.answered": reply.how}


def decided_anew(span: Span, decision: Decision) -> dict[str, Any]:
    """What is told of a recorded call that other policies decide otherwise: that it would not have been made."""
    facts = {name: value for name, value in span.attributes.items() if name.startswith(("gen_ai.", "tenure.kind"))}
    gone = ("gen_ai.tool.call.result", "gen_ai.output.messages", "gen_ai.response.model", "gen_ai.response.id")
    kept = {name: value for name, value in facts.items() if name not in gone and ".usage." not in name}
    return {**kept, **_taken(span), **decided(decision), "tenure.fork.answered": "none"}


def decided(decision: Decision | None) -> dict[str, Any]:
    """A decision, as the Events of calls tell it."""
    if decision is None:
        return {}
    told = {"effect": decision.effect.value, "reason": decision.reason, "policies": list(decision.policies)}
    return {"tenure.decision": {**told, "obligations": [], "policy_version": decision.policy_version}}


def _taken(span: Span) -> dict[str, Any]:
    return {name: span.attributes[name] for name in _TAKEN if name in span.attributes}


def _given(reply: Reply, span: Span | None) -> Json:
    recorded = span.attributes.get("gen_ai.tool.call.arguments") if span is not None else None
    return reply.arguments if recorded is None or not isinstance(recorded, Mapping) else recorded


def _result(reply: Reply, span: Span | None) -> Json:
    """As the tool gave it where that is told, else as the model was told it."""
    told = span.attributes.get("gen_ai.tool.call.result") if span is not None else None
    return reply.response if told is None else told
