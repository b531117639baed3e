"""The graph over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.graph import service
from tenure.graph.model import Age, Edge, Graph, Hit, Kind, Node, around, parsed
from tenure.kernel.errors import Refused

router = APIRouter(tags=["graph"])

MOST_EDGES = 10_000
"""In one answer; the most used first."""


class NodeOut(BaseModel):
    """``key`` is ``<kind>:<name>``; ``state``: of an agent, its lifecycle state."""

    key: str
    kind: Kind
    name: str
    state: str


class EdgeOut(BaseModel):
    """``source`` depends on ``target``. ``declared``: a manifest says so; ``age``: fresh (used within a day), fading
    (within a week), stale, or unused; ``calls`` and ``errors`` since ``first_seen``."""

    source: str
    target: str
    declared: bool
    age: Age
    calls: int
    errors: int
    per_day: float = Field(description="Calls a day over the last week, or since it was first seen")
    first_seen: datetime | None
    last_seen: datetime | None


class GraphOut(BaseModel):
    """``cut``: edges that were left out because there are too many."""

    nodes: list[NodeOut]
    edges: list[EdgeOut]
    cut: int


class HitOut(BaseModel):
    """What is hit: ``steps`` away, ``via`` what it depends on; ``per_day``: its calls a day to what is hit or gone."""

    node: NodeOut
    steps: int
    via: str
    per_day: float


class BlastOut(BaseModel):
    """Everything that is hit when ``node`` goes, the nearest first, and how many calls a day that is in all."""

    node: str
    per_day: float
    hits: list[HitOut]


def _node(node: Node) -> NodeOut:
    return NodeOut(key=node.key, kind=node.kind, name=node.name, state=node.state)


def _edge(edge: Edge, now: datetime) -> EdgeOut:
    return EdgeOut(
        source=edge.source,
        target=edge.target,
        declared=edge.declared,
        age=edge.age(now),
        calls=edge.calls,
        errors=edge.errors,
        per_day=round(edge.per_day(now), 2),
        first_seen=edge.first_seen,
        last_seen=edge.last_seen,
    )


def _hit(hit: Hit) -> HitOut:
    return HitOut(node=_node(hit.node), steps=hit.steps, via=hit.via, per_day=round(hit.per_day, 2))


def _graph(graph: Graph, now: datetime) -> GraphOut:
    edges = sorted(graph.edges, key=lambda one: -one.per_day(now))
    kept = edges[:MOST_EDGES]
    nodes = [_node(node) for _, node in sorted(graph.nodes.items())]
    return GraphOut(nodes=nodes, edges=[_edge(one, now) for one in kept], cut=len(edges) - len(kept))


@router.get("/v1/graph")
def get_graph(
    world: TheWorld,
    actor: TheActor,
    focus: Annotated[str, Query(description="Only around this node, as agent:clerk")] = "",
    steps: Annotated[int, Query(ge=1, le=5, description="How far around it")] = 2,
) -> GraphOut:
    """What depends on what: agents, tools, models, data, systems and people."""
    with world.read() as conn:
        graph = service.whole(conn, actor)
    if focus:
        if parsed(focus) not in graph.nodes:
            raise Refused("unknown_node", f"There is no {focus}.", fix="See `tenure graph show`.", status=404)
        graph = around(graph, focus, steps)
    return _graph(graph, world.clock())


@router.get("/v1/graph/blast")
def get_blast(world: TheWorld, actor: TheActor, node: str) -> BlastOut:
    """Everything that is hit when a node is retired or breaks: who depends on it, through whatever is between."""
    now = world.clock()
    with world.read() as conn:
        hits = service.hit_by(conn, actor, node, now)
    out = [_hit(hit) for hit in hits]
    return BlastOut(node=node, per_day=round(sum(one.per_day for one in out), 2), hits=out)
