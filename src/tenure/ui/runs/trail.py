"""The ways that runs go as a picture: a row for each step's usual place, an arrow for each way, wider where more runs
go it. Pure; the same answer gives the same picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

WIDTH, BOX_W, BOX_H, ROW, TOP = 1120, 232, 34, 88, 8
MOST = 24
"""Steps that are drawn; those that fewer runs come to are one box."""
ABREAST = 4
OTHERS = "others"
_LABEL = 30
_ENDS = {"start": "Start", "end:solved": "Solved", "end:failed": "Failed", "end:ended": "Ended"}
_LOUD = 0.1
"""An arrow says its number where at least this share of runs goes it."""


@dataclass(frozen=True, slots=True)
class Box:
    """A step at its place."""

    kind: str
    label: str
    note: str
    title: str
    x: int
    y: int
    address: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """A way. ``tone``: good, mixed, bad by how its runs ended, or plain where nobody judged them and none failed."""

    path: str
    width: str
    tone: str
    rare: bool
    title: str
    address: str
    words: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it. ``hidden``: how many steps are in the box for the others."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    height: int
    hidden: int


def drawn(ways: Mapping[str, Any], query: Mapping[str, Any]) -> Picture:
    """The picture of what the API tells. ``query``: what stays in the address."""
    nodes = ways["nodes"]
    shown = {one["key"] for one in sorted(nodes, key=lambda one: (-one["runs"], one["key"]))[:MOST]}
    rows = _rows([one for one in nodes if one["key"] in shown], hidden=len(nodes) > len(shown))
    ends = [
        name for name in ("end:solved", "end:ended", "end:failed") if any(e["target"] == name for e in ways["edges"])
    ]
    rows = [["start"], *rows, ends] if nodes else []
    places = {
        key: (round((number + 0.5) * WIDTH / len(row) - BOX_W / 2), TOP + at * ROW)
        for at, row in enumerate(rows)
        for number, key in enumerate(row)
    }
    known = {one["key"]: one for one in nodes}
    boxes = tuple(_box(key, place, known, len(nodes) - len(shown), ways, query) for key, place in places.items())
    edges = _merged(ways["edges"], shown)
    arrows = tuple(_arrow(edge, places, ways["runs"], query) for edge in sorted(edges, key=lambda edge: edge["runs"]))
    return Picture(boxes, arrows, TOP + max(0, len(rows) - 1) * ROW + BOX_H + 8, len(nodes) - len(shown))


def _rows(nodes: Sequence[Mapping[str, Any]], *, hidden: bool) -> list[list[str]]:
    by_place: dict[int, list[str]] = {}
    for one in nodes:
        by_place.setdefault(round(one["place"]), []).append(one["key"])
    rows = [row[at : at + ABREAST] for _, row in sorted(by_place.items()) for at in range(0, len(row), ABREAST)]
    return [*rows, [OTHERS]] if hidden else rows


def _merged(edges: Sequence[Mapping[str, Any]], shown: set[str]) -> list[dict[str, Any]]:
    """The edges between boxes. Several between the same two are one; how many runs go them is then at least so many."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in edges:
        source, target = (key if key in shown or key in _ENDS else OTHERS for key in (one["source"], one["target"]))
        known = found.get((source, target))
        if known is None:
            found[source, target] = {**one, "source": source, "target": target, "several": False}
        else:
            found[source, target] = {
                **known,
                **{name: max(known[name], one[name]) for name in ("runs", "solved", "failed")},
                "passes": known["passes"] + one["passes"],
                "rare": known["rare"] and one["rare"],
                "several": True,
            }
    return list(found.values())


def _box(  # noqa: PLR0917 (what a box is made of)
    key: str,
    place: tuple[int, int],
    known: Mapping[str, Any],
    hidden: int,
    ways: Mapping[str, Any],
    query: Mapping[str, Any],
) -> Box:
    if key == OTHERS:
        return Box("others", f"{hidden} other steps", "", "Steps that fewer runs come to", *place, "")
    one = known.get(key)
    if one is None:
        count = ways["runs"] if key == "start" else ways.get(key.removeprefix("end:"), 0)
        return Box(key.partition(":")[2] or key, _ENDS[key], str(count), f"{count} of {ways['runs']} runs", *place, "")
    label = one["name"] if len(one["name"]) <= _LABEL else f"…{one['name'][1 - _LABEL :]}"
    whose = f" of {one['agent']}" if one["agent"] else ""
    title = f"{one['kind']} {one['name']}{whose}: {one['runs']} runs, {one['visits']} times"
    title += f", {one['failed']} failed" if one["failed"] else ""
    return Box(one["kind"], label, one["agent"] or one["kind"], title, *place, _address(query, node=key))


def _address(query: Mapping[str, Any], **more: str) -> str:
    return f"/paths?{urlencode({**query, **more})}#runs"


def _arrow(
    edge: Mapping[str, Any], places: Mapping[str, tuple[int, int]], total: int, query: Mapping[str, Any]
) -> Arrow:
    (sx, sy), (tx, ty) = places[edge["source"]], places[edge["target"]]
    if edge["source"] == edge["target"]:
        x, y = sx + BOX_W, sy + BOX_H // 2
        path, at = f"M{x} {y - 8}C{x + 34} {y - 22} {x + 34} {y + 22} {x} {y + 8}", (x + 34, y + 4)
    elif ty > sy + ROW and abs(sx - tx) < BOX_W:  # around what stands between
        x1, y1, x2, y2 = sx, sy + BOX_H // 2, tx, ty + BOX_H // 2
        out = max(12, min(x1, x2) - 40 - (y2 - y1) // 8)
        path, at = f"M{x1} {y1}C{out} {y1} {out} {y2} {x2} {y2}", (out + 8, (y1 + y2) // 2)
    elif ty > sy:
        x1, y1, x2, y2 = sx + BOX_W // 2, sy + BOX_H, tx + BOX_W // 2, ty
        bend = (y2 - y1) // 2
        path, at = f"M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}", ((x1 + x2) // 2 + 6, (y1 + y2) // 2)
    else:  # back to what was before: around the right side
        x1, y1, x2, y2 = sx + BOX_W, sy + BOX_H // 2, tx + BOX_W, ty + BOX_H // 2
        out = min(WIDTH - 12, max(x1, x2) + 40 + (y1 - y2) // 8)
        path, at = f"M{x1} {y1}C{out} {y1} {out} {y2} {x2} {y2}", (out - 14, (y1 + y2) // 2)
    failed, solved, runs = edge["failed"], edge["solved"], edge["runs"]
    share = failed / runs
    tone = "bad" if share >= 0.5 else "mixed" if share >= 0.2 else "good" if solved else "plain"
    words = f"{runs} of {total} runs, {edge['passes']} times; {solved} solved, {failed} failed"
    if not edge["several"] and not edge["target"].startswith("end:"):
        words += f"; median {edge['median_us'] / 1e6:.2f} s, {edge['cost_usd']} US dollars each"
    address = "" if edge["several"] else _address(query, edge_from=edge["source"], edge_to=edge["target"])
    loud = runs / total >= _LOUD
    return Arrow(
        path, f"{1 + 7 * runs / total:.1f}", tone, edge["rare"], words, address, str(runs) if loud else "", *at
    )
