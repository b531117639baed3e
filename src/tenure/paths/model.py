"""Runs as sequences of steps, loops folded; what many of them have in common. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from statistics import median

from tenure.kernel.ids import stable_id
from tenure.telemetry.model import Walked

START, SOLVED, FAILED, ENDED = "start", "end:solved", "end:failed", "end:ended"
LOOP_MOST = 8
"""Steps that a loop may have."""
RARE = 0.05
"""A way that fewer than this share of runs go is rare, where there are enough runs to say so."""
ENOUGH = 20
_MODELS = frozenset({"llm", "embedding"})
_HANDOFF = "agent"


@dataclass(frozen=True, slots=True)
class Visit:
    """One step of a run. ``node``: what it is, the same in all runs."""

    node: str
    at: datetime
    duration_us: int
    failed: bool
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Part:
    """Steps that came ``count`` times in a row; once: one step."""

    nodes: tuple[str, ...]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """Traces of one session or task, as one. ``end``: solved or failed as somebody judged, else failed when its last
    step did, else ended."""

    key: str
    traces: tuple[str, ...]
    agents: tuple[str, ...]
    visits: tuple[Visit, ...]
    end: str

    @property
    def began(self) -> datetime:
        """When its first step began."""
        return self.visits[0].at

    @property
    def took_us(self) -> int:
        """From the beginning of its first step to the end of its last."""
        last = self.visits[-1]
        return int((last.at - self.began).total_seconds() * 1_000_000) + last.duration_us

    @property
    def cost_usd(self) -> Decimal:
        """What its steps cost, as far as that is known."""
        return sum((visit.cost_usd for visit in self.visits), Decimal(0))

    @property
    def hops(self) -> list[tuple[str, str, Visit | None]]:
        """Each step with the one before it, from the start to the end, which is no visit."""
        nodes = [START, *(visit.node for visit in self.visits)]
        hops: list[tuple[str, str, Visit | None]] = [
            (before, visit.node, visit) for before, visit in zip(nodes, self.visits, strict=False)
        ]
        return [*hops, (nodes[-1], self.end, None)]


@dataclass(frozen=True, slots=True)
class Node:
    """A step of the graph. ``place``: the median of when runs come to it first, counted in different steps."""

    key: str
    kind: str
    name: str
    agent: str
    runs: int
    visits: int
    failed: int
    place: float


@dataclass(frozen=True, slots=True)
class Edge:
    """From a step to the next. ``runs`` went this way, ``passes`` times in all; of the runs so many came to each end.
    ``median_us`` and ``cost_usd`` (mean): of the step that it leads to."""

    source: str
    target: str
    runs: int
    passes: int
    solved: int
    failed: int
    median_us: int
    cost_usd: Decimal
    rare: bool


@dataclass(frozen=True, slots=True)
class Path:
    """One way through, whatever the number of rounds in its loops: ``parts`` have the most that there were."""

    id: str
    parts: tuple[Part, ...]
    runs: tuple[Run, ...]
    rare: bool

    def count(self, end: str) -> int:
        """How many of its runs came to that end."""
        return sum(run.end == end for run in self.runs)

    @property
    def median_us(self) -> int:
        """How long its runs took."""
        return int(median(run.took_us for run in self.runs))

    @property
    def cost_usd(self) -> Decimal:
        """What its runs cost, on average."""
        return sum((run.cost_usd for run in self.runs), Decimal(0)) / len(self.runs)


@dataclass(frozen=True, slots=True)
class Ways:
    """All of it."""

    runs: tuple[Run, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    paths: tuple[Path, ...]
    traces: int = 0
    ends: Mapping[str, int] = field(default_factory=dict)


# -- runs
def runs_of(steps: Sequence[Walked], tasks: Mapping[str, str]) -> list[Run]:
    """The runs that ``steps`` (by their time) are of, the newest first. Traces are one run that have the conversation
    in common, or else the session, or the task of their sessions (``tasks``)."""
    many = len({step.agent for step in steps if step.agent}) > 1
    groups = _groups(steps, tasks)
    governed = {step.trace_id for step in steps if step.type.startswith(("call.", "import.call"))}
    found: dict[str, list[Walked]] = defaultdict(list)
    for step in steps:
        if not (step.type == "otlp.span" and step.kind != _HANDOFF and step.trace_id in governed):
            found[groups[step.trace_id]].append(step)  # what an agent says of calls that a gateway saw is no other step
    runs = [_run(mine, many) for mine in found.values()]
    return sorted((run for run in runs if run is not None), key=lambda run: (run.began, run.key), reverse=True)


def _groups(steps: Iterable[Walked], tasks: Mapping[str, str]) -> dict[str, str]:
    """The run of each trace, by the smallest trace in it."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for step in steps:
        whose = "" if step.type.startswith("import.") else step.agent  # several may speak in one that was imported
        joins = [f"conversation {step.conversation}"] if step.conversation else []
        joins = joins or ([f"session {whose} {step.session}"] if step.session else [])
        joins += [f"task {tasks[step.session]}"] if step.session in tasks else []
        for join in joins:
            one, other = root(step.trace_id), root(join)
            parent[max(one, other)] = min(one, other)
    return {step.trace_id: root(step.trace_id) for step in steps}


