"""What became of arguments on their way: changed by the person who approved the call, redacted by policy, kept out of
the record, or other than those of the call that is tried or played again. Pure.

It is read out of spans as whoever asks may see them: where arguments are withheld nothing is told of them either, but
that a person changed a call is a fact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from tenure.base.scan.rules import CLASSES
from tenure.base.scan.texts import clean
from tenure.kernel.difference import MOST, differences
from tenure.kernel.json import Json, JsonObject
from tenure.telemetry.altered import Altered, Place
from tenure.telemetry.model import Span

ARGUMENTS = "gen_ai.tool.call.arguments"
EDITED = "tenure.approval.edited"
_MARK = re.compile(r"\[redacted:([^\]\s]+)\]")
_CALLS = frozenset({"call.completed", "call.refused", "otlp.span"})
_TOLD = frozenset({"call.completed", "call.refused", "approval.edited"})


def altered(
    spans: Sequence[Span], played: Sequence[Span] = (), *, retries: bool = True
) -> Mapping[str, tuple[Altered, ...]]:
    """By the id of an Event, what became of the arguments that it tells of; no entry for what is as it was asked.
    ``spans`` are those of one trace, ``played`` those of the run that it plays again, if it does. ``retries`` False: of
    calls that are tried again only which one is, without the fields, for whoever has both calls."""
    ordered = sorted(spans, key=lambda span: span.start)
    edits = {str(one.attributes.get("approval_id")): one for one in ordered if one.type == "approval.edited"}
    found: dict[str, tuple[Altered, ...]] = {}
    for span in ordered:
        if span.type in _TOLD:
            told = (_of_edit(span, edits), _of_redaction(span), _of_record(span))
            if any(told):
                found[span.event] = tuple(one for one in told if one is not None)
    for kind, pairs in (("retried", retried(ordered)), ("forked", _forked(ordered, played))):
        by_id = {span.event: span for span in ordered} if pairs else {}
        for event, earlier in pairs.items():
            other = _against(kind, earlier, by_id[event], fields=retries or kind == "forked")
            if other is not None:
                found[event] = (*found.get(event, ()), other)
    return found


def _loaded(value: Json) -> Json:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def arguments_of(span: Span) -> Json:
    """The arguments that a call was made with, as they are kept; None where there are none."""
    return _loaded(span.attributes.get(ARGUMENTS))


def _between(before: Json, after: Json) -> tuple[tuple[Place, ...], bool]:
    found = [
        Place(one.path, one.left, one.right, one.left_there, one.right_there)
        for one in differences(before, after, MOST + 1)
    ]
    return tuple(found[:MOST]), len(found) > MOST


def _of_edit(span: Span, edits: Mapping[str, Span]) -> Altered | None:
    """What the agent asked against what was executed; in the moment of a change, what it was against what it became."""
    data = span.attributes
    if not edits and EDITED not in data:
        return None
    if span.type == "approval.edited":
        places, more = _between(data.get("arguments"), data.get("edited"))
        return _edit(span, places, more=more)
    told = data.get(EDITED)
    approval = str(told.get("approval") if isinstance(told, Mapping) else data.get("tenure.approval.id") or "")
    changed = edits.get(approval)
    if isinstance(told, Mapping):
        places, more = _between(told.get("arguments"), arguments_of(span))
        if changed is not None:
            return _edit(changed, places, more=more)
        return Altered("edited", places, more, by=str(told.get("by") or ""), approval=approval)
    if changed is None or "tenure.content" not in data or not span.type.startswith("call."):
        return None
    return _edit(changed, (), more=False)  # that it was changed is a fact; to what is withheld


def _edit(changed: Span, places: tuple[Place, ...], *, more: bool) -> Altered:
    data = changed.attributes
    approval, reason = str(data.get("approval_id") or ""), str(data.get("reason") or "")
    return Altered("edited", places, more, changed.actor, changed.start, reason, approval)


def _wanted(data: JsonObject) -> frozenset[str]:
    """The classes and rules that the decision on a call took out of what was sent."""
    decision = data.get("tenure.decision")
    words = decision.get("obligations") if isinstance(decision, Mapping) else None
    if not words:
        return frozenset()
    told = [str(word) for word in words]
    every = CLASSES if "redact" in told else ()
    return frozenset([*every, *(word.partition(":")[2] for word in told if word.startswith("redact:"))])


def _of_redaction(span: Span) -> Altered | None:
    what = _wanted(span.attributes) if span.type == "call.completed" else frozenset[str]()
    given = arguments_of(span) if what else None
    if given is None:
        return None
    places, more = _between(given, clean(given, what))
    hidden = [one for one in _hidden(given) if _any_of(str(one.after), what)]
    every = (*places, *hidden)
    return Altered("redacted", every[:MOST], more or len(every) > MOST) if every else None


def _of_record(span: Span) -> Altered | None:
    data = span.attributes
    noted = data.get("tenure.findings")
    if not isinstance(noted, list | tuple):
        return None
    if not any(isinstance(one, Mapping) and one.get("place") == "arguments" for one in noted):
        return None
    what = _wanted(data) if span.type == "call.completed" else frozenset[str]()
    hidden = [one for one in _hidden(arguments_of(span)) if not _any_of(str(one.after), what)]
    return Altered("unrecorded", tuple(hidden[:MOST]), len(hidden) > MOST) if hidden else None


def _any_of(text: str, what: frozenset[str]) -> bool:
    return any(rule in what or rule.partition("/")[0] in what for rule in _MARK.findall(text))


def _hidden(value: Json, path: str = "") -> Iterable[Place]:
    """The fields of which the record has only the mark of what was there."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _hidden(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _hidden(part, f"{path}[{number}]")
    elif isinstance(value, str) and "[redacted:" in value:
        yield Place(path, None, value, kept=False)


