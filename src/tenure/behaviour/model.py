"""What is usual of an agent, and what departs from it, as values. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tenure.telemetry.model import Act

ENOUGH = 30
"""Tool calls after which what is usual is known."""
START = "start"
"""What stands before the first tool call of a run."""
_BLOCK = 5
_RUNS = 8
"""Calls are taken together by run, where there are so many runs; else in blocks of ``_BLOCK`` calls in a row."""
_TOOL = "tool"


class Kind(StrEnum):
    """In what behaviour departs: what was never there before (``new_``), or what moved."""

    NEW_TOOL = "new_tool"
    NEW_ORDER = "new_order"
    NEW_SHAPE = "new_shape"
    SIZE = "size"
    LOOP = "loop"
    TOOLS = "tools"
    ORDERS = "orders"
    ERRORS = "errors"
    LATENCY = "latency"
    SIZES = "sizes"
    TOKENS = "tokens"
    COST = "cost"
    PACE = "pace"
    HOURS = "hours"


@dataclass(frozen=True, slots=True)
class Profile:
    """What an agent did in a stretch of time. ``groups``: its tool calls by run (or in blocks, where it has few runs);
    ``steps``: each with the tool before it in its run; ``models``: its model calls. Counts are of attempts: a call that
    was refused is as much its behaviour as one that went out."""

    groups: tuple[tuple[Act, ...], ...] = ()
    steps: tuple[tuple[str, Act], ...] = ()
    models: tuple[Act, ...] = ()
    runs: int = 0
    tools: Counter[str] = field(default_factory=Counter)
    orders: Counter[tuple[str, str]] = field(default_factory=Counter)
    shapes: Mapping[str, Counter[str]] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    hours: Counter[int] = field(default_factory=Counter)

    @property
    def calls(self) -> int:
        """Its tool calls."""
        return len(self.steps)

    @property
    def days(self) -> int:
        """On how many days (UTC) it called tools."""
        return len({act.at.date() for _, act in self.steps})

    @property
    def since(self) -> datetime | None:
        """When the first of its tool calls was."""
        return min((act.at for _, act in self.steps), default=None)


def profile_of(acts: Sequence[Act]) -> Profile:
    """The profile of calls, oldest first. What an agent tells of calls that a gateway saw is no other call."""
    governed = {act.run for act in acts if act.type != "otlp.span"}
    mine = [act for act in acts if act.type != "otlp.span" or act.run not in governed]
    calls = [act for act in mine if act.kind == _TOOL and act.reached]
    runs: dict[str, list[Act]] = defaultdict(list)
    steps = []
    for act in calls:
        before = runs[act.run]
        steps.append((before[-1].reached if before else START, act))
        before.append(act)
    shapes: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: dict[str, list[int]] = defaultdict(list)
    for act in calls:
        if act.size is not None:
            shapes[act.reached][act.fields] += 1
            sizes[act.reached].append(act.size)
    return Profile(
        groups=tuple(map(tuple, runs.values())) if len(runs) >= _RUNS else tuple(_blocks(calls)),
        steps=tuple(steps),
        models=tuple(act for act in mine if act.kind == "llm"),
        runs=len(runs),
        tools=Counter(act.reached for act in calls),
        orders=Counter((before, act.reached) for before, act in steps),
        shapes=dict(shapes),
        sizes={tool: tuple(found) for tool, found in sizes.items()},
        hours=Counter(act.at.hour for act in calls),
    )


def _blocks(calls: Sequence[Act]) -> Iterable[tuple[Act, ...]]:
    return (tuple(calls[at : at + _BLOCK]) for at in range(0, len(calls), _BLOCK))


@dataclass(frozen=True, slots=True)
class Deviation:
    """One way in which an agent departs from what is usual of it. ``subject``: the tool, or the order of two, that it
    is about, empty for all; ``words``: with the figures; ``chance``: how likely it is by chance alone, None for what
    was never there; ``sure``: whether that is unlikely enough to act on, after all that was looked at; ``trace_id``
    and ``span_id``: a call to look at."""

    kind: Kind
    words: str
    subject: str = ""
    chance: float | None = None
    sure: bool = True
    trace_id: str = ""
    span_id: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """How often something is among an agent's calls: as a share of those before, and of those that are looked at."""

    name: str
    expected: float
    seen: float
    before: int
    now: int


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of a figure before and now; None where there is none. ``unit``: ms, bytes, tokens, usd or calls."""

    name: str
    unit: str
    expected: float | None
    seen: float | None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """An agent's behaviour held against what is usual of it. ``learning``: there is too little to say what is usual
    (``expected.calls`` of ``ENOUGH``); then ``deviations`` is empty. ``against``: what it is held against, in words."""

    agent: str
    release: str
    against: str
    since: datetime
    until: datetime
    expected: Profile
    seen: Profile
    distance: float = 0.0
    deviations: tuple[Deviation, ...] = ()

    @property
    def learning(self) -> bool:
        """Whether there is too little to say what is usual."""
        return self.expected.calls < ENOUGH

    @property
    def state(self) -> str:
        """``learning``, ``quiet`` (nothing to hold against it), ``usual`` or ``deviates``."""
        if self.learning:
            return "learning"
        if not self.seen.calls:
            return "quiet"
        return "deviates" if any(one.sure for one in self.deviations) else "usual"


def shares(before: Counter[str], now: Counter[str]) -> list[Share]:
    """Both as shares, the largest first."""
    n, m = before.total() or 1, now.total() or 1
    found = [Share(name, before[name] / n, now[name] / m, before[name], now[name]) for name in {*before, *now}]
    return sorted(found, key=lambda one: (-max(one.expected, one.seen), one.name))
