"""What a call changed in its arguments against the one before it that it tries again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tenure.kernel.difference import Difference, differences
from tenure.kernel.json import Json, JsonObject
from tenure.ui.runs.talk import attributes, load

MOST = 8


def retried(calls: Iterable[JsonObject]) -> Mapping[str, tuple[Difference, ...]]:
    """The changes of arguments by span id. A call tries another again when it is the next of the same agent to the same
    tool and the one before failed or was refused, or nothing of that agent came between."""
    found: dict[str, tuple[Difference, ...]] = {}
    before: dict[tuple[str, str], tuple[Json, bool]] = {}
    latest: dict[str, str] = {}
    for raw in calls:
        data = attributes(raw)
        if data.get("gen_ai.operation.name") != "execute_tool" and raw.get("type") != "call.refused":
            latest[str(raw.get("agent"))] = ""
            continue
        agent, name = str(raw.get("agent")), str(data.get("tenure.resource") or raw.get("name"))
        arguments = load(data.get("gen_ai.tool.call.arguments"))
        earlier, failed = before.get((agent, name), (None, False))
        if earlier is not None and arguments is not None and (failed or latest.get(agent) == name):
            changed = differences(earlier, arguments, MOST)
            if changed:
                found[str(raw.get("span_id"))] = changed
        before[agent, name] = arguments, raw.get("type") == "call.refused" or bool(data.get("error.type"))
        latest[agent] = name
    return found
