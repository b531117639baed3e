"""What is told of an agent: one shape for every Event of the registry."""

from datetime import datetime

from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event
from tenure.registry.model import AgentRecord


def event_of(kind: str, actor: Actor, agent: AgentRecord, now: datetime, data: JsonObject) -> Event:
    """That ``actor`` did ``kind`` to ``agent`` as it is now."""
    return Event(
        id=new_id(),
        type=kind,
        time=now,
        workspace=agent.workspace,
        actor=actor.name,
        agent=agent.name,
        release=agent.release,
        data=data,
    )
