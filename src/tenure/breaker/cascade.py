"""What the stop of an agent is to others: who depends on it, and telling them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.room import World
from tenure.kernel.errors import Failed
from tenure.kernel.ids import stable_id
from tenure.kernel.values import Actor, Event, LifecycleState, Status
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord
from tenure.telemetry import service as telemetry

_GONE = frozenset({LifecycleState.RETIRED, LifecycleState.REJECTED})
_WINDOW = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Dependant:
    """An agent that depends on another: directly, or (``steps`` above 1) by way of ``through``. ``calls``: of the last
    seven days, None when the trace store cannot say now."""

    agent: str
    state: str
    steps: int
    through: str
    declared: bool
    granted: bool
    calls: int | None


@dataclass(frozen=True, slots=True)
class Dependants:
    """Everybody who depends on an agent, the nearest first, and what its manifest says of their calls."""

    agent: str
    while_stopped: str
    dependants: tuple[Dependant, ...]


def dependants(world: World, actor: Actor, name: str) -> Dependants:
    """Who depends on an agent. Raises Refused (404)."""
    with world.read() as conn:
        agent = registry.the_agent(conn, actor.workspace, name)
        alive = _alive(conn, actor.workspace)
    try:
        uses = telemetry.agent_uses(world, actor.workspace, _WINDOW)
        seen: dict[tuple[str, str], int] | None = {(one.agent, one.resource): one.recent for one in uses}
    except Failed:  # what is only told does not keep anybody from stopping an agent
        seen = None
    found: dict[str, Dependant] = {}
    nearer, steps = [name], 1
    while nearer:
        next_ones = []
        for on in nearer:
            for other in alive.values():
                calls = None if seen is None else seen.get((other.name, on), 0)
                declares, may_call = declared(other, on), granted(other, on)
                if other.name in found or other.name == name or not (declares or may_call or calls):
                    continue
                found[other.name] = Dependant(other.name, other.state.value, steps, on, declares, may_call, calls)
                next_ones.append(other.name)
        nearer, steps = next_ones, steps + 1
    return Dependants(name, _while_stopped(agent), tuple(found.values()))


def tell(conn: Connection, event: Event) -> None:
    """Tells those who depend on an agent that it was stopped, unless its manifest lets them go on untold."""
    name = event.agent or ""
    if event.type == "breaker.tripped":
        if event.data.get("scope") != "agent":
            return
        name = str(event.data.get("name", ""))
    elif event.data.get("to") != LifecycleState.SUSPENDED.value:
        return
    agent = registry.get_agent(conn, event.workspace, name)
    if agent is None or _while_stopped(agent) == "allow":
        return
    facts = {"name": name, "reason": str(event.data.get("reason", "")), "dependants": _while_stopped(agent)}
    told = [
        Event(
            id=stable_id("dependency", event.id, other.name),
            type="agent.dependency_stopped",
            time=event.time,
            workspace=event.workspace,
            actor="system:breaker",
            agent=other.name,
            status=Status.FLAGGED,
            data=facts | {"declared": declared(other, name), "granted": granted(other, name)},
        )
        for other in _alive(conn, event.workspace).values()
        if other.name != name and (declared(other, name) or granted(other, name))
    ]
    events.append(conn, told)


def declared(agent: AgentRecord, on: str) -> bool:
    """Whether an agent's manifest says that it depends on another."""
    return any(one.get("agent") == on for one in agent.manifest["spec"].get("dependencies", ()))


def granted(agent: AgentRecord, on: str) -> bool:
    """Whether an agent's manifest lets it call another."""
    return any(one.get("name") == on for one in agent.manifest["spec"].get("agents", ()))


def _alive(conn: Connection, workspace: str) -> Mapping[str, AgentRecord]:
    found = registry.list_agents(conn, workspace)
    return {one.name: one for one in found if one.state not in _GONE}


def _while_stopped(agent: AgentRecord) -> str:
    return str(agent.manifest["spec"].get("dependants", "hold"))
