"""Provisioning: takes an approved agent to provisioned, one step at a time.

What the steps make sure of is in the registry already: a release that is fixed, and grants that every gateway is
told from the agent's facts. Each step is one transaction, so a Flow that was killed anywhere goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base.room import Flow, World
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.registry import service

_STEPS = {
    LifecycleState.APPROVED: (LifecycleState.CREATED, "its release is fixed"),
    LifecycleState.CREATED: (LifecycleState.PROVISIONED, "its identity and its grants are in force"),
}


def find(connection: Connection, _now: datetime) -> Sequence[str]:
    """Agents between approved and provisioned, as ``<workspace>/<name>``."""
    return [f"{agent.workspace}/{agent.name}" for agent in service.list_agents(connection, states=tuple(_STEPS))]


def step(world: World, key: str) -> bool:
    """The next step of one agent; False when there is none any more."""
    workspace, _, name = key.partition("/")
    actor = Actor(workspace, "system:registry", frozenset({Role.SYSTEM}))
    with world.begin() as tx:
        agent = service.get_agent(tx, workspace, name)
        planned = _STEPS.get(agent.state) if agent else None
        if planned is None:
            return False
        service.transition_in(world, tx, actor, name, to=planned[0], reason=planned[1])
    return True


PROVISION = Flow(name="provision", find=find, step=step, every=0.5)
