"""What became of a call's arguments, field by field: as the API tells it, ready to show. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenure.kernel.difference import MOST, differences
from tenure.kernel.json import Json, JsonObject
from tenure.ui.model import items, person
from tenure.ui.runs.sides import Line, sides
from tenure.ui.runs.talk import attributes, load

_WORDS: Mapping[str, tuple[str, str, str, str]] = {
    "edited": (
        "Approved with other arguments",
        "The agent asked",
        "Executed",
        "",
    ),
    "redacted": (
        "Redacted by policy",
        "The agent asked",
        "Sent",
        "Policy took it out of what was sent.",
    ),
    "unrecorded": (
        "Not in the record",
        "In the call",
        "In the record",
        "The call had it; no secret, nor what settings name, reaches the record.",
    ),
    "retried": ("Changed against the call before", "Before", "Now", ""),
    "forked": ("Other than in the run that is played again", "Then", "Now", ""),
}
"""Each kind: what it is called, what its sides are called, and what is to be said of it."""
CHIPS: Mapping[str, str] = {"edited": "approved as changed", "redacted": "redacted"}
"""The kinds that a row tells while it is closed."""
MOMENT = ("Before", "After")
"""The sides of a change that is told by itself: nobody has executed it yet."""


@dataclass(frozen=True, slots=True)
class Place:
    """A field. ``lines``: both sides line by line; where there are none, ``left`` and ``right`` are the sides, empty
    for one that had nothing. ``kept`` False: what was there before is not kept."""

    path: str
    lines: tuple[Line, ...]
    left: str
    right: str
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Altered:
    """A difference with its words. ``by`` and ``reason``: who made it and why; ``address``: the other call, where it is
    another."""

    kind: str
    title: str
    left: str
    right: str
    note: str
    by: str
    reason: str
    places: tuple[Place, ...]
    more: bool
    address: str
    approval: str


def altered(
    raw: JsonObject, calls: Mapping[str, JsonObject] | None = None, *, moment: bool = False
) -> tuple[Altered, ...]:
    """What a span tells of its arguments. ``calls``: those of the trace by their spans; what differs from one that is
    tried again is looked up there where the span does not tell it. ``moment``: it tells of the change and is no call.
    """
    found = []
    for one in items(raw, "altered"):
        earlier = (calls or {}).get(str(one.get("span_id"))) if one.get("kind") == "retried" else None
        told = one if earlier is None or one.get("places") else {**one, **_between(earlier, raw)}
        found.append(_altered(told, str(raw.get("trace_id") or ""), moment=moment))
    return tuple(found)


def _between(earlier: JsonObject, raw: JsonObject) -> dict[str, Any]:
    before, after = (_asked(attributes(one)) for one in (earlier, raw))
    found = differences(before, after, MOST + 1)
    places = [
        {
            "path": one.path,
            "before": one.left,
            "after": one.right,
            "before_there": one.left_there,
            "after_there": one.right_there,
        }
        for one in found[:MOST]
    ]
    return {"places": places, "more": len(found) > MOST}


def _asked(data: JsonObject) -> Json:
    edit = data.get("tenure.approval.edited")
    return edit.get("arguments") if isinstance(edit, Mapping) else load(data.get("gen_ai.tool.call.arguments"))


def _altered(one: Mapping[str, Any], trace: str, *, moment: bool) -> Altered:
    kind = str(one.get("kind"))
    title, left, right, note = _WORDS[kind]
    if moment:
        left, right = MOMENT
    places = tuple(_place(place) for place in items(one, "places"))
    if kind == "edited" and not places:
        note = "What was changed is withheld from you. The top of the page says whom to ask."
    other, span = str(one.get("trace_id") or ""), str(one.get("span_id") or "")
    address = f"#s-{span}" if other == trace else f"/traces/{other}?span={span}#s-{span}"
    return Altered(
        kind=kind,
        title=title,
        left=left,
        right=right,
        note=note,
        by=person(one.get("by")),
        reason=str(one.get("reason") or ""),
        places=places,
        more=bool(one.get("more")),
        address=address if span else "",
        approval=str(one.get("approval") or ""),
    )


def _place(one: Mapping[str, Any]) -> Place:
    before, after = one.get("before"), one.get("after")
    there = bool(one.get("before_there", True)), bool(one.get("after_there", True))
    kept = bool(one.get("kept", True))
    lines = sides(before, after) if all(there) and kept else ()
    return Place(
        path=str(one.get("path") or "all of it"),
        lines=lines,
        left=_text(before) if there[0] and kept else "",
        right=_text(after) if there[1] else "",
        kept=kept,
    )


def _text(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


_LONG = 4000
