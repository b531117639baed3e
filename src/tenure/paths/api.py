"""Paths over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.paths import service
from tenure.paths.model import ENDED, FAILED, SOLVED, Edge, Path, Run, Ways, behind

router = APIRouter(tags=["paths"])

MOST = 1000
Agent = Annotated[str | None, Query(description="Runs that this agent has a step in")]
Source = Annotated[str | None, Query(description="Where they were imported from, as `tau-bench`")]
Hours = Annotated[int, Query(ge=1, le=24 * 366, description="How far to look back")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="The most traces that are read, the newest")]


class NodeOut(BaseModel):
    """A step. `place`: the median of when runs come to it first, counted in different steps."""

    key: str
    kind: str
    name: str
    agent: str
    runs: int
    visits: int
    failed: int
    place: float


class EdgeOut(BaseModel):
    """From a step (or `start`) to the next (or `end:solved`, `end:failed`, `end:ended`). Time (microseconds) and cost
    (US dollars) are of the step that it leads to."""

    source: str
    target: str
    runs: int
    passes: int
    solved: int
    failed: int
    median_us: int
    cost_usd: str
    rare: bool


class PartOut(BaseModel):
    """Steps, and how often they came in a row at most."""

    nodes: list[str]
    count: int


class PathOut(BaseModel):
    """One way through, whatever the number of rounds in its loops."""

    id: str
    parts: list[PartOut]
    runs: int
    share: float
    solved: int
    failed: int
    median_us: int
    cost_usd: str
    rare: bool


class RunOut(BaseModel):
    """Traces of one session, conversation or task, in their order."""

    key: str
    traces: list[str]
    agents: list[str]
    steps: int
    end: str
    began: datetime
    took_us: int
    cost_usd: str


class WaysOut(BaseModel):
    """The ways that runs go. `traces` were read; `most` is how many at most."""

    runs: int
    traces: int
    most: int
    solved: int
    failed: int
    ended: int
    nodes: list[NodeOut]
    edges: list[EdgeOut]
    paths: list[PathOut] = Field(description="The most frequent first")


def _dollars(value: Any) -> str:
    return format(round(value, 6).normalize(), "f")


@router.get("/v1/paths")
def paths(  # noqa: PLR0917 (one filter each)
    world: TheWorld, actor: TheActor, agent: Agent = None, source: Source = None, hours: Hours = 168, limit: Limit = 200
) -> WaysOut:
    """Which ways runs went, as paths and as one graph: from facts, nothing of what was said is read."""
    ways = service.ways(world, actor, agent=agent, source=source, hours=hours, most=limit)
    return WaysOut(
        runs=len(ways.runs),
        traces=ways.traces,
        most=limit,
        solved=ways.ends.get(SOLVED, 0),
        failed=ways.ends.get(FAILED, 0),
        ended=ways.ends.get(ENDED, 0),
        nodes=[NodeOut.model_validate(node, from_attributes=True) for node in ways.nodes],
        edges=[_edge(edge) for edge in ways.edges],
        paths=[_path(path, ways) for path in ways.paths],
    )


def _edge(edge: Edge) -> EdgeOut:
    facts = {name: getattr(edge, name) for name in EdgeOut.model_fields}
    return EdgeOut(**facts | {"cost_usd": _dollars(edge.cost_usd)})


def _path(path: Path, ways: Ways) -> PathOut:
    return PathOut(
        id=path.id,
        parts=[PartOut(nodes=list(part.nodes), count=part.count) for part in path.parts],
        runs=len(path.runs),
        share=len(path.runs) / len(ways.runs),
        solved=path.count(SOLVED),
        failed=path.count(FAILED),
        median_us=path.median_us,
        cost_usd=_dollars(path.cost_usd),
        rare=path.rare,
    )


@router.get("/v1/paths/runs")
def runs(  # noqa: PLR0917 (one filter each)
    world: TheWorld,
    actor: TheActor,
    agent: Agent = None,
    source: Source = None,
    hours: Hours = 168,
    limit: Limit = 200,
    edge_from: Annotated[str, Query(max_length=500)] = "",
    edge_to: Annotated[str, Query(max_length=500)] = "",
    way: Annotated[str, Query(max_length=64, description="The id of a path")] = "",
    node: Annotated[str, Query(max_length=500)] = "",
) -> list[RunOut]:
    """The runs behind an edge, a path or a step, the newest first."""
    ways = service.ways(world, actor, agent=agent, source=source, hours=hours, most=limit)
    return [_run(run) for run in behind(ways, source=edge_from, target=edge_to, path=way, node=node)]


def _run(run: Run) -> RunOut:
    return RunOut(
        key=run.key,
        traces=list(run.traces),
        agents=list(run.agents),
        steps=len(run.visits),
        end=run.end.removeprefix("end:"),
        began=run.began,
        took_us=run.took_us,
        cost_usd=_dollars(run.cost_usd),
    )
