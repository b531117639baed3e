"""Boxes in rows and the arrows between them, laid out so that no arrow passes behind a box. Pure; the same input gives
the same picture.

It is a layered layout as Sugiyama, Tagawa and Toda have it ("Methods for visual understanding of hierarchical system
structures", 1981): an arrow that goes past a row has a place of its own there, beside the boxes, which is ordered and
moved with them. Boxes and such places never overlap. An arrow is straight beside a row, and bends only between two
rows, where there is no box: its curves have both handles within that gap, so they stay in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Edge = tuple[str, str]
_SWEEPS = 8
_BESIDE = 24.0  # between two boxes
_LANE = 10.0  # between an arrow and what is next to it
_EDGE = 18.0  # of a box, left and right, where no arrow begins or ends
_WORDS = 15.0  # how far from a box the words of an arrow are
_U = 26.0  # how far an arrow hangs down that comes back to its own row


@dataclass(frozen=True, slots=True)
class Size:
    """Of the picture and of a box, in the units of the view box. ``row``: from the top of one row to that of the
    next."""

    width: float
    box: float
    height: float
    row: float
    top: float


@dataclass(frozen=True, slots=True)
class Route:
    """An arrow: the ``d`` of its path, and the place of its words."""

    path: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Layout:
    """``boxes``: the left upper corner of each; ``routes``: each edge's."""

    boxes: Mapping[str, tuple[int, int]]
    routes: Mapping[Edge, Route]


@dataclass(slots=True)
class _Item:
    """A box, or the place of an arrow in a row that it goes past. ``x``: its middle."""

    key: str
    row: int
    is_box: bool
    x: float = 0.0
    above: list[_Item] = field(default_factory=list)
    below: list[_Item] = field(default_factory=list)

    @property
    def beside(self) -> list[_Item]:
        return [*self.above, *self.below]


def laid_out(rows: Sequence[Sequence[str]], edges: Sequence[Edge], size: Size) -> Layout:
    """The boxes ``rows`` (from the top, each from the left as far as that crosses no more arrows) and the arrows
    between them."""
    boxes = {key: _Item(key, at, is_box=True) for at, row in enumerate(rows) for key in row}
    lines: list[list[_Item]] = [[boxes[key] for key in row] for row in rows]
    chains: dict[Edge, list[_Item]] = {}
    for source, target in edges:
        chains[source, target] = chain = _chain(boxes[source], boxes[target])
        for upper, lower in pairwise(sorted(chain, key=lambda item: item.row)):
            if upper.row != lower.row:
                upper.below.append(lower)
                lower.above.append(upper)
        for item in chain[1:-1]:
            lines[item.row].append(item)
    _order(lines, size)
    for number in range(2 * _SWEEPS):
        for line in lines if number % 2 == 0 else reversed(lines):
            _place(line, size)
    places = {key: (round(item.x - size.box / 2), round(size.top + item.row * size.row)) for key, item in boxes.items()}
    return Layout(places, _routes(chains, places, size))


def _chain(source: _Item, target: _Item) -> list[_Item]:
    step = 1 if target.row > source.row else -1
    between = range(source.row + step, target.row, step) if source.row != target.row else ()
    name = f"{source.key}\n{target.key}"
    return [source, *(_Item(name, row, is_box=False) for row in between), target]


def _order(lines: Sequence[list[_Item]], size: Size) -> None:
    """Puts each row in the order of what its items lead to and come from, back and forth."""
    for line in lines:
        for number, item in enumerate(line):
            item.x = (number + 0.5) * size.width / len(line)
    for number in range(_SWEEPS):
        down = number % 2 == 0
        for line in lines if down else reversed(lines):
            middle = {id(item): _mean((item.above if down else item.below) or item.beside, item.x) for item in line}
            line.sort(key=lambda item: (middle[id(item)], item.key))
            for place, item in enumerate(line):
                item.x = (place + 0.5) * size.width / len(line)


def _mean(items: Sequence[_Item], otherwise: float) -> float:
    return sum(item.x for item in items) / len(items) if items else otherwise


