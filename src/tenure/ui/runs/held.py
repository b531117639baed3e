"""The steps of an approval in a trace: asked for, changed, decided, used. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tenure.kernel.json import JsonObject
from tenure.kernel.values import Status
from tenure.ui.model import duration, moment, person
from tenure.ui.runs.altered import altered
from tenure.ui.runs.axis import Axis
from tenure.ui.runs.rows import Item, Row, mark, piece


def approval_of(raw: JsonObject) -> Item | None:
    """An approval as the API gives it; None for one without a time."""
    start = moment(raw.get("requested_at") or raw.get("created_at"))
    if start is None:
        return None
    return Item(start, moment(raw.get("decided_at")) or start, raw, "approval")


@dataclass(frozen=True, slots=True)
class Steps:
    """What a trace tells of each of its approvals: when it was used, and who changed the arguments meanwhile."""

    claims: Mapping[str, datetime]
    edits: Mapping[str, Sequence[Item]]


def approval_rows(item: Item, drawn: Axis, depth: int, steps: Steps) -> list[Row]:
    """An approval's steps: asked for and why, changed by whom and why, decided by whom and why, used by the call."""
    raw = item.raw
    state, ident = str(raw.get("state") or "pending"), str(raw.get("id") or "")
    agent, resource = str(raw.get("agent") or ""), str(raw.get("resource") or "call")
    asked = Row(
        kind="approval",
        name=f"approval of {resource} requested",
        status=Status.FLAGGED,
        time=item.start.isoformat(),
        duration=duration((item.end - item.start).total_seconds() * 1e6) if item.end > item.start else "",
        depth=depth,
        agent=agent,
        pieces=(piece(drawn, "wait", item.start, item.end),),
        note=str(raw.get("why") or ""),
        facts=tuple(
            (label, str(raw[key]))
            for label, key in (("Digest", "digest"), ("Policy version", "policy_version"))
            if raw.get(key)
        ),
        approval_id=ident,
    )
    claimed, edits = steps.claims.get(ident), steps.edits.get(ident, ())
    rows = [asked, *(_edit_row(asked, edit, drawn) for edit in edits)]
    if state == "pending":
        return rows
    word = {"granted": "approved", "claimed": "approved", "expired": "nobody answered in time"}.get(state, state)
    by = person(raw.get("decided_by"))
    word += " as changed" if edits and word == "approved" else ""
    ended = _moment_row(asked, item.end, f"{word} by {by}" if by else word, str(raw.get("reason") or ""), drawn)
    rows.append(replace(ended, status=Status.VIOLATION) if state == "rejected" else ended)
    if claimed:
        rows.append(_moment_row(asked, claimed, "approval used, once, by this call", "", drawn))
    return rows


def _edit_row(like: Row, edit: Item, drawn: Axis) -> Row:
    """The step at which a person put other arguments in the place of the agent's."""
    by, reason = person(edit.raw.get("actor")), str(edit.data.get("reason") or "")
    row = _moment_row(like, edit.start, f"arguments changed by {by}", reason, drawn)
    return replace(row, altered=altered(edit.raw, moment=True))


def _moment_row(like: Row, time: datetime, name: str, note: str, drawn: Axis) -> Row:
    facts: tuple[tuple[str, str], ...] = (("Reason", note),) if note else ()
    pieces = (mark(drawn, time),)
    return replace(like, name=name, time=time.isoformat(), duration="", pieces=pieces, note=note, facts=facts)


def steps_of(items: Iterable[Item]) -> Steps:
    """The steps that are Events of a trace."""
    claims: dict[str, datetime] = {}
    edits: dict[str, list[Item]] = {}
    for item in items:
        if item.raw.get("type") == "approval.claimed":
            claims[str(item.data.get("approval_id"))] = item.start
        elif item.raw.get("type") == "approval.edited":
            edits.setdefault(str(item.data.get("approval_id")), []).append(item)
    return Steps(claims, edits)
