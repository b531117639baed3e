"""The ways that runs go as a picture: a row for each step's usual place, an arrow for each way, wider where more runs
go it; none passes behind a box (``routes.py``). Pure; the same answer gives the same picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tenure.ui.runs.routes import Route, Size, laid_out

WIDTH, BOX_W, BOX_H, ROW, TOP = 1120, 232, 34, 88, 8
CROWDED, ROOMY = 40, 124
"""From so many arrows on the rows stand further apart."""
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
    rows = [["start"], *rows, *([ends] if ends else [])] if nodes else []
    known = {one["key"]: one for one in nodes}
    edges = sorted(_merged(ways["edges"], shown), key=lambda edge: edge["runs"])
    row = ROW if len(edges) < CROWDED else ROOMY
    size = Size(width=WIDTH, box=BOX_W, height=BOX_H, row=row, top=TOP)
    layout = laid_out(rows, [(edge["source"], edge["target"]) for edge in edges], size)
    hidden = len(nodes) - len(shown)
    boxes = tuple(_box(key, place, known, hidden, ways, query) for key, place in layout.boxes.items())
    arrows = tuple(_arrow(edge, layout.routes[edge["source"], edge["target"]], ways["runs"], query) for edge in edges)
    return Picture(boxes, arrows, TOP + max(0, len(rows) - 1) * row + BOX_H + TOP, hidden)


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


def _arrow(edge: Mapping[str, Any], route: Route, total: int, query: Mapping[str, Any]) -> Arrow:
    failed, solved, runs = edge["failed"], edge["solved"], edge["runs"]
    share = failed / runs
    tone = "bad" if share >= 0.5 else "mixed" if share >= 0.2 else "good" if solved else "plain"
    words = f"{runs} of {total} runs, {edge['passes']} times; {solved} solved, {failed} failed"
    if not edge["several"] and not edge["target"].startswith("end:"):
        words += f"; median {edge['median_us'] / 1e6:.2f} s, {edge['cost_usd']} US dollars each"
    address = "" if edge["several"] else _address(query, edge_from=edge["source"], edge_to=edge["target"])
    loud = runs / total >= _LOUD
    return Arrow(
        path=route.path,
        width=f"{1 + 7 * runs / total:.1f}",
        tone=tone,
        rare=edge["rare"],
        title=words,
        address=address,
        words=str(runs) if loud else "",
        x=route.x,
        y=route.y,
    )
