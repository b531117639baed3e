"""An agent's credentials made worthless, all of them at once, whatever its state."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, LifecycleState
from tenure.registry import store
from tenure.registry.model import AgentRecord
from tenure.registry.told import event_of


def revoke(tx: Connection, actor: Actor, agent: AgentRecord, now: datetime, reason: str) -> AgentRecord:
    """The agent under a new epoch of its credentials, in the caller's transaction. Whether ``actor`` may is for the
    caller to ask. One that is retired has none and stays as it is."""
    if agent.state is LifecycleState.RETIRED:
        return agent
    store.alone(tx)
    old = store.get(tx, agent.workspace, agent.name) or agent
    new = replace(old, credential_epoch=old.credential_epoch + 1, updated_at=now)
    store.update(tx, old, new)
    data: JsonObject = {"credential_epoch": new.credential_epoch, "reason": reason}
    events.append(tx, [event_of("agent.credentials_revoked", actor, new, now, data)])
    return new
