"""Nodes, edges, and what is hit when one of them goes. Pure.

An edge goes from what depends to what it depends on: from a person to the agent that works for them, from an agent to
the tool, model or agent that it calls. So whatever can reach a node is hit when that node goes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject

MAX_EDGES = 20_000
"""Of one workspace that traffic drew; what is beyond is not kept."""
KEEP = timedelta(days=90)
"""How long an edge that nobody uses any more is kept."""
KEPT_DAYS = 28
RATE_DAYS = 7
FRESH = timedelta(days=1)
FADING = timedelta(days=7)


class Kind(StrEnum):
    """What a node is."""

    PERSON = "person"
    AGENT = "agent"
    TOOL = "tool"
    MODEL = "model"
    DATA = "data"
    SYSTEM = "system"


class Age(StrEnum):
    """How lately an edge was used: within a day, within a week, longer ago, or never."""

    FRESH = "fresh"
    FADING = "fading"
    STALE = "stale"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Edge:
    """``source`` depends on ``target`` (``<kind>:<name>``). ``declared``: a manifest says so; ``per_day``: calls a day
    over the last week, or since it began if that is less; ``days``: calls by day (days since 1970, UTC)."""

    source: str
    target: str
    calls: int = 0
    errors: int = 0
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    declared: bool = False
    days: Mapping[int, int] = field(default_factory=dict)

    def per_day(self, now: datetime) -> float:
        """Calls a day over the last ``RATE_DAYS`` days, this one among them, or since it was first seen."""
        today = _day(now)
        recent = sum(count for day, count in self.days.items() if today - RATE_DAYS < day <= today)
        since = today - _day(self.first_seen) + 1 if self.first_seen is not None else RATE_DAYS
        return recent / max(1, min(RATE_DAYS, since))

    def age(self, now: datetime) -> Age:
        """How lately it was used."""
        if self.last_seen is None:
            return Age.UNUSED
        silent = now - self.last_seen
        return Age.FRESH if silent < FRESH else Age.FADING if silent < FADING else Age.STALE


@dataclass(frozen=True, slots=True)
class Node:
    """``state``: of an agent, its lifecycle state; of anything else empty."""

    key: str
    state: str = ""

    @property
    def kind(self) -> Kind:
        """What it is."""
        return Kind(self.key.partition(":")[0])

    @property
    def name(self) -> str:
        """Its name."""
        return self.key.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Graph:
    """The whole of a workspace."""

    nodes: Mapping[str, Node]
    edges: Sequence[Edge]


@dataclass(frozen=True, slots=True)
class Hit:
    """What is hit when a node goes. ``steps`` away from it; ``via``: what it depends on of what is hit before it;
    ``per_day``: how many of its calls a day go to any of that."""

    node: Node
    steps: int
    via: str
    per_day: float


def _day(at: datetime) -> int:
    return int(at.timestamp() // 86_400)


def key(kind: Kind, name: str) -> str:
    """How a node is named."""
    return f"{kind}:{name}"


def parsed(text: str) -> str:
    """The name of a node, as ``agent:clerk``. Raises Refused (422) for anything else."""
    kind, sign, name = text.partition(":")
    if not sign or not name or len(text) > 600 or kind not in set(Kind):
        kinds = ", ".join(Kind)
        raise Refused(
            "bad_node", f"{text[:100]!r} is no node.", fix=f"As in agent:clerk; kinds are {kinds}.", status=422
        )
    return text


def of_manifest(manifest: JsonObject) -> list[Edge]:
    """What a manifest declares an agent to depend on; and its people: whoever answers for it depends on it."""
    spec = manifest["spec"]
    me = key(Kind.AGENT, manifest["metadata"]["name"])
    models = [spec["model"], *spec.get("models", ())]
    targets = [key(Kind.MODEL, str(one["name"])) for one in models]
    targets += [key(Kind.TOOL, str(one["name"])) for one in spec.get("tools", ())]
    targets += [key(Kind.AGENT, str(one["name"])) for one in spec.get("agents", ())]
    targets += [key(Kind.DATA, str(one)) for one in spec.get("data_classes", ())]
    for one in spec.get("dependencies", ()):
        targets.append(key(Kind.AGENT, one["agent"]) if one.get("agent") else key(Kind.SYSTEM, str(one.get("system"))))
    behind = [
        Edge(
            key(Kind.TOOL, str(one["name"])),
            key(Kind.MODEL, "{registry}/{name}@{version}".format(**found)),
            declared=True,
        )
        for one in spec.get("tools", ())
        if (found := one.get("predicts_with"))
    ]
    people = dict.fromkeys(str(spec[role]) for role in ("owner", "sponsor") if spec.get(role))
    edges = [Edge(me, target, declared=True) for target in dict.fromkeys(targets)]
    return [*edges, *behind, *(Edge(key(Kind.PERSON, person), me, declared=True) for person in people)]


def joined(agents: Mapping[str, str], declared: Iterable[Edge], seen: Iterable[Edge]) -> Graph:
    """The graph of what is declared and what was seen. ``agents``: state by name; agents that are none any more are
    there only as far as traffic still leads to them."""
    edges: dict[tuple[str, str], Edge] = {(one.source, one.target): one for one in seen}
    for one in declared:
        place = (one.source, one.target)
        edges[place] = replace(edges[place], declared=True) if place in edges else one
    keys = {key(Kind.AGENT, name) for name in agents}
    keys |= {end for one in edges.values() for end in (one.source, one.target)}
    nodes = {one: Node(one, agents.get(one.partition(":")[2], "") if one.startswith("agent:") else "") for one in keys}
    return Graph(nodes, sorted(edges.values(), key=lambda one: (one.source, one.target)))


def blast(graph: Graph, gone: str, now: datetime) -> list[Hit]:
    """Everything that depends on ``gone``, through whatever is between, the nearest first. Edges that nobody has used
    for a week count as well: what runs once a month is hit, too."""
    into: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        into.setdefault(edge.target, []).append(edge)
    steps, via = {gone: 0}, {gone: ""}
    waiting = deque([gone])
    while waiting:
        at = waiting.popleft()
        for edge in into.get(at, ()):
            if edge.source not in steps:
                steps[edge.source], via[edge.source] = steps[at] + 1, at
                waiting.append(edge.source)
    rates: dict[str, float] = {}
    for edge in graph.edges:
        if edge.source in steps and edge.target in steps:
            rates[edge.source] = rates.get(edge.source, 0.0) + edge.per_day(now)
    hits = [Hit(graph.nodes[one], far, via[one], rates.get(one, 0.0)) for one, far in steps.items() if one != gone]
    return sorted(hits, key=lambda hit: (hit.steps, -hit.per_day, hit.node.key))


def around(graph: Graph, focus: str, steps: int) -> Graph:
    """The part of a graph that is at most so many steps from a node, whichever way the edges go: what it depends on,
    and what depends on it. No path turns around: two agents that share a tool are no neighbours for that."""
    out: dict[str, list[str]] = {}
    into: dict[str, list[str]] = {}
    for edge in graph.edges:
        out.setdefault(edge.source, []).append(edge.target)
        into.setdefault(edge.target, []).append(edge.source)
    near = {focus}
    for ways in (out, into):
        ring = {focus}
        for _ in range(steps):
            ring = {other for one in ring for other in ways.get(one, ())} - near
            near |= ring
    edges = [one for one in graph.edges if one.source in near and one.target in near]
    return Graph({one: node for one, node in graph.nodes.items() if one in near}, edges)
