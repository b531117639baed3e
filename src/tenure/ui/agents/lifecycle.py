"""The working life of an agent as a picture: where it stands, where it was, and where it may go next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tenure.kernel.values import LifecycleState

BOX_W, BOX_H = 104, 34

# The main line from left to right; what leaves it lies below. (x, y) of each box's centre in a 1120 x 170 drawing.
_PLACES: Mapping[str, tuple[int, int]] = {
    LifecycleState.REQUESTED: (62, 44),
    LifecycleState.APPROVED: (204, 44),
    LifecycleState.CREATED: (346, 44),
    LifecycleState.PROVISIONED: (488, 44),
    LifecycleState.STAGING: (630, 44),
    LifecycleState.PRODUCTION: (772, 44),
    LifecycleState.DRAINING: (914, 44),
    LifecycleState.RETIRED: (1056, 44),
    LifecycleState.REJECTED: (133, 132),
    LifecycleState.SUSPENDED: (772, 132),
}

EFFECTS: Mapping[str, tuple[str, str, bool]] = {
    LifecycleState.APPROVED: ("Approve", "Says yes to the request. The agent does not run yet.", False),
    LifecycleState.REJECTED: (
        "Reject",
        "Says no to the request. The agent never runs; it can be asked for again.",
        True,
    ),
    LifecycleState.CREATED: (
        "Create",
        "Fixes its release: model, instructions, tools. The agent does not run yet.",
        False,
    ),
    LifecycleState.PROVISIONED: (
        "Provision",
        "Issues exactly the keys and grants that its manifest names. The agent does not run yet.",
        False,
    ),
    LifecycleState.STAGING: ("Move to staging", "Its calls are let through and decided by policy.", False),
    LifecycleState.PRODUCTION: ("Move to production", "Its calls are let through and decided by policy.", False),
    LifecycleState.SUSPENDED: (
        "Suspend",
        (
            "Refuses every further call at once, kills its credential, and stops its running processes. "
            "Nothing is deleted; it can be put back to work."
        ),
        True,
    ),
    LifecycleState.DRAINING: (
        "Retire",
        (
            "Starts nothing new, lets what is running finish for a moment, and then ends its working life for good: "
            "every call is refused, its credential is dead. Its records stay. This cannot be undone."
        ),
        True,
    ),
    LifecycleState.RETIRED: (
        "Retire now",
        (
            "Ends its working life for good: every call is refused, its credential is dead, its processes are stopped. "
            "Its records stay. This cannot be undone."
        ),
        True,
    ),
    LifecycleState.REQUESTED: ("Ask again", "Puts the request in front of an approver again.", False),
}


@dataclass(frozen=True, slots=True)
class Node:
    """A state in the picture. ``place`` is now, next, been or other."""

    state: str
    x: int
    y: int
    place: str


@dataclass(frozen=True, slots=True)
class Edge:
    """A transition in the picture, as an SVG path."""

    path: str
    open: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A transition that is possible now: the state it leads to, the word on its button, and what it will do."""

    to: str
    verb: str
    effect: str
    destructive: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A transition of the API's lifecycle table, and the action that must be permitted for it."""

    source: str
    to: str
    action: str


def rules_of(table: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """The API's lifecycle table."""
    return [Rule(str(row.get("from")), str(row.get("to")), str(row.get("action"))) for row in table]


def next_steps(current: str, rules: Iterable[Rule], actions: Iterable[str]) -> list[Step]:
    """Where a person who may do ``actions`` with the agent may send it from ``current``, harmless steps first. What
    only Tenure itself does is not offered."""
    mine = frozenset(actions)
    steps = []
    for rule in rules:
        if rule.source != current or rule.action not in mine:
            continue
        step = Step(rule.to, *EFFECTS.get(rule.to, (f"Move to {rule.to}", "", True)))
        if current == LifecycleState.SUSPENDED and rule.to in (LifecycleState.PRODUCTION, LifecycleState.STAGING):
            step = Step(
                rule.to, f"Resume to {rule.to}", "Its calls are let through again, with a new credential.", False
            )
        if current == LifecycleState.PRODUCTION and rule.to == LifecycleState.STAGING:
            step = Step(
                rule.to,
                "Back to staging",
                "It is taken back to be tried again; its calls are still let through.",
                False,
            )
        steps.append(step)
    return sorted(steps, key=lambda step: step.destructive)


def _path(source: str, to: str) -> str:
    (x1, y1), (x2, y2) = _PLACES[source], _PLACES[to]
    half_w, half_h = BOX_W // 2, BOX_H // 2
    if y1 == y2 and 0 < x2 - x1 <= 142:
        return f"M{x1 + half_w} {y1} L{x2 - half_w - 5} {y2}"
    if y1 == y2:  # over the heads of those between; the way back runs a little higher
        lift = y1 - half_h
        shift = 14 if x2 > x1 else -14
        top = 6 if x2 > x1 else 12
        return f"M{x1 + shift} {lift} C{x1 + shift} {top - 6}, {x2 - shift} {top - 6}, {x2 - shift} {lift - 5}"
    if x1 == x2:
        shift = 10 if y2 > y1 else -10
        start, end = (y1 + half_h, y2 - half_h - 5) if y2 > y1 else (y1 - half_h, y2 + half_h + 5)
        return f"M{x1 + shift} {start} L{x2 + shift} {end}"
    if y2 > y1:
        return f"M{x1} {y1 + half_h} C{x1} {y2 - 40}, {x2} {y1 + 50}, {x2} {y2 - half_h - 5}"
    side = half_w if x2 > x1 else -half_w
    return f"M{x1 + side} {y1} C{(x1 + x2) // 2} {y1}, {x2} {y1 - 30}, {x2} {y2 + half_h + 5}"


def picture(current: str, been: Iterable[str], rules: Iterable[Rule]) -> tuple[list[Node], list[Edge]]:
    """The drawing's boxes and arrows. ``been``: the states this agent has stood in."""
    known = [
        (source, to)
        for source, to in dict.fromkeys((rule.source, rule.to) for rule in rules)
        if source in _PLACES and to in _PLACES
    ]
    reachable = {to for source, to in known if source == current}
    past = set(been)
    nodes = [
        Node(
            state=str(state),
            x=x,
            y=y,
            place="now" if state == current else "next" if state in reachable else "been" if state in past else "other",
        )
        for state, (x, y) in _PLACES.items()
    ]
    # Any state of work may be retired or rejected directly; drawing each of those arrows would hide the main line.
    drawn = [edge for edge in known if edge[0] == current or _on_the_picture(*edge)]
    arrows = [Edge(_path(source, to), source == current) for source, to in drawn]
    return nodes, sorted(arrows, key=lambda edge: edge.open)


def _on_the_picture(source: str, to: str) -> bool:
    (x1, y1), (x2, y2) = _PLACES[source], _PLACES[to]
    return abs(x2 - x1) <= 142 and not (y1 == y2 and x2 < x1)
