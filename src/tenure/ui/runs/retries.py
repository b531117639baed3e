"""What a call changed in its arguments against the one before it that it tries again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tenure.kernel.difference import Difference, differences
from tenure.kernel.json import JsonObject
from tenure.ui.runs.sides import Line, sides
from tenure.ui.runs.talk import attributes, load

MOST = 8
_ARGUMENTS = "gen_ai.tool.call.arguments"


@dataclass(frozen=True, slots=True)
class Changed:
    """What differs in the arguments of a call from those of the call that it tries again: the first few places, and
    both side by side. False when nothing does."""

    places: tuple[Difference, ...] = ()
    picture: tuple[Line, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.places)


def changed(before: JsonObject, call: JsonObject) -> Changed:
    """What a call changed against the one ``before`` it."""
    earlier, later = (load(attributes(raw).get(_ARGUMENTS)) for raw in (before, call))
    return Changed(differences(earlier, later, MOST), sides(earlier, later))


def retried(calls: Iterable[JsonObject]) -> Mapping[str, JsonObject]:
    """By the id of a span, the call that it tries again: the next of the same agent to the same tool, where the one
    before failed or was refused, or nothing of that agent came between."""
    found: dict[str, JsonObject] = {}
    before: dict[tuple[str, str], tuple[JsonObject, bool]] = {}
    latest: dict[str, str] = {}
    for raw in calls:
        data = attributes(raw)
        if data.get("gen_ai.operation.name") != "execute_tool" and raw.get("type") != "call.refused":
            latest[str(raw.get("agent"))] = ""
            continue
        agent, name = str(raw.get("agent")), str(data.get("tenure.resource") or raw.get("name"))
        earlier, failed = before.get((agent, name), (None, False))
        told = earlier is not None and _ARGUMENTS in data and _ARGUMENTS in attributes(earlier)
        if earlier is not None and told and (failed or latest.get(agent) == name):
            found[str(raw.get("span_id"))] = earlier
        before[agent, name] = raw, raw.get("type") == "call.refused" or bool(data.get("error.type"))
        latest[agent] = name
    return found
