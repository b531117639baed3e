"""The graph as a picture: people, agents and what agents use, in three columns, with an arc for each edge. Pure.

A column shows so many rows and no more. Where there are more, tools of one server become one row, and what is used
least is counted in a row of its own; whoever wants to see it filters, or looks around one node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any
from urllib.parse import urlencode

ROWS = 40
WIDTH, BOX, ROW, TOP = 1120, 250, 30, 34
_COLUMNS = (
    ("People", ("person",), 0),
    ("Agents", ("agent",), 400),
    ("What they use", ("tool", "model", "data", "system"), 870),
)
_REST = "rest:"
_LABEL = 34
_AGES = ("fresh", "fading", "stale", "unused")


@dataclass(frozen=True, slots=True)
class Box:
    """A node, or several in one, at its place. ``address``: the page around it."""

    key: str
    kind: str
    label: str
    title: str
    x: int
    y: int
    address: str
    focus: bool = False
    state: str = ""


@dataclass(frozen=True, slots=True)
class Arc:
    """An edge, or several in one."""

    path: str
    age: str
    width: str
    title: str


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it. ``heads``: (x, words) of the columns; ``hidden``: how many nodes are counted in rows for the rest."""

    boxes: tuple[Box, ...]
    arcs: tuple[Arc, ...]
    heads: tuple[tuple[int, str], ...]
    height: int
    hidden: int


def filtered(graph: Mapping[str, Any], q: str) -> dict[str, Any]:
    """The part of a graph whose nodes have ``q`` in their names, with what they are joined to."""
    wanted = q.strip().lower()
    if not wanted:
        return dict(graph)
    hit = {one["key"] for one in graph["nodes"] if wanted in one["key"].lower()}
    edges = [one for one in graph["edges"] if one["source"] in hit or one["target"] in hit]
    near = hit | {end for one in edges for end in (one["source"], one["target"])}
    return {**graph, "nodes": [one for one in graph["nodes"] if one["key"] in near], "edges": edges}


def drawn(graph: Mapping[str, Any], focus: str = "") -> Picture:
    """The picture of a graph as the API tells it."""
    nodes = {one["key"]: one for one in graph["nodes"]}
    weight = _weights(graph["edges"])
    shown: dict[str, str] = {}  # a node -> the row that it is in
    columns: list[list[str]] = []
    hidden = 0
    for _, kinds, _ in _COLUMNS:
        mine = [key for key, one in nodes.items() if one["kind"] in kinds]
        rows, left = _rows(mine, nodes, weight, focus)
        shown |= rows
        hidden += left
        columns.append(list(dict.fromkeys(rows[key] for key in mine)))
    edges = _merged(graph["edges"], shown)
    columns = _untangled(columns, edges)
    places = {
        row: (_COLUMNS[at][2], TOP + number * ROW) for at, rows in enumerate(columns) for number, row in enumerate(rows)
    }
    members: dict[str, list[str]] = {}
    for key, row in shown.items():
        members.setdefault(row, []).append(key)
    boxes = tuple(_box(row, members[row], nodes, place, focus) for row, place in places.items())
    arcs = tuple(_arc(edge, places) for edge in sorted(edges.values(), key=lambda one: -_AGES.index(one["age"])))
    heads = tuple((x, words) for (words, _, x), rows in zip(_COLUMNS, columns, strict=True) if rows)
    return Picture(boxes, arcs, heads, TOP + max(map(len, columns), default=0) * ROW + 8, hidden)