def _against(kind: str, earlier: Span, span: Span, *, fields: bool) -> Altered | None:
    if ARGUMENTS not in span.attributes or ARGUMENTS not in earlier.attributes:
        return None  # withheld, or not kept
    before, after = _asked(earlier), _asked(span)
    if before == after:
        return None
    places, more = _between(before, after) if fields else ((), False)
    return Altered(kind, places, more, trace_id=earlier.trace_id, span_id=earlier.span_id)


def _asked(span: Span) -> Json:
    """The arguments that the agent gave, whatever became of them."""
    told = span.attributes.get(EDITED)
    return told.get("arguments") if isinstance(told, Mapping) else arguments_of(span)


def retried(spans: Iterable[Span]) -> Mapping[str, Span]:
    """By the id of an Event, the call that it tries again: the next of the same agent to the same tool, where the one
    before failed or was refused, or nothing of that agent came between. ``spans`` by their start."""
    found: dict[str, Span] = {}
    before: dict[tuple[str | None, str], tuple[Span, bool]] = {}
    latest: dict[str | None, str] = {}
    for span in spans:
        data = span.attributes
        if not _is_call(span):
            continue
        if data.get("gen_ai.operation.name") != "execute_tool" and span.type != "call.refused":
            latest[span.agent] = ""
            continue
        name = _tool(span)
        earlier, failed = before.get((span.agent, name), (None, False))
        if earlier is not None and (failed or latest.get(span.agent) == name):
            found[span.event] = earlier
        before[span.agent, name] = span, span.type == "call.refused" or bool(data.get("error.type"))
        latest[span.agent] = name
    return found


def _is_call(span: Span) -> bool:
    return span.type in _CALLS or span.type.startswith("import.")


def _tool(span: Span) -> str:
    return str(span.attributes.get("tenure.resource") or span.attributes.get("gen_ai.tool.name") or span.name)


def plays(spans: Iterable[Span]) -> str:
    """The id of the trace that a fork's trace plays again; empty for one that plays none."""
    began = (span for span in spans if span.type == "fork.started")
    return str(next((span.attributes.get("tenure.fork.of") or "" for span in began), ""))


def _forked(spans: Sequence[Span], played: Sequence[Span]) -> dict[str, Span]:
    """By the id of an Event of a fork, the recorded call in whose place it came with other arguments: the first of the
    same tool that no call of the fork before it was answered from."""
    if not played:
        return {}
    left: dict[str, list[Span]] = {}
    for span in sorted(played, key=lambda one: one.start):
        if _is_call(span) and span.attributes.get("gen_ai.operation.name") == "execute_tool":
            left.setdefault(_bare(span), []).append(span)
    found: dict[str, Span] = {}
    for span in spans:
        if span.type != "fork.answered":
            continue
        of_tool = left.get(_bare(span), [])
        given = arguments_of(span)
        same = next((place for place, one in enumerate(of_tool) if arguments_of(one) == given), None)
        if same is not None:
            if span.attributes.get("tenure.fork.answered") == "record":
                del of_tool[: same + 1]
        elif of_tool:
            found[span.event] = of_tool[0]
    return found


def _bare(span: Span) -> str:
    return _tool(span).rpartition("/")[2]
