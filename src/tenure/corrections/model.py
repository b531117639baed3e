"""One record of every override and correction: who, why, before and after. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tenure.kernel.ids import stable_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Event

MAX_REASON = 2000
MAX_RIGHT = 64 << 10
"""Bytes, as JSON, of what would have been right."""
SCHEMA = "tenure/correction/v1"


class Kind(StrEnum):
    """``corrected``: a person says that a call or an answer was wrong. The others are overrides: a held call rejected,
    one changed, a prepared one made, changed, thrown away or done by other means, a transition forced, a level set."""

    CORRECTED = "corrected"
    REJECTED = "rejected"
    EXECUTED = "executed"
    EDITED = "edited"
    DISCARDED = "discarded"
    ELSEWHERE = "elsewhere"
    FORCED = "forced"
    LEVEL = "level"


@dataclass(frozen=True, slots=True)
class Correction:
    """``event``: the Event that it is about, or else the one that tells of it. ``given``: what the agent had before it
    (the messages of a chat, the arguments of a tool); ``before`` what it did or what held, ``after`` what a person put
    in its place, None for nothing."""

    id: str
    workspace: str
    at: datetime
    kind: Kind
    by: str
    agent: str
    release: str
    resource: str
    event: str
    session: str | None
    trace_id: str | None
    reason: str
    given: Json
    before: Json
    after: Json


def _nothing(data: JsonObject) -> tuple[Json, Json]:
    return data.get("arguments"), None


_READ: Mapping[str, tuple[Kind, Callable[[JsonObject], tuple[Json, Json]]]] = {
    "approval.rejected": (Kind.REJECTED, lambda data: ({"call": data.get("call_id")}, None)),
    "approval.edited": (Kind.EDITED, lambda data: (data.get("arguments"), data.get("edited"))),
    "draft.released": (Kind.EXECUTED, lambda data: (data.get("arguments"), data.get("edited", data.get("arguments")))),
    "draft.discarded": (Kind.DISCARDED, _nothing),
    "draft.elsewhere": (Kind.ELSEWHERE, _nothing),
    "agent.transitioned": (Kind.FORCED, lambda data: (data.get("from"), data.get("to"))),
    "autonomy.set": (Kind.LEVEL, lambda data: (data.get("before"), data.get("level"))),
    "autonomy.accepted": (Kind.LEVEL, lambda data: (data.get("declared"), data.get("level"))),
    "autonomy.declined": (Kind.LEVEL, lambda data: (data.get("declared"), data.get("declared"))),
}
TYPES = frozenset(_READ)
"""The Events that tell of overrides."""


def override_of(event: Event) -> Correction | None:
    """The override that an Event tells of; None for one that tells of none."""
    kind, read = _READ[event.type]
    data = event.data
    if not event.actor.startswith("person:") or (kind is Kind.FORCED and data.get("forced") is not True):
        return None
    before, after = read(data)
    if kind is Kind.EXECUTED and "edited" in data:
        kind = Kind.EDITED
    return Correction(
        id=stable_id("correction", event.id),
        workspace=event.workspace,
        at=event.time,
        kind=kind,
        by=event.actor,
        agent=event.agent or "",
        release=event.release or "",
        resource=str(data.get("resource") or ""),
        event=str(data.get("draft") or data.get("call_id") or event.id),
        session=event.session,
        trace_id=event.trace_id,
        reason=str(data.get("reason") or "")[:MAX_REASON],
        given=None,
        before=before,
        after=after,
    )


def said_of(data: JsonObject) -> tuple[Json, Json]:
    """Of a call's attributes: what the agent had before it, and what it did or answered."""
    if data.get("gen_ai.output.messages") is not None:
        return data.get("gen_ai.input.messages"), data.get("gen_ai.output.messages")
    return data.get("gen_ai.tool.call.arguments"), data.get("gen_ai.tool.call.result")


def case(item: Correction) -> dict[str, Any]:
    """The case that an evaluation takes: one JSON object, all of it in plain members."""
    return {
        "schema": SCHEMA,
        "id": item.id,
        "at": item.at.isoformat(),
        "kind": item.kind.value,
        "by": item.by,
        "agent": item.agent,
        "release": item.release,
        "resource": item.resource,
        "event": item.event,
        "reason": item.reason,
        "given": item.given,
        "wrong": item.before,
        "right": item.after,
    }
