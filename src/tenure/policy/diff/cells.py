"""The finitely many kinds of calls that a set of policies can tell apart.

Where a policy only compares ``amount`` with 100, every amount above 100 is decided alike: one of them stands for all. A
``Dimension`` is one fact or argument with one value for each kind, called a cell; a call for each combination of cells
is a call of each kind there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from itertools import combinations
from typing import Any

from tenure.base.scan.rules import CLASSES
from tenure.kernel.json import JsonObject
from tenure.policy.arguments import lookup, segments
from tenure.policy.diff.uses import Source, Uses
from tenure.policy.facts import TIERS

_STEP = Decimal("0.0001")
_OTHER = "~another"
_MAX_MEMBERS = 4
_KINDS = {"longs": "a whole number", "decimals": "a number", "strings": "a text", "bools": "true or false"}
TEXTS, FOUND = ("session", "on_behalf_of", "task", "release"), ("findings", "returned")
NAMED, FLAGS = (
    ("chain", "provenance", "untrusted_arguments"),
    ("unrepresentable", "tainted", "arguments_from_untrusted", "justified"),
)
SPENT = ("spent_calls", "spent_tokens", "spent_usd")
_POINTS = (0, 100)
NUMBERS: Mapping[str, tuple[int, int | None]] = {
    "spent_calls": (0, None),
    "spent_tokens": (0, None),
    "spent_usd": (0, None),
    "risk": _POINTS,
    "uncertainty": _POINTS,
    "confidence": _POINTS,
    "chain_depth": (0, None),
    "hour": (0, 23),
    "weekday": (1, 7),
}
"""The facts that are whole numbers, and from what to what each can be."""
GIVEN = ("approved", "autonomy", "environment")
"""Not enumerated, and nothing is lost by it: how much a grant is watched over is the grant's, where an agent stands is
the agent's, and an approved call is one that was held before."""


class _Mark:
    """A value that is none."""


ABSENT, WRONG = _Mark(), _Mark()


@dataclass(frozen=True, slots=True)
class Cell:
    """One value that stands for all of its kind. ``low`` and ``high`` bound the numbers it stands for, both without
    the ends; where they are equal it is that one number. ``words`` are empty for a number."""

    value: Any
    words: str = ""
    low: Decimal | None = None
    high: Decimal | None = None


ONE_OF = {"tier": tuple(Cell(tier, f"is {tier!r}") for tier in TIERS)}
_TRUTH = (Cell(False, "is false"), Cell(True, "is true"))


@dataclass(frozen=True, slots=True)
class Dimension:
    """One fact or argument and its cells. ``gap`` says what they leave out, empty when they are all there are."""

    source: Source
    cells: tuple[Cell, ...]
    gap: str = ""

    def say(self, chosen: Iterable[int]) -> str:
        """These cells in words, as in ``amount above 100 or not given``."""
        kept = [self.cells[index] for index in sorted(chosen)]
        others = [cell.words for cell in self.cells if cell not in kept]
        if len(others) < len(kept) and all(cell.words for cell in self.cells):
            return f"{self.source[1]} not ({' or '.join(others)})"
        runs: list[list[Cell]] = []
        for cell in kept:
            if not cell.words and runs and _joined(runs[-1][-1], cell):
                runs[-1].append(cell)
            else:
                runs.append([cell])
        return f"{self.source[1]} " + " or ".join(run[0].words or _interval(run[0], run[-1]) for run in runs)


