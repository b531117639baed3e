"""Arrows and boxes in rows: no arrow passes behind a box, whatever leads where."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from tenure.ui.runs.routes import Layout, Size, laid_out

SIZE = Size(width=1120, box=232, height=34, row=88, top=8)
_STEP = re.compile(r"([MCV])([^MCV]*)")


def points(path: str) -> list[tuple[float, float]]:
    """Places along a path, close to each other."""
    found: list[tuple[float, float]] = []
    for kind, told in _STEP.findall(path):
        numbers = [float(one) for one in told.split()]
        if kind == "M":
            found.append((numbers[0], numbers[1]))
        elif kind == "V":
            x, y = found[-1]
            found += [(x, y + (numbers[0] - y) * part / 8) for part in range(1, 9)]
        else:
            corners = [found[-1], *zip(numbers[::2], numbers[1::2], strict=True)]
            found += [_curve(corners, part / 10) for part in range(1, 11)]
    return found


def _curve(corners: list[tuple[float, float]], at: float) -> tuple[float, float]:
    while len(corners) > 1:
        corners = [(a + (c - a) * at, b + (d - b) * at) for (a, b), (c, d) in pairwise(corners)]
    return corners[0]


def crossings(layout: Layout) -> list[tuple[str, str, str]]:
    """Each arrow with a box that it goes through, by more than the line that is drawn around it."""
    way = {edge: points(route.path) for edge, route in layout.routes.items()}
    return [
        (*edge, key)
        for edge in way
        for key, (left, top) in layout.boxes.items()
        if any(left + 1 < x < left + SIZE.box - 1 and top + 1 < y < top + SIZE.height - 1 for x, y in way[edge])
    ]


def graph(seed: int, many: int) -> tuple[list[list[str]], list[tuple[str, str]]]:
    chance = random.Random(seed)  # noqa: S311 (pictures, not secrets)
    rows = [[f"{at}.{place}" for place in range(chance.randint(1, 4))] for at in range(chance.randint(2, 9))]
    every = [key for row in rows for key in row]
    edges = {(chance.choice(every), chance.choice(every)) for _ in range(many)}
    return rows, sorted(edges)


@pytest.mark.req("R086")
@pytest.mark.parametrize("many", [4, 20, 90])
def test_no_arrow_passes_behind_a_box(many: int) -> None:
    for seed in range(3):
        layout = laid_out(*graph(seed, many), SIZE)
        assert crossings(layout) == []
        lefts = sorted((top, left) for left, top in layout.boxes.values())
        assert all(b - a >= SIZE.box for (one, a), (other, b) in pairwise(lefts) if one == other), "boxes overlap"
        assert all(0 <= left <= SIZE.width - SIZE.box for _, left in lefts)


def test_an_arrow_begins_and_ends_at_its_boxes_and_goes_past_the_others() -> None:
    layout = laid_out([["a"], ["b"], ["c"]], [("a", "b"), ("a", "c"), ("c", "a"), ("b", "b")], SIZE)
    for (source, target), route in layout.routes.items():
        way = points(route.path)
        for key, (x, _) in ((source, way[0]), (target, way[-1])):
            assert layout.boxes[key][0] <= x <= layout.boxes[key][0] + SIZE.box
        below = layout.boxes[target][1] >= layout.boxes[source][1]
        assert way[0][1] == layout.boxes[source][1] + (SIZE.height if below else 0)
    past = [x for x, y in points(layout.routes["a", "c"].path) if 96 <= y <= 130]
    assert past
    assert not any(layout.boxes["b"][0] <= x <= layout.boxes["b"][0] + SIZE.box for x in past)


def test_the_same_input_gives_the_same_picture() -> None:
    rows, edges = graph(7, 40)
    assert laid_out(rows, edges, SIZE) == laid_out(rows, edges, SIZE)
