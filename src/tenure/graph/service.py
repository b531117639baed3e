"""The verbs of the graph: traffic is taken in, the graph of a workspace is read, and what is hit when a node goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.graph import store
from tenure.graph.model import (
    KEEP,
    KEPT_DAYS,
    MAX_EDGES,
    Edge,
    Graph,
    Hit,
    Kind,
    blast,
    joined,
    key,
    of_manifest,
    parsed,
)
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, LifecycleState
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import Used

CURSOR = "graph"
_GONE = (LifecycleState.RETIRED, LifecycleState.REJECTED)
_KINDS = {"tool": Kind.TOOL, "llm": Kind.MODEL, "agent": Kind.AGENT}
_LONGEST = 200


def look(world: World) -> bool:
    """Takes in what was used since the last look, once; whether there is more."""
    with world.read() as conn:
        after = events.cursor(conn, CURSOR)
    used, upto, more = telemetry.used(world, after)
    if upto == after:
        return False
    by_workspace: dict[str, list[Used]] = {}
    for one in used:
        by_workspace.setdefault(one.workspace, []).append(one)
    with world.db.begin() as tx:  # no news to anybody: no bell
        for workspace, theirs in by_workspace.items():
            _take(tx, workspace, theirs)
        store.forget(tx, world.clock() - KEEP)
        events.move_cursor(tx, CURSOR, upto)
    return more


def _take(conn: Connection, workspace: str, used: Sequence[Used]) -> None:
    ends = [(one, place) for one in used for place in _ends(one)]
    known = {(one.source, one.target): one for one in store.edges(conn, workspace, [place[0] for _, place in ends])}
    room = MAX_EDGES - store.count(conn, workspace)
    changed: dict[tuple[str, str], Edge] = {}
    for one, place in ends:
        before = changed.get(place) or known.get(place)
        if before is None and room <= 0:
            continue
        room -= before is None
        changed[place] = _more(before or Edge(*place), one)
    store.put(conn, workspace, changed.values())


def _ends(one: Used) -> list[tuple[str, str]]:
    kind = _KINDS.get(one.kind)
    me = key(Kind.AGENT, one.agent)
    ends = [(me, key(kind, one.resource[:_LONGEST]))] if kind is not None else []
    return [*ends, *([(key(Kind.PERSON, one.person[:_LONGEST]), me)] if one.person else [])]


def _more(edge: Edge, one: Used) -> Edge:
    days = dict(edge.days)
    days[one.day] = days.get(one.day, 0) + one.calls
    newest = max(days)
    return replace(
        edge,
        calls=edge.calls + one.calls,
        errors=edge.errors + one.errors,
        first_seen=min(edge.first_seen or one.last, one.last),
        last_seen=max(edge.last_seen or one.last, one.last),
        days={day: count for day, count in days.items() if day > newest - KEPT_DAYS},
    )


def whole(conn: Connection, actor: Actor) -> Graph:
    """The graph of the actor's workspace: what manifests of agents that are not retired declare, and what was seen."""
    permit(actor, "agents:read")
    permit(actor, "events:read")
    agents = registry.list_agents(conn, actor.workspace)
    alive = [one for one in agents if one.state not in _GONE]
    declared = [edge for one in alive for edge in of_manifest(one.manifest)]
    seen = store.edges(conn, actor.workspace)
    return joined({one.name: str(one.state) for one in agents}, declared, seen)


def hit_by(conn: Connection, actor: Actor, node: str, now: datetime) -> list[Hit]:
    """Everything that is hit when ``node`` goes, the nearest first. Raises Refused (404) for a node that is none."""
    graph = whole(conn, actor)
    if parsed(node) not in graph.nodes:
        raise Refused("unknown_node", f"There is no {node}.", fix="See `tenure graph show`.", status=404)
    return blast(graph, node, now)


def forget_person(connection: Connection, workspace: str, name: str) -> int:
    """Forgets for whom agents worked, of one person; how many edges there were."""
    return store.forget_node(connection, workspace, key(Kind.PERSON, name[:_LONGEST]))
