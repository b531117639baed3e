"""An agent's credentials made worthless, all of them at once, whatever its state."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, LifecycleState
from tenure.registry import store
from tenure.registry.model import AgentRecord


def revoke(tx: Connection, actor: Actor, agent: AgentRecord, now: datetime, reason: str) -> AgentRecord:
    """The agent under a new epoch of its credentials, in the caller's transaction. Whether ``actor`` may is for the
    caller to ask. One that is retired has none and stays as it is."""
    if agent.state is LifecycleState.RETIRED:
        return agent
    store.alone(tx)
    old = store.get(tx, agent.workspace, agent.name) or agent
    new = replace(old, credential_epoch=old.credential_epoch + 1, updated_at=now)
    store.update(tx, old, new)
    event = Event(
        id=new_id(),
        type="agent.credentials_revoked",
        time=now,
        workspace=new.workspace,
        actor=actor.name,
        agent=new.name,
        release=new.release,
        data={"credential_epoch": new.credential_epoch, "reason": reason},
    )
    events.append(tx, [event])
    return new