def _place(line: Sequence[_Item], size: Size) -> None:
    """Moves each item of a row as near as can be to the middle of what it is joined with, in their order and apart from
    each other: the least squares under these bounds, by pooling neighbours that are in each other's way."""
    if not line:
        return
    apart = [_apart(one, other, size) for one, other in pairwise(line)]
    ends = (line[0], line[-1])
    low, high = (size.box / 2 if item.is_box else _LANE for item in ends)
    room = size.width - low - high
    bare = [_solid(one, other, size) for one, other in pairwise(line)]
    if sum(apart) > room:  # less room between them, but never so little that they overlap
        share = max(0.0, (room - sum(bare)) / max(sum(apart) - sum(bare), 1e-9))
        apart = [least + (gap - least) * share for gap, least in zip(apart, bare, strict=True)]
    offsets = [0.0]
    for gap in apart:
        offsets.append(offsets[-1] + gap)
    wanted = [_mean(item.beside, item.x) - offset for item, offset in zip(line, offsets, strict=True)]
    most = low + max(0.0, room - offsets[-1])
    for item, offset, at in zip(line, offsets, _rising(wanted), strict=True):
        item.x = min(max(at, low), most) + offset


def _apart(one: _Item, other: _Item, size: Size) -> float:
    gap = _BESIDE if one.is_box and other.is_box else _LANE
    return _solid(one, other, size) + gap


def _solid(one: _Item, other: _Item, size: Size) -> float:
    return (one.is_box + other.is_box) * size.box / 2


def _rising(values: Sequence[float]) -> list[float]:
    """The values nearest to these (least squares) of which none is less than the one before."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


# --- arrows -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _End:
    """Where an arrow begins or ends at a box. ``key``: the arrow and which end; ``toward``: where it leads to."""

    key: tuple[Edge, bool]
    toward: float


def _routes(
    chains: Mapping[Edge, Sequence[_Item]], places: Mapping[str, tuple[int, int]], size: Size
) -> dict[Edge, Route]:
    sides: dict[tuple[str, bool], list[_End]] = {}
    for edge, chain in chains.items():
        first, last = chain[0], chain[-1]
        down = last.row >= first.row  # what stays in its row hangs below it
        toward = chain[1].x + (0.25 if edge[0] == edge[1] else 0)
        sides.setdefault((first.key, down), []).append(_End((edge, True), toward))
        sides.setdefault((last.key, last.row <= first.row), []).append(_End((edge, False), chain[-2].x))
    ports: dict[tuple[Edge, bool], tuple[float, float]] = {}
    for (key, below), ends in sides.items():
        left, top = places[key]
        wide = (size.box - 2 * _EDGE) / len(ends)
        for number, end in enumerate(sorted(ends, key=lambda end: (end.toward, end.key))):
            ports[end.key] = (left + _EDGE + (number + 0.5) * wide, top + (size.height if below else 0))
    crowd = {end.key: len(ends) for ends in sides.values() for end in ends}
    return {
        edge: _route(chain, ports[edge, True], ports[edge, False], size, at_end=crowd[edge, True] > crowd[edge, False])
        for edge, chain in chains.items()
    }


def _route(
    chain: Sequence[_Item], begin: tuple[float, float], end: tuple[float, float], size: Size, *, at_end: bool
) -> Route:
    """The words stand beside the end at which fewer arrows are."""
    (x, y), (to_x, to_y) = begin, end
    if chain[0].row == chain[-1].row:
        path = f"M{x:.0f} {y:.0f}C{x:.0f} {y + _U:.0f} {to_x:.0f} {y + _U:.0f} {to_x:.0f} {to_y:.0f}"
        return Route(path, round((x + to_x) / 2), round(y + _U))
    path = f"M{x:.0f} {y:.0f}"
    down = to_y > y
    for item in [*chain[1:-1], None]:
        top = size.top + item.row * size.row if item is not None else 0.0
        next_x, next_y = (to_x, to_y) if item is None else (item.x, top if down else top + size.height)
        middle = (y + next_y) / 2
        path += f"C{x:.0f} {middle:.0f} {next_x:.0f} {middle:.0f} {next_x:.0f} {next_y:.0f}"
        x, y = next_x, next_y
        if item is not None:
            y = top + size.height if down else top
            path += f"V{y:.0f}"
    beside, away = (end, -_WORDS) if at_end else (begin, _WORDS)
    return Route(path, round(beside[0] + 5), round(beside[1] + (away if down else -away) + 4))
