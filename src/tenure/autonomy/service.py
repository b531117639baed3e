"""The verbs of oversight: set the floor, say where an agent's decisions end, see what it did on the level notify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.autonomy import earned, store
from tenure.autonomy.model import Floor, Level, Notice, is_told, levels_of, noticed, under
from tenure.base import events
from tenure.base.access import Thing, permit
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Actor, Autonomy, CallKind, Event, LifecycleState, Status
from tenure.policy import service as policy
from tenure.policy.service import Bounded
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord, agent_fact, thing
from tenure.tools import service as tools

_MAX_REASON = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a boundary: what the policies and levels come to for one thing that was granted. ``level`` is None
    for a model, and for a resource or prompt of a server, which have none. ``off``: why nothing passes now."""

    bound: Bounded
    level: Level | None
    off: str


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where an agent's own decisions end (R071, R078): under one release and one version of the policies."""

    agent: str
    state: LifecycleState
    release: str
    policy_version: str
    floor: Autonomy
    lines: tuple[Line, ...]


# --- what gateways hear -----------------------------------------------------------------------------------------------


def governed(connection: Connection, agents: Mapping[str, AgentFact]) -> dict[str, AgentFact]:
    """Agents' facts, by their keys, with what they earned, under the floors of their workspaces."""
    agents = earned.governed(connection, agents)
    floors = store.floors(connection)
    if not floors:
        return dict(agents)
    levels = {workspace: item.level for workspace, item in floors.items()}
    return {key: under(fact, levels.get(fact.workspace, Autonomy.AUTONOMOUS)) for key, fact in agents.items()}


# --- what gateways tell -----------------------------------------------------------------------------------------------


def take(connection: Connection, news: Sequence[Event]) -> None:
    """Keeps what people are to be told of."""
    told: dict[tuple[str, str, str], Notice] = {}
    for event in news:
        if not is_told(event):
            continue
        one = noticed(event)
        key = (one.workspace, one.agent, one.resource)
        known = told.get(key)
        told[key] = replace(one, calls=known.calls + 1, first_at=known.first_at) if known is not None else one
    for item in told.values():
        store.add_notice(connection, item)


# --- what people ask --------------------------------------------------------------------------------------------------


def floor_of(world: World, actor: Actor) -> Floor | None:
    """The floor of the actor's workspace; None when nobody has set one."""
    permit(actor, "autonomy:read")
    with world.read() as connection:
        return store.floors(connection, actor.workspace).get(actor.workspace)


def set_floor(world: World, actor: Actor, level: Autonomy, reason: str) -> Floor:
    """Sets the least oversight that every tool of every agent has. Raises Refused: 403 for whoever may not, 422 without
    a reason."""
    permit(actor, "autonomy:set")
    text = reason.strip()
    if not text or len(text) > _MAX_REASON:
        raise Refused("reason_required", "This needs a reason; it is kept in the audit.", fix="Say why.", status=422)
    now = world.clock()
    item = Floor(actor.workspace, level, actor.name, now, text)
    with world.begin() as tx:
        before = store.floors(tx, actor.workspace).get(actor.workspace)
        store.save_floor(tx, item)
        data = {"level": level.value, "before": (before.level if before else Autonomy.AUTONOMOUS).value, "reason": text}
        events.append(tx, [_event(actor, "autonomy.set", now, data)])
    return item


def boundary(world: World, actor: Actor, name: str) -> Boundary:
    """Where the own decisions of an agent end. Raises Refused 404."""
    permit(actor, "autonomy:read")
    with world.read() as connection:
        record = registry.the_agent(connection, actor.workspace, name)
        floor = store.floors(connection, actor.workspace).get(actor.workspace)
        key = f"{record.workspace}/{record.name}"
        won = earned.won(connection, record)
        fact = governed(connection, tools.governed(connection, {key: agent_fact(record)}))[key]
    least = floor.level if floor is not None else Autonomy.AUTONOMOUS
    version, bounds = policy.boundary(world, replace(fact, tools=tuple(replace(one, off="") for one in fact.tools)))
    levels = {name: replace(one, earned=won.get(name)) for name, one in levels_of(record.manifest, least).items()}
    off = {f"{tool.server}/{tool.name}": tool.off for tool in fact.granted}
    lines = tuple(
        Line(
            bound,
            levels.get(bound.resource) if bound.kind is not CallKind.LLM else None,
            off.get(bound.resource, "") if bound.kind is CallKind.TOOL else "",
        )
        for bound in bounds
    )
    return Boundary(record.name, record.state, record.release, version, least, lines)


def notices(world: World, actor: Actor) -> list[Notice]:
    """What agents did on the level notify and nobody has said to have seen, the newest first."""
    permit(actor, "autonomy:read")
    with world.read() as connection:
        return store.notices(connection, actor.workspace)


def see(world: World, actor: Actor, agent: str, resource: str, upto: datetime) -> None:
    """Says that what an agent did with one tool was seen, up to a moment. Raises Refused: 403 for whoever may not, 404
    when there is nothing to see, 409 when more has happened since."""
    with world.begin() as tx:
        record = registry.get_agent(tx, actor.workspace, agent)
        permit(actor, "autonomy:see", thing(record) if record is not None else Thing())
        found = next((one for one in store.notices(tx, actor.workspace) if _is(one, agent, resource)), None)
        if found is None:
            raise Refused("nothing_to_see", f"Nothing of {agent} and {resource} waits to be seen.", status=404)
        if not store.drop_notice(tx, actor.workspace, agent, resource, upto):
            text = f"{agent} has called {resource} again meanwhile."
            raise Refused("more_to_see", text, fix="Look again.", status=409)
        data = {"resource": resource, "calls": found.calls, "call_id": found.call_id}
        events.append(tx, [_event(actor, "autonomy.seen", world.clock(), data, record)])


def _is(one: Notice, agent: str, resource: str) -> bool:
    return (one.agent, one.resource) == (agent, resource)


def _event(actor: Actor, kind: str, now: datetime, data: JsonObject, agent: AgentRecord | None = None) -> Event:
    return Event(
        id=new_id(),
        type=kind,
        time=now,
        workspace=actor.workspace,
        actor=actor.name,
        agent=agent.name if agent is not None else None,
        release=agent.release if agent is not None else None,
        status=Status.FLAGGED if kind == "autonomy.set" else Status.ALLOWED,
        data=data,
    )