def dimension(source: Source, uses: Uses) -> Dimension:
    """The cells of a fact or argument that is used so."""
    what, name = source
    gap = f"used in {', '.join(sorted(uses.unclear))} otherwise than compared with a value" if uses.unclear else ""
    if what == "argument":
        return _argument(source, uses, gap)
    if name in TEXTS:
        absent = [Cell(ABSENT, "nobody")] if name == "on_behalf_of" else []
        cells, wide = _texts(uses)
        return Dimension(source, (*absent, *cells), gap or wide)
    if name in NUMBERS:
        return Dimension(source, tuple(_ranged(name, uses)), gap)
    if name in ONE_OF or name in FLAGS:
        return Dimension(source, ONE_OF.get(name, _TRUTH), gap)
    if name in (*NAMED, *FOUND):
        sets, wide = _subsets(uses.members, found=name in FOUND)
        return Dimension(source, sets, gap or wide)
    return Dimension(source, (Cell(ABSENT, "as in any call"),), "cannot be set in a call that is made up")


def _ranged(name: str, uses: Uses) -> list[Cell]:
    """The cells of a fact that is a whole number from one value to another."""
    least, most = NUMBERS[name]
    bounds = uses.numbers | {Decimal(least)} | (set() if most is None else {Decimal(most)})
    cells = _numbers({one for one in bounds if most is None or one <= most}, whole=True, least=least)
    absent = [Cell(ABSENT, "not stated")] if name == "confidence" else []
    return absent + [cell for cell in cells if most is None or cell.value <= most]


def _argument(source: Source, uses: Uses, gap: str) -> Dimension:
    wanted = " or ".join(_KINDS[bag] for bag in ("longs", "decimals", "strings", "bools") if bag in uses.bags)
    cells = [Cell(ABSENT, "not given"), Cell(WRONG, f"given, but not as {wanted}")]
    if uses.bags & {"longs", "decimals"}:
        numbers = uses.numbers or {Decimal(1)}
        both = {"longs", "decimals"} <= uses.bags
        cells += _numbers(numbers, whole="decimals" not in uses.bags, both=both)
        gap = gap or ("whole numbers too large for a decimal" if both else "")
    if "strings" in uses.bags:
        texts, wide = _texts(uses)
        cells += texts
        gap = gap or wide
    if "bools" in uses.bags:
        cells += [Cell(False, "is false"), Cell(True, "is true")]
    return Dimension(source, tuple(cells), gap)


def _numbers(bounds: set[Decimal], *, whole: bool, least: int | None = None, both: bool = False) -> list[Cell]:
    """A cell for each bound and for what lies between. ``both``: whole numbers and fractions are told apart."""
    ordered = sorted(bound for bound in bounds if least is None or bound >= least)
    cells: list[Cell] = []
    for low, high in zip([None, *ordered], [*ordered, None], strict=True):
        values = [_between(low, high, Decimal(1))] if whole or both else []
        if not whole:
            values.append(_between(low, high, _STEP))
        if least is None or low is not None:
            cells += [
                Cell(_plain(value), "is a fraction " + _within(low, high) if both and value % 1 else "", low, high)
                for value in values
                if value is not None
            ]
        if high is not None and not (whole and high % 1):
            cells.append(Cell(_plain(high), "", high, high))
    return cells


def _between(low: Decimal | None, high: Decimal | None, step: Decimal) -> Decimal | None:
    """A number strictly between, a multiple of ``step``; a fraction where ``step`` is one."""
    if low is None:
        assert high is not None  # noqa: S101 (there is at least one bound)
        first = (high / step).to_integral_value(ROUND_FLOOR) * step
        value = first if first < high else first - step
        return value if step == 1 or value % 1 else value - step
    value = ((low / step).to_integral_value(ROUND_FLOOR) + 1) * step
    if step != 1 and value % 1 == 0:
        value += step
    return value if high is None or value < high else None


def _plain(value: Decimal) -> Any:
    return int(value) if value % 1 == 0 else float(value)


def _texts(uses: Uses) -> tuple[list[Cell], str]:
    """A cell for each text, for each pattern, and for any other text; and what they leave out."""
    cells = [Cell(text, f"is {text!r}") for text in sorted(uses.texts)]
    for pattern in sorted(uses.patterns, key=repr):
        shown = "".join("*" if part is None else part for part in pattern)
        value = "".join("~" if part is None else part for part in pattern)
        if value not in uses.texts:
            cells.append(Cell(value, f"like {shown!r}"))
    other = _OTHER
    while other in uses.texts:
        other += "~"
    cells.append(Cell(other, "is another text" if uses.texts or uses.patterns else "is given"))
    return cells, "texts that are like more than one of its patterns" if len(uses.patterns) > 1 else ""


