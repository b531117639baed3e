"""The Event of what became of a held call. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tenure.approvals.model import Approval, State, as_kept
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.values import Event, Status

_DONE = {State.GRANTED: "approval.granted", State.REJECTED: "approval.rejected", State.EXPIRED: "approval.expired"}


def edit_of(before: Approval, after: Approval, actor: str, reason: str, now: datetime) -> Event:
    """The Event of a change of the arguments of a held call: what they were and what they are."""
    event = event_of(after, actor, now, kind="approval.edited")
    data = {**event.data, "reason": reason, "arguments": before.now, "edited": after.now, "covers": after.covers}
    if after.on_behalf_of:
        data["enduser.id"] = after.on_behalf_of  # whom what is said is about
    return replace(event, id=new_id(), data=data)


def event_of(item: Approval, actor: str, now: datetime, *, stands_for: str = "", kind: str = "") -> Event:
    """The Event of an answer, an expiry or, by ``kind``, of something else, in the trace of the held call."""
    first = item.state is State.PENDING and not kind  # approved by some of those whom it takes
    more = {"given": [as_kept(one) for one in item.given]} if item.takes > 1 and item.given else {}
    return Event(
        id=stable_id("approval", item.id, item.state.value, *([str(len(item.given))] if first else [])),
        type=kind or ("approval.answered" if first else _DONE[item.state]),
        time=now,
        workspace=item.workspace,
        actor=actor,
        agent=item.agent,
        release=item.release or None,
        instance=item.instance,
        session=item.session,
        trace_id=item.trace_id,
        span_id=item.span_id,
        parent_span_id=item.parent_span_id,
        status=Status.FLAGGED,
        policy_version=item.policy_version or None,
        data={
            "approval_id": item.id,
            "call_id": item.call_id,
            "resource": item.resource,
            "digest": item.digest,
            "policies": list(item.policies),
            "reason": item.given[-1].reason if first else item.reason or (item.why if kind else ""),
            **({"for": f"person:{stands_for}"} if stands_for else {}),
            **({"missing": list(item.missing)} if first else {}),
            **({"ladder": item.escalation.ladder} if item.escalation is not None else {}),
            **more,
            **({"covers": item.covers} if item.edited is not None else {}),
            **({"recommended": item.recommended, "against": list(item.against)} if item.against else {}),
            **({"answer": item.answer} if item.answer else {}),
        },
    )
