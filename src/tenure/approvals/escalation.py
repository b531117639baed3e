"""The verbs of ladders: set, remove, and the step that is due. What is under way is read from the rows alone, so a
control plane that was killed anywhere goes on where the clock says it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from tenure.approvals import ladder_store, store
from tenure.approvals.ladders import LOW_TIER, MOST, AtDeadline, Escalation, Ladder, checked
from tenure.approvals.model import Approval, State
from tenure.approvals.telling import event_of
from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.values import Actor, Event, Status
from tenure.registry import service as registry

SELF = "system:approvals"


def taken(conn: Connection, item: Approval) -> Approval:
    """A call that was held just now, with the ladder that it takes, if there is one for it."""
    for one in ladder_store.find(conn, item.workspace):
        if one.is_for(item.agent, item.resource, item.policies):
            found = one.taken(item.policies)
            first = item.requested_at + timedelta(seconds=found.steps[0].after_s)
            until = item.requested_at + timedelta(seconds=found.deadline_s)
            return replace(item, escalation=found, next_at=first, expires_at=until)
    return item


def due(conn: Connection, now: datetime) -> Sequence[str]:
    """Calls whose next step is due."""
    return store.climbing(conn, now)


def climb(world: World, ident: str) -> bool:
    """Takes every step of one call that is due, each with its Event; says whether there was one."""
    now = world.clock()
    with world.begin() as tx:
        item = store.get(tx, ident)
        if item is None or item.state is not State.PENDING or item.escalation is None:
            return False
        steps = item.escalation.steps
        at = [item.requested_at + timedelta(seconds=step.after_s) for step in steps]
        reached = sum(moment <= now for moment in at)
        if reached <= item.step or (item.expires_at is not None and item.expires_at <= now):
            return False
        if not store.climb(tx, ident, item.step, reached, at[reached] if reached < len(at) else None):
            return False
        events.append(tx, [_asked(item, item.escalation, number, now) for number in range(item.step, reached)])
    return True


def _asked(item: Approval, escalation: Escalation, number: int, now: datetime) -> Event:
    told = {
        "ladder": escalation.ladder,
        "step": number + 1,
        "ask": list(escalation.steps[number].ask),
        "until": item.expires_at.isoformat() if item.expires_at else None,
        "at_deadline": escalation.at_deadline.value,
    }
    event = event_of(item, SELF, now, kind="approval.escalated")
    return replace(event, id=stable_id("escalated", item.id, str(number)), data={**event.data, **told})


def goes_on(conn: Connection, item: Approval) -> bool:
    """Whether a call that nobody answered goes on at its deadline: where its ladder says so, nothing else is known of
    it that a person should see, it takes nobody in particular, and its agent is of a low risk tier now."""
    if item.escalation is None or item.escalation.at_deadline is not AtDeadline.ALLOW:
        return False
    if item.notes or item.demands or item.given or item.against:
        return False
    record = registry.get_agent(conn, item.workspace, item.agent)
    return record is not None and record.risk_tier <= LOW_TIER


# -- ladders
def ladders(world: World, workspace: str) -> list[Ladder]:
    """Those of a workspace, in the order in which they are looked through."""
    with world.read() as conn:
        return ladder_store.find(conn, workspace)


def put(world: World, actor: Actor, wanted: Ladder) -> Ladder:
    """Sets one, in place of another of that name, for calls held from now on. Raises Refused (403, 409, 422)."""
    permit(actor, "approvals:escalate")
    item = checked(wanted)
    with world.begin() as tx:
        there = {one.name for one in ladder_store.find(tx, actor.workspace)}
        if len(there | {item.name}) > MOST:
            raise Refused("too_many", f"A workspace has at most {MOST} ladders.", fix="Remove one.", status=409)
        ladder_store.save(tx, item)
        events.append(tx, [_event(item, "approval.ladder_set", actor, item.set_at)])
    return item


def remove(world: World, actor: Actor, name: str, reason: str) -> None:
    """Removes one; what is under way by it goes on. Raises Refused (403, 404, 422)."""
    permit(actor, "approvals:escalate")
    if not reason.strip():
        raise Refused("reason_required", "This needs a reason.", fix="Say why, in a sentence.", status=422)
    with world.begin() as tx:
        found = next((one for one in ladder_store.find(tx, actor.workspace) if one.name == name), None)
        if found is None:
            fix = "`tenure approvals ladder list` shows them."
            raise Refused("unknown_ladder", f"There is no ladder {name[:63]!r}.", fix=fix, status=404)
        ladder_store.remove(tx, actor.workspace, name)
        gone = replace(found, reason=reason.strip())
        events.append(tx, [_event(gone, "approval.ladder_removed", actor, world.clock())])


def _event(item: Ladder, kind: str, actor: Actor, now: datetime) -> Event:
    data: dict[str, Any] = {
        "ladder": item.name,
        "agents": list(item.agents),
        "tools": list(item.tools),
        "policies": list(item.policies),
        "steps": [{"after_s": step.after_s, "ask": list(step.ask)} for step in item.steps],
        "deadline_s": item.deadline_s,
        "at_deadline": item.at_deadline.value,
        "reason": item.reason,
    }
    return Event(new_id(), kind, now, item.workspace, actor.name, status=Status.FLAGGED, data=data)