def _subsets(members: set[str], *, found: bool) -> tuple[tuple[Cell, ...], str]:
    """A cell for each set of ``members`` that can be, with and without anything else in it."""
    names = sorted(members)
    sizes = range(len(names) + 1) if len(names) <= _MAX_MEMBERS else (0, 1, len(names))
    other = _OTHER
    if found:
        spare = [name for name in CLASSES if not any(member.partition("/")[0] == name for member in names)]
        other = spare[0] if spare else ""
    cells: dict[tuple[str, ...], Cell] = {}
    for size in sizes:
        for chosen in combinations(names, size):
            closed = {word for name in chosen for word in ((name, name.partition("/")[0]) if found else (name,))}
            for more in ((), (other,)) if other else ((),):
                value = tuple(sorted(closed.union(more)))
                shown = ", ".join((*(name for name in value if name not in more), *(("others",) if more else ())))
                cells.setdefault(value, Cell(value, f"has {shown}" if shown else "is empty"))
    gap = f"sets of more than one of {', '.join(names)}" if len(names) > _MAX_MEMBERS else ""
    return tuple(cells.values()), gap


def _joined(one: Cell, other: Cell) -> bool:
    """Whether nothing lies between the numbers of two cells; they are in order."""
    return not one.words and other.low is not None and (other.low == one.high or (other.low, other.high) == (
        one.low, one.high))  # fmt: skip


def _interval(first: Cell, last: Cell) -> str:
    if first.low == last.high and first.low is not None:
        return f"is {first.low}"
    return (
        _within(first.low, last.high, from_it=first.low == first.high, to_it=last.low == last.high) or "is any number"
    )


def _within(low: Decimal | None, high: Decimal | None, *, from_it: bool = False, to_it: bool = False) -> str:
    parts = []
    if low is not None:
        parts.append(f"from {low}" if from_it else f"above {low}")
    if high is not None:
        parts.append(f"up to {high}" if to_it else f"below {high}")
    return ", ".join(parts)


def arguments_of(given: Mapping[str, Any]) -> JsonObject | None:
    """The arguments of a call that has these values at these paths, None when no call can have them together."""
    out: JsonObject = {}
    values = sorted(((segments(path), value) for path, value in given.items()), key=lambda item: item[0])
    wrong = {path for path, value in values if value is WRONG}
    for path, value in values:
        if value is ABSENT:
            continue
        place: Any = out
        for key in path[:-1]:
            place = place.setdefault(key, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            return None
        if value is WRONG:
            place.setdefault(path[-1], {})
        elif path[-1] in place:
            return None
        else:
            place[path[-1]] = value
    for path, value in values:
        found = lookup(out, path)
        if (value is ABSENT and found is not None) or (isinstance(found, dict) and path not in wrong):
            return None
    return out


def readable(arguments: Any) -> Any:
    """The same arguments with lists in place of objects that can only be meant as lists."""
    if not isinstance(arguments, dict):
        return arguments
    parts = {key: readable(value) for key, value in arguments.items()}
    places = {int(key): value for key, value in parts.items() if key.isdecimal() and str(int(key)) == key}
    length = parts.get("length", max(places, default=-1) + 1)
    known = len(places) + ("length" in parts) == len(parts) and parts
    if not known or not isinstance(length, int) or not max(places, default=-1) < length <= 100:
        return parts
    return [places.get(index) for index in range(length)]


def count(dimensions: Sequence[Dimension]) -> int:
    """How many combinations of cells there are."""
    return math.prod(len(one.cells) for one in dimensions)