def _run(steps: Sequence[Walked], many: bool) -> Run | None:
    visits = tuple(
        Visit(node_of(step, many), step.at, step.duration_us, step.failed, step.cost_usd or Decimal(0))
        for step in steps
        if step.type != "import.outcome"
    )
    if not visits:
        return None
    judged = [step.solved for step in steps if step.type == "import.outcome"]
    end = (SOLVED if judged[-1] else FAILED) if judged else FAILED if visits[-1].failed else ENDED
    traces = tuple(dict.fromkeys(step.trace_id for step in steps))
    agents = tuple(dict.fromkeys(step.agent for step in steps))
    return Run(stable_id("run", *sorted(traces))[:12], traces, tuple(filter(None, agents)), visits, end)


def node_of(step: Walked, many: bool) -> str:
    """``kind:name``, and the agent that takes it where several are told of: ``kind:name@agent``."""
    if step.type == "import.message":
        return f"message:{step.name.removeprefix('message ')}"
    kind = "model" if step.kind in _MODELS else "agent" if step.kind == _HANDOFF else "tool"
    name = step.model if kind == "model" else step.reached
    return f"{kind}:{name or step.name}" + (f"@{step.agent}" if many and step.agent else "")


# -- paths
def folded(nodes: Sequence[str]) -> tuple[Part, ...]:
    """A sequence with what came several times in a row as one part, the longest stretch first where there are two."""
    parts: list[Part] = []
    at = 0
    while at < len(nodes):
        size, count = max(
            ((size, _rounds(nodes, at, size)) for size in range(1, LOOP_MOST + 1)),
            key=lambda one: (one[0] * one[1] if one[1] > 1 else 0, -one[0]),
        )
        if count < 2:
            size, count = 1, 1
        parts.append(Part(tuple(nodes[at : at + size]), count))
        at += size * count
    return tuple(parts)


def _rounds(nodes: Sequence[str], at: int, size: int) -> int:
    block, count = nodes[at : at + size], 1
    while len(block) == size and nodes[at + size * count : at + size * (count + 1)] == block:
        count += 1
    return count


def ways_of(runs: Sequence[Run]) -> Ways:
    """What runs have in common, the most frequent first."""
    ends = Counter(run.end for run in runs)
    traces = len({trace for run in runs for trace in run.traces})
    return Ways(tuple(runs), tuple(_nodes(runs)), tuple(_edges(runs)), tuple(_paths(runs)), traces, dict(ends))


def _rare(count: int, of: int) -> bool:
    return of >= ENOUGH and count / of < RARE


def _paths(runs: Sequence[Run]) -> list[Path]:
    found: dict[tuple[object, ...], list[tuple[tuple[Part, ...], Run]]] = defaultdict(list)
    for run in runs:
        parts = folded([visit.node for visit in run.visits])
        found[tuple((part.nodes, part.count > 1) for part in parts)].append((parts, run))
    paths = []
    for shape, mine in found.items():
        rounds = zip(*(parts for parts, _ in mine), strict=True)
        most = tuple(Part(parts[0].nodes, max(part.count for part in parts)) for parts in rounds)
        paths.append(
            Path(stable_id("path", repr(shape))[:12], most, tuple(run for _, run in mine), _rare(len(mine), len(runs)))
        )
    return sorted(paths, key=lambda path: (-len(path.runs), path.id))


def _edges(runs: Sequence[Run]) -> list[Edge]:
    passed: dict[tuple[str, str], list[tuple[Run, Visit | None]]] = defaultdict(list)
    for run in runs:
        for source, target, visit in run.hops:
            passed[source, target].append((run, visit))
    edges = []
    for (source, target), told in passed.items():
        of = {run.key: run for run, _ in told}
        visits = [visit for _, visit in told if visit is not None]
        cost = sum((visit.cost_usd for visit in visits), Decimal(0))
        edges.append(
            Edge(
                source,
                target,
                len(of),
                len(told),
                sum(run.end == SOLVED for run in of.values()),
                sum(run.end == FAILED for run in of.values()),
                int(median(visit.duration_us for visit in visits)) if visits else 0,
                cost / len(visits) if visits else Decimal(0),
                _rare(len(of), len(runs)),
            )
        )
    return sorted(edges, key=lambda edge: (-edge.runs, -edge.passes, edge.source, edge.target))


def _nodes(runs: Sequence[Run]) -> list[Node]:
    places: dict[str, list[int]] = defaultdict(list)
    visits: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for run in runs:
        visits.update(visit.node for visit in run.visits)
        failed.update(visit.node for visit in run.visits if visit.failed)
        for place, node in enumerate(dict.fromkeys(visit.node for visit in run.visits)):
            places[node].append(place)
    nodes = []
    for key, at in places.items():
        kind, _, name = key.partition(":")
        name, _, agent = name.partition("@") if kind != "message" else (name, "", "")
        nodes.append(Node(key, kind, name, agent, len(at), visits[key], failed[key], float(median(at))))
    return sorted(nodes, key=lambda node: (node.place, -node.runs, node.key))


def behind(ways: Ways, *, source: str = "", target: str = "", path: str = "", node: str = "") -> list[Run]:
    """The runs that go an edge, take a path or come to a step, the newest first; all of them where nothing is given."""
    taken = next((set(map(id, one.runs)) for one in ways.paths if one.id == path), set()) if path else None
    return [
        run
        for run in ways.runs
        if (taken is None or id(run) in taken)
        and (not (source or target) or any(hop[:2] == (source, target) for hop in run.hops))
        and (not node or any(visit.node == node for visit in run.visits))
    ]
