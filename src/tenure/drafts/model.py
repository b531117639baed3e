"""A prepared call and what may become of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tenure.kernel.drafts import DRAFT, OFFER, DraftFact
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.values import Actor, Event, Principal

RELEASE_LIFE = timedelta(seconds=60)
"""How long a prepared call waits for a gateway to take it; then it is as before."""
CLAIM_LIFE = timedelta(minutes=15)
"""After this time without a word of the gateway that took it, it is not known whether the call was made."""
MAX_ARGUMENTS = 64 << 10
"""Bytes of arguments, as JSON, that a gateway is told to make a call with."""
MAX_REASON = 2000


class State(StrEnum):
    """open -> released | discarded | elsewhere; released -> claimed | open; claimed -> done | failed | refused |
    unknown."""

    OPEN = "open"
    RELEASED = "released"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    DISCARDED = "discarded"
    ELSEWHERE = "elsewhere"


class Choice(StrEnum):
    """What a person says: make the call, throw it away, or it was done by other means."""

    EXECUTE = "execute"
    DISCARD = "discard"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Draft:
    """A call that an agent prepared. ``kind``: a draft, or the offer of a call that only a person may make.
    ``digest`` is of the arguments as the agent gave them, empty where they have none; ``whole``: ``arguments`` are
    exactly these, nothing was taken out of them before they were kept. ``edited`` are a person's, in their place.
    ``work`` is what it belongs to: its task, or else its session. ``times``: how often the agent wanted the same.
    ``reason`` is the word of the person who decided, ``outcome`` what came of the call, ``event`` the Event that tells.
    """

    id: str
    workspace: str
    kind: str
    agent: str
    release: str
    resource: str
    call_kind: str
    work: str
    digest: str
    whole: bool
    arguments: JsonObject
    principal: JsonObject
    why: str
    justification: str
    notes: tuple[str, ...]
    policy_version: str
    session: str | None
    trace_id: str | None
    span_id: str | None
    drafted_at: datetime
    times: int = 1
    state: State = State.OPEN
    edited: JsonObject | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str = ""
    claim: str | None = None
    outcome: JsonObject | None = None
    event: str | None = None

    @property
    def now(self) -> JsonObject:
        """The arguments that it would be made with."""
        return self.arguments if self.edited is None else self.edited


def draft_of(event: Event) -> Draft | None:
    """The prepared call that an Event tells of; None where it tells of none, or of none that can be read."""
    data, told = event.data, event.data.get("tenure.draft")
    kind, resource = data.get("tenure.mode"), data.get("tenure.resource")
    if not isinstance(told, Mapping) or kind not in (DRAFT, OFFER) or not isinstance(resource, str) or not event.agent:
        return None
    arguments, principal = told.get("arguments"), told.get("principal")
    if not isinstance(principal, Mapping) or principal.get("workspace") != event.workspace:
        return None
    decision = data.get("tenure.decision")
    exact = _text(told.get("digest"))
    kept = dict(arguments) if isinstance(arguments, Mapping) else {}
    notes = told.get("notes")
    return Draft(
        id=event.id,
        workspace=event.workspace,
        kind=kind,
        agent=event.agent,
        release=event.release or "",
        resource=_text(resource),
        call_kind=_text(data.get("tenure.kind")),
        work=_text(principal.get("task")) or event.session or event.id,
        digest=exact,
        whole=bool(exact) and told.get("beside") is not True and _is(kept, exact),
        arguments=kept,
        principal=principal,
        why=_text(decision.get("reason")) if isinstance(decision, Mapping) else "",
        justification=_text(data.get("tenure.justification")),
        notes=tuple(map(_text, notes)) if isinstance(notes, list | tuple) else (),
        policy_version=event.policy_version or "",
        session=event.session,
        trace_id=event.trace_id,
        span_id=event.span_id,
        drafted_at=event.time,
    )


def _is(arguments: JsonObject, exact: str) -> bool:
    try:
        return digest(arguments) == exact
    except ValueError:
        return False


def _text(value: Any) -> str:
    return value.replace("\x00", "") if isinstance(value, str) else ""  # PostgreSQL's text knows no NUL


def fact(draft: Draft, principal: Principal) -> DraftFact:
    """What a gateway needs of one that was released."""
    return DraftFact(
        id=draft.id,
        workspace=draft.workspace,
        resource=draft.resource,
        arguments=draft.now,
        digest=digest(draft.now),
        principal=principal,
        by=draft.decided_by or "",
        state=draft.state.value,
        claim=draft.claim or "",
        trace_id=draft.trace_id or "",
        parent=draft.span_id or "",
    )


def check_person(actor: Actor) -> None:
    """Raises Refused unless ``actor`` is a person."""
    if not actor.is_person:
        raise Refused(
            "not_a_person",
            f"{actor.name} is not a person; a prepared call waits for a person.",
            fix="Decide it in the console or with a person's own credential.",
            status=403,
        )


def check_open(draft: Draft, shown: str) -> None:
    """Raises Refused 409 unless it waits for a person, and is the call that was shown to this one."""
    if draft.state is not State.OPEN:
        by = f" by {draft.decided_by}" if draft.decided_by else ""
        raise Refused(
            "draft_not_open",
            f"Draft {draft.id} does not wait any more: it is {draft.state}{by}.",
            fix="The agent prepares another one when it still wants the call.",
            status=409,
        )
    if shown != draft.digest:
        raise Refused("another_call", f"Draft {draft.id} is of another call than the one that was shown.", status=409)


def check_executable(draft: Draft, arguments: JsonObject | None, *, in_process: bool) -> None:
    """Raises Refused 422 for a call that no gateway can make: with ``arguments``, or as the agent gave it."""
    fix = "Do it by other means, and say so: `tenure drafts elsewhere`."
    if draft.call_kind != "tool" or in_process:
        what = "runs in the agent's own process" if in_process else "is a message to another agent"
        raise Refused("not_here", f"{draft.resource} {what}; no gateway can make this call.", fix=fix, status=422)
    if arguments is None and not draft.whole:
        raise Refused(
            "not_whole",
            "What the agent gave was not kept in full (a secret was taken out, or it was too long, or more than "
            "arguments belonged to it), so this would be another call.",
            fix="Give the arguments yourself (--arguments), or do it by other means.",
            status=422,
        )
