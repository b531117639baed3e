"""Three Flows: instances that fell silent are given up; a draining agent is retired when nothing of it runs any more or
its time to finish is over; one that was made for a task is let go when its task has ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base.room import Flow, World
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.registry import service as registry
from tenure.runtime import service
from tenure.runtime.model import STARTS, for_one_task


def find_silent(connection: Connection, now: datetime) -> Sequence[str]:
    """Instances that nobody heard of for too long."""
    return service.silent(connection, now)


def find_draining(connection: Connection, _now: datetime) -> Sequence[str]:
    """Draining agents, as ``<workspace>/<name>``."""
    found = registry.list_agents(connection, states=(LifecycleState.DRAINING,))
    return [f"{agent.workspace}/{agent.name}" for agent in found]


def drain(world: World, key: str) -> bool:
    """Retires one draining agent if it may go; False while it still works."""
    workspace, _, name = key.partition("/")
    actor = Actor(workspace, "system:runtime", frozenset({Role.SYSTEM}))
    with world.begin() as tx:
        agent = registry.get_agent(tx, workspace, name)
        if agent is None or agent.state is not LifecycleState.DRAINING:
            return False
        live = service.live_count(tx, workspace, name)
        late = agent.drain_until is not None and world.clock() >= agent.drain_until
        if live and not late:
            return False
        why = f"the time to finish is over, {live} still ran" if live else "nothing of it runs any more"
        reason = f"{agent.state_reason[:1500]}; {why}"
        registry.transition_in(world, tx, actor, name, to=LifecycleState.RETIRED, reason=reason)
    return True


def find_done(connection: Connection, _now: datetime) -> Sequence[str]:
    """Agents that were made for one task and may have done it, as ``<workspace>/<name>``."""
    found = registry.list_agents(connection, states=tuple(STARTS))
    return [f"{agent.workspace}/{agent.name}" for agent in found if for_one_task(agent)]


def release_done(world: World, key: str) -> bool:
    """Revokes the credentials of an agent whose task has ended, and lets it go; False while it has not begun, or still
    works, or others depend on it."""
    workspace, _, name = key.partition("/")
    actor = Actor(workspace, "system:runtime", frozenset({Role.SYSTEM}))
    with world.begin() as tx:
        agent = registry.get_agent(tx, workspace, name)
        if agent is None or agent.state not in STARTS or service.live_count(tx, workspace, name):
            return False
        last = next(iter(service.instances(tx, workspace, name)), None)
        if last is None or last.started_at < agent.state_since or registry.dependants(tx, workspace, name):
            return False
        reason = f"its task has ended: {last.end}"
        agent = registry.transition_in(world, tx, actor, name, to=LifecycleState.DRAINING, reason=reason)
        registry.revoke_credentials(tx, actor, agent, world.clock(), reason)
    return True


DONE = Flow(name="tasks-done", find=find_done, step=release_done, every=0.5)
SILENT = Flow(name="silent-instances", find=find_silent, step=service.lose_instance, every=2.0)
DRAIN = Flow(name="drain", find=find_draining, step=drain, every=0.5)
