"""What is no call and stands in a trace: a trip, a suspension, another policy, the request that it began with. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.kernel.json import JsonObject
from tenure.ui.model import person
from tenure.ui.runs.talk import attributes
from tenure.ui.words import feed_row

JOINED = "tenure.joined"
"""The attribute of what belongs to no trace and has its place in one: what it concerns there."""
_WHY = {
    "request": "this trace began with it",
    "agent": "it concerns an agent of this trace, while the trace ran",
    "tool": "it concerns a tool of this trace, while the trace ran",
    "release": "it concerns a release of this trace, while the trace ran",
    "chain": "it concerns the chain of agents of this trace, while the trace ran",
    "workspace": "it holds for the whole workspace, this trace as well",
}
_BEGINNINGS = ("person.logged_in", "login.allowed", "login.begun", "instance.started", "token.issued")
_WORK = frozenset(
    {"call.completed", "call.refused", "request.refused", "fork.called", "fork.refused", "fork.answered", ""}
)
_ICONS = {"person": "people", "login": "people", "token": "secret", "instance": "agent", "release": "policies"}
_ICONS |= {"policy": "policies", "tool": "policies", "draft": "approval", "call": "flagged"}
_IN_SHORT = ("agent", "breaker", "approval")


@dataclass(frozen=True, slots=True)
class Told:
    """A moment in words. ``joined``: it belongs to no trace, and has its place in this one."""

    name: str
    note: str
    facts: tuple[tuple[str, str], ...]
    joined: bool


def kind_of(raw: JsonObject) -> str:
    """The kind of row that a moment is (``approval``, ``breaker``, ``agent``, ...); empty for what is no moment."""
    told = str(raw.get("type") or "")
    family = told.partition(".")[0]
    return "" if told in _WORK or family in ("otlp", "import") else _ICONS.get(family, family)


def began_it(raw: JsonObject) -> bool:
    """Whether a trace began with it. That may be hours before: the time of the trace does not begin there."""
    return attributes(raw).get(JOINED) == "request" and raw.get("type") in _BEGINNINGS


def told_of(raw: JsonObject) -> Told:
    """A moment as its row tells it."""
    data = dict(attributes(raw))
    why = str(data.pop(JOINED, ""))
    kind = str(raw.get("type") or "")
    family = kind.partition(".")[0]
    name, note, by = kind.replace(".", " "), str(data.get("reason") or ""), person(raw.get("actor"))
    if kind == "agent.transitioned":
        name = f"{data.get('from', '')} → {data.get('to', '')}"
    elif family not in _IN_SHORT:
        row = feed_row({**raw, "data": data})
        about = "" if family in ("login", "person") else row.agent
        name = " ".join(filter(None, (about or row.actor, row.said.verb, row.said.thing)))
        note, by = row.said.note or note, by if about else ""
    facts = [(key.replace("_", " ").capitalize(), str(value)) for key, value in data.items() if key != "reason"]
    if why:
        facts.append(("Shown here because", _WHY.get(why, why)))
    by = "" if by.startswith(("agent:", "system:")) else by
    return Told(f"{name} by {by}" if by else name, note, tuple(facts), bool(why))
