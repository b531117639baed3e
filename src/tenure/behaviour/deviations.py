"""Where what was seen departs from what is usual, and the words for it. Pure.

Two kinds of things are told. What was never there before (a tool, an order, a shape of arguments) is sure only where
new things had become rare: an agent that keeps doing new things is not deviating by doing one more. What moved (shares,
sizes, times) is sure only where chance explains it in less than one of a hundred looks, all that is looked at counted
(Bonferroni), and where it moved far enough to matter.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import TypeVar

from tenure.behaviour.model import START, Deviation, Figure, Kind, Profile, shares
from tenure.behaviour.statistics import apart, at_least, ranked, shannon, unseen, usual
from tenure.telemetry.model import Act

ALPHA = 0.01
"""How often a look at an agent that behaves as usual may say that something moved."""
RARE = 0.01
"""New things are rare when less than this share of what comes is expected to be of a kind that never came."""
FAR = 0.2
"""Shares moved far enough to matter at this Jensen-Shannon distance: a tenth of the calls went elsewhere altogether."""
FAR_HOURS = 0.35
MORE_ERRORS = 0.05
TIMES = 1.5
"""A figure moved far enough to matter when it is so many times what it was, or as much less."""
LEAST = 10
"""Of fewer calls (or groups of them) now nothing is said to have moved."""
_ENOUGH = 20
_KNOWN = 10
_RARE_SHAPE = 0.05
_ANYWAY = frozenset({Kind.NEW_TOOL, Kind.SIZE})
_DAYS = 7
_TOLD = 3
_Group = Sequence[Act]
K = TypeVar("K", bound=Hashable)
_UNITS = {"latency": "ms", "size": "bytes", "tokens": "tokens", "cost": "usd", "pace": "calls"}


class Usual:
    """What is usual of an agent, worked out once for many calls."""

    def __init__(self, expected: Profile) -> None:
        self.expected = expected
        self.after: Counter[str] = Counter(before for before, _ in expected.steps)
        self.rate = {
            Kind.NEW_TOOL: unseen(expected.tools),
            Kind.NEW_ORDER: unseen(expected.orders),
        }
        self.shapes = {tool: unseen(shapes) for tool, shapes in expected.shapes.items()}
        self.sizes = {tool: usual(sizes) for tool, sizes in expected.sizes.items() if len(sizes) >= _ENOUGH}
        rows = [length for length, _ in in_a_row(expected)]
        self.longest = usual(rows)[1] if len(rows) >= _ENOUGH else math.inf
        self.often = median(rows) if rows else 0

    def newness(self, one: Deviation) -> float:
        """How often a call brings something new of this kind."""
        return self.shapes[one.subject] if one.kind is Kind.NEW_SHAPE else self.rate.get(one.kind, 0.0)

    def of_call(self, before: str, act: Act) -> list[Deviation]:
        """What one tool call does that was never seen of its agent, or far outside of what was. ``before``: the tool
        before it in its run, or ``START``."""
        tool, expected, found = act.reached, self.expected, list[Deviation]()
        if tool not in expected.tools:
            words = f"{tool} was never called in {expected.calls:,} calls before"
            return [_of(act, Kind.NEW_TOOL, words, tool, self.rate[Kind.NEW_TOOL] < RARE)]
        after = self.after[before]
        if (before, tool) not in expected.orders and after >= _KNOWN:
            words = f"{_order(before, tool)} never came before, in {after:,} {_times(before)}"
            sure = self.rate[Kind.NEW_ORDER] < RARE
            found.append(_of(act, Kind.NEW_ORDER, words, f"{before} > {tool}", sure))
        shapes = expected.shapes.get(tool, Counter())
        if act.size is not None and shapes.total() >= _KNOWN and act.fields not in shapes:
            words = f"{tool} was never given these fields before, in {shapes.total():,} calls"
            found.append(_of(act, Kind.NEW_SHAPE, words, tool, self.shapes[tool] < _RARE_SHAPE))
        low, high = self.sizes.get(tool, (0.0, math.inf))
        if act.size is not None and not low <= act.size <= high:
            way = "large" if act.size > high else "small"
            often = median(expected.sizes[tool])
            words = f"What {tool} was given is far too {way}: {act.size:,} bytes, usually {often:,.0f}"
            found.append(_of(act, Kind.SIZE, words, tool))
        return found


def _of(act: Act, kind: Kind, words: str, subject: str = "", sure: bool = True) -> Deviation:
    return Deviation(kind, words, subject, sure=sure, trace_id=act.trace_id, span_id=act.span_id)


def _order(before: str, tool: str) -> str:
    return f"To begin with {tool}" if before == START else f"{tool} after {before}"


def _times(before: str) -> str:
    return "runs" if before == START else f"calls after {before}"


def deviations(expected: Profile, seen: Profile) -> list[Deviation]:
    """All in which ``seen`` departs from what is usual, the surest first."""
    found = list(_new(expected, seen))
    moved = list(_moved(expected, seen)) if seen.calls >= LEAST else []
    for one, far in moved:
        chance = min(1.0, (one.chance or 0.0) * len(moved))
        if chance < ALPHA and far:
            found.append(replace(one, chance=chance))
    order = list(Kind)
    return sorted(found, key=lambda one: (not one.sure, order.index(one.kind), one.subject))


def _new(expected: Profile, seen: Profile) -> Iterator[Deviation]:
    """What single calls say, one of each subject, with how often. What is sure of a call is sure of a stretch of them
    where there is more of it than such a stretch usually brings; a tool that was never called is told in any case."""
    of = Usual(expected)
    first: dict[tuple[Kind, str], Deviation] = {}
    times: Counter[tuple[Kind, str]] = Counter()
    kinds: Counter[Kind] = Counter()
    for before, act in seen.steps:
        for one in of.of_call(before, act):
            key = (one.kind, one.subject)
            kinds[one.kind] += key not in first
            times[key] += 1
            first.setdefault(key, one)
    for key, one in first.items():
        many = one.kind in _ANYWAY or at_least(kinds[one.kind], of.newness(one) * seen.calls) < ALPHA
        count = f" ({times[key]:,} of {seen.calls:,} calls)"
        yield replace(one, words=one.words + count, sure=one.sure and many)
    rows = in_a_row(seen)
    if not rows:
        return
    length, act = max(rows, key=lambda one: one[0])
    if length > of.longest:
        words = f"It called {act.reached} {length:,} times in a row, usually at most {of.often:,.0f} times in a run"
        yield _of(act, Kind.LOOP, words, act.reached)


def in_a_row(profile: Profile) -> list[tuple[int, Act]]:
    """Of each run, how often at most it called one tool again and again, with the last of those calls."""
    longest: dict[str, tuple[int, Act]] = {}
    length: Counter[str] = Counter()
    for before, act in profile.steps:
        length[act.run] = length[act.run] + 1 if before == act.reached else 1
        if length[act.run] > longest.get(act.run, (0, act))[0]:
            longest[act.run] = (length[act.run], act)
    return list(longest.values())


# -- what moved


def _moved(expected: Profile, seen: Profile) -> Iterator[tuple[Deviation, bool]]:
    """Everything that is tested, whatever came of it, each with whether it is far enough to matter."""
    chance = _unlike(expected, seen, lambda group: Counter(_reached(group)))
    far = shannon(expected.tools, seen.tools)
    yield Deviation(Kind.TOOLS, _shifted(expected, seen), chance=chance), far >= FAR
    far = shannon(expected.orders, seen.orders)
    words = "It calls the same tools in another order than usual"
    yield Deviation(Kind.ORDERS, words, chance=_unlike(expected, seen, _orders)), far >= FAR
    yield from _errors(expected, seen)
    if expected.days >= _DAYS:
        chance = _unlike(expected, seen, lambda group: Counter(act.at.hour for act in group))
        words = f"It works at other hours than usual: {_hours(seen.hours)}, usually {_hours(expected.hours)} UTC"
        far = shannon(expected.hours, seen.hours)
        yield Deviation(Kind.HOURS, words, chance=chance), far >= FAR_HOURS
    for kind, name, value in _MEASURED:
        yield from _figure(kind, name, _medians(expected, kind, value), _medians(seen, kind, value))


def _unlike(expected: Profile, seen: Profile, count: Callable[[_Group], Counter[K]]) -> float:
    """How likely chance alone makes them as unlike, in what ``count`` makes of the calls of a run."""
    return apart([count(group) for group in expected.groups], [count(group) for group in seen.groups])


def _orders(group: _Group) -> Counter[tuple[str, str]]:
    reached = _reached(group)
    return Counter(set(zip((START, *reached), reached, strict=False)))


def _reached(group: _Group) -> list[str]:
    return [act.reached for act in group]


def _errors(expected: Profile, seen: Profile) -> Iterator[tuple[Deviation, bool]]:
    failed = Counter(bool(act.error) for _, act in seen.steps)
    was = Counter(bool(act.error) for _, act in expected.steps)
    chance = _unlike(expected, seen, lambda group: Counter(bool(act.error) for act in group))
    one, other = was[True] / expected.calls, failed[True] / seen.calls
    words = f"{other:.0%} of its tool calls fail, usually {one:.0%} ({failed[True]:,} of {seen.calls:,})"
    act = next((act for _, act in seen.steps if act.error), seen.steps[0][1])
    yield replace(_of(act, Kind.ERRORS, words), chance=chance), abs(other - one) >= MORE_ERRORS


def _shifted(expected: Profile, seen: Profile) -> str:
    moved = sorted(shares(expected.tools, seen.tools), key=lambda one: -abs(one.expected - one.seen))[:_TOLD]
    return "It uses its tools in other shares: " + ", ".join(
        f"{one.name} {one.seen:.0%}, usually {one.expected:.0%}" for one in moved
    )


def _hours(hours: Counter[int]) -> str:
    return ", ".join(f"{hour:02}:00" for hour, _ in sorted(hours.most_common(_TOLD)))


_Value = Callable[[Act], float | None]
_MEASURED: tuple[tuple[Kind, str, _Value], ...] = (
    (Kind.LATENCY, "latency", lambda act: None if act.duration_us is None else act.duration_us / 1000),
    (Kind.SIZES, "size", lambda act: act.size),
    (Kind.TOKENS, "tokens", lambda act: act.tokens),
    (Kind.COST, "cost", lambda act: None if act.cost_usd is None else float(act.cost_usd)),
    (Kind.PACE, "pace", lambda _act: 1.0),
)
_NAMES = {
    Kind.LATENCY: "Its tool calls take",
    Kind.SIZES: "What it gives to tools has",
    Kind.TOKENS: "Its model calls use",
    Kind.COST: "Its model calls cost",
    Kind.PACE: "Its runs have so many tool calls:",
}


def _medians(profile: Profile, kind: Kind, value: _Value) -> list[float]:
    """One value of each group: the median of its calls; for ``PACE`` how many calls there are in a run."""
    if kind is Kind.PACE:
        lengths = Counter(act.run for _, act in profile.steps)
        return [float(count) for count in lengths.values()]
    groups = _by_run(profile) if kind in (Kind.TOKENS, Kind.COST) else profile.groups
    found = ([one for act in group if (one := value(act)) is not None] for group in groups)
    return [median(values) for values in found if values]


def _by_run(profile: Profile) -> list[list[Act]]:
    runs: dict[str, list[Act]] = {}
    for act in profile.models:
        runs.setdefault(act.run, []).append(act)
    return list(runs.values())


def _figure(kind: Kind, name: str, was: Sequence[float], now: Sequence[float]) -> Iterator[tuple[Deviation, bool]]:
    if len(was) < LEAST or len(now) < LEAST:
        return
    one, other = median(was), median(now)
    words = f"{_NAMES[kind]} {_amount(name, other)}, usually {_amount(name, one)}"
    far = one != other and (one <= 0 or other <= 0 or not 1 / TIMES < other / one < TIMES)
    yield Deviation(kind, words, chance=ranked(was, now)), far


def _amount(name: str, value: float) -> str:
    unit = _UNITS[name]
    if unit == "usd":
        return f"${value:.4f}"
    return f"{value:,.0f}" if unit == "calls" else f"{value:,.0f} {unit}"


def figures(expected: Profile, seen: Profile) -> list[Figure]:
    """The figures that are held against each other, as medians."""
    found = []
    for kind, name, value in _MEASURED:
        was, now = _medians(expected, kind, value), _medians(seen, kind, value)
        if was or now:
            found.append(Figure(name, _UNITS[name], median(was) if was else None, median(now) if now else None))
    return found
