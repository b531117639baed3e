"""Who answers for an agent. That changes by a hand-over, which the other side accepts: what a manifest says waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, LifecycleState
from tenure.registry import store
from tenure.registry.model import PLAIN_FIELDS, AgentRecord
from tenure.registry.told import event_of

_AT_ONCE = (LifecycleState.REQUESTED, LifecycleState.REJECTED)
"""States in which nobody has granted the agent yet: who grants it sees who will answer for it."""


def held_back(
    old: AgentRecord, new: AgentRecord, declared: JsonObject, actor: Actor, now: datetime
) -> tuple[AgentRecord, JsonObject]:
    """The agent and its declaration with those who answer for it now; whoever is declared instead waits. The same
    declaration again changes nothing, and one that names those of now takes the waiting back."""
    if old.state in _AT_ONCE:
        return new, declared
    spec: dict[str, Any] = dict(declared["spec"])
    waiting: dict[str, str | None] = {}
    for role in PLAIN_FIELDS:
        present, wanted = getattr(old, role), spec[role]
        spec[role] = present
        waiting[f"pending_{role}"] = None if wanted.lower() == present.lower() else wanted
    if any(getattr(old, name) != value for name, value in waiting.items()):
        some = any(waiting.values())
        new = replace(new, pending_by=actor.name if some else None, pending_since=now if some else None)
    new = replace(new, pending_owner=waiting["pending_owner"], pending_sponsor=waiting["pending_sponsor"])
    return new, {**declared, "spec": spec}


def change(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, actor: Actor, agent: AgentRecord, role: str, to: str, now: datetime, why: str
) -> AgentRecord:
    """The agent with ``to`` as its ``role`` (owner or sponsor), in the caller's transaction. Whether both sides want it
    is for the caller to know. What a manifest declared before is forgotten."""
    store.alone(tx)
    old = store.get(tx, agent.workspace, agent.name) or agent
    manifest = {**old.manifest, "spec": {**old.manifest["spec"], role: to}}
    values: dict[str, Any] = {role: to, f"pending_{role}": None, "manifest": manifest, "updated_at": now}
    new = replace(old, **values)
    if new.pending_owner is None and new.pending_sponsor is None:
        new = replace(new, pending_by=None, pending_since=None)
    store.update(tx, old, new)
    data: JsonObject = {"role": role, "before": getattr(old, role), "now": to, "reason": why}
    events.append(tx, [event_of("agent.owner_changed", actor, new, now, data)])
    return new