def _weights(edges: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    weight: dict[str, float] = {}
    for one in edges:
        for end in (one["source"], one["target"]):
            weight[end] = weight.get(end, 0.0) + float(one["per_day"]) + 0.001
    return weight


def _rows(
    keys: Sequence[str], nodes: Mapping[str, Any], weight: Mapping[str, float], focus: str
) -> tuple[dict[str, str], int]:
    """Each node's row, and how many are in a row for the rest."""
    rows = {key: key for key in keys}
    if len(keys) > ROWS:
        rows = {key: _server(key) if nodes[key]["kind"] == "tool" and key != focus else key for key in keys}
    sums: dict[str, float] = {}
    for key, row in rows.items():
        sums[row] = sums.get(row, 0.0) + weight.get(key, 0.0)
    if len(sums) <= ROWS:
        return rows, 0
    best = set(sorted(sums, key=lambda row: (row != focus, -sums[row], row))[: ROWS - 1])
    rest = {key: f"{_REST}{nodes[key]['kind'] if nodes[key]['kind'] in ('person', 'agent') else 'use'}" for key in keys}
    left = sum(row not in best for row in rows.values())
    return {key: row if row in best else rest[key] for key, row in rows.items()}, left


def _server(key: str) -> str:
    server, sign, _ = key.removeprefix("tool:").partition("/")
    return f"tool:{server}/*" if sign else key


def _merged(edges: Iterable[Mapping[str, Any]], shown: Mapping[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in edges:
        place = (shown[one["source"]], shown[one["target"]])
        known = found.setdefault(place, {"ends": place, "per_day": 0.0, "calls": 0, "age": "unused", "last": ""})
        known["per_day"] += float(one["per_day"])
        known["calls"] += int(one["calls"])
        known["age"] = min(known["age"], one["age"], key=_AGES.index)
        known["last"] = max(known["last"], one["last_seen"] or "")
    return found


def _untangled(columns: list[list[str]], edges: Mapping[tuple[str, str], Any]) -> list[list[str]]:
    """The outer columns in the order of what they are joined to, agents the busiest first; rows for the rest last."""
    agents = sorted(columns[1], key=lambda row: row.startswith(_REST))
    at = {row: number for number, row in enumerate(agents)}

    def middle(row: str) -> float:
        near = [at[other] for ends in edges if row in ends for other in ends if other in at and other != row]
        return sum(near) / len(near) if near else float(len(at))

    outer = [
        sorted(rows, key=lambda row: (row.startswith(_REST), middle(row), row)) for rows in (columns[0], columns[2])
    ]
    return [outer[0], agents, outer[1]]


def _box(row: str, members: Sequence[str], nodes: Mapping[str, Any], place: tuple[int, int], focus: str) -> Box:
    kind = str(nodes[members[0]]["kind"])
    if row.startswith(_REST):
        words = f"{len(members)} more"
        return Box(row, kind, words, f"{words}: filter to see them", *place, "")
    if row not in nodes:  # the tools of a server
        label = f"{row.removeprefix('tool:').removesuffix('/*')} ({len(members)} tools)"
        return Box(row, "tool", label, label, *place, "/graph?" + urlencode({"q": row.removesuffix("*")}))
    name, state = str(nodes[row]["name"]), str(nodes[row]["state"])
    label = name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"
    title = f"{kind} {name}" + (f", {state}" if state else "")
    return Box(row, kind, label, title, *place, "/graph?" + urlencode({"focus": row}), row == focus, state)


def _arc(edge: Mapping[str, Any], places: Mapping[str, tuple[int, int]]) -> Arc:
    (x1, y1), (x2, y2) = places[edge["ends"][0]], places[edge["ends"][1]]
    y1, y2 = y1 + ROW // 2 - 3, y2 + ROW // 2 - 3
    if x1 == x2:  # between agents, or a tool and the model behind it: bent to where there is room
        left = x1 + BOX >= WIDTH
        x, bow = (x1, -1) if left else (x1 + BOX, 1)
        bend = x + bow * (26 + min(90, abs(y2 - y1) // 4))
        path = f"M{x} {y1}C{bend} {y1} {bend} {y2} {x} {y2}"
    else:
        x1 += BOX
        middle = (x1 + x2) // 2
        path = f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    source, target = (end.partition(":")[2] or end for end in edge["ends"])
    title = f"{source} to {target}: {edge['per_day']:.4g} calls a day, {edge['calls']} in all"
    return Arc(path, str(edge["age"]), f"{1 + min(4.0, log10(1 + edge['per_day'])):.1f}", title)
