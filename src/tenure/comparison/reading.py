"""The spans of a trace as steps that can be laid against those of another. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from tenure.comparison.model import Step
from tenure.kernel.json import Json, JsonObject
from tenure.telemetry.model import STEP_TYPES, Span

_MODELS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
_FACTS = (
    ("model", "gen_ai.request.model"),
    ("model that answered", "gen_ai.response.model"),
    ("MCP server", "mcp.server.name"),
)


def steps_of(spans: Iterable[Span]) -> list[tuple[Step, Span]]:
    """What was called and said in a trace, in the order in which it began, each with the span that tells of it."""
    return [(step, span) for span in sorted(spans, key=lambda span: (span.start, span.event)) for step in _step(span)]


def began_as(spans: Iterable[Span]) -> tuple[str, int] | None:
    """Of a fork: the trace of the run that it plays again, and how many steps it has of that one. None for a run that
    is no fork."""
    of, many = "", 0
    for span in spans:
        data = span.attributes
        if span.type == "fork.started":
            of, many = str(data.get("tenure.fork.of") or ""), max(many, _whole(data.get("tenure.fork.step")) - 1)
        elif span.type == "fork.ended":
            many = max(many, _whole(data.get("tenure.fork.same")))
    return (of, many) if of else None


def _whole(value: Json) -> int:
    return value if type(value) is int else 0


def _step(span: Span) -> Iterator[Step]:
    data = span.attributes
    if span.type == "import.message":
        message = data.get("tenure.message")
        who = str(message.get("name") or message.get("role")) if isinstance(message, Mapping) else ""
        yield Step(span.span_id, "message", who, who, None, None, _said([message]), facts=_facts(span))
        return
    operation = data.get("gen_ai.operation.name")
    if span.type not in STEP_TYPES and not (span.type == "otlp.span" and operation):
        return
    decision = data.get("tenure.decision")
    decision = decision if isinstance(decision, Mapping) else {}
    if operation in _MODELS or data.get("tenure.kind") == "llm":
        kind, name = "chat", ""
        given = _unthought(_bare(_loaded(data.get("gen_ai.input.messages"))))
        asked: Json = {"instructions": _loaded(data.get("gen_ai.system_instructions")), "messages": given}
        key = given[-1] if isinstance(given, list | tuple) and given else given
        answered = _bare(_loaded(data.get("gen_ai.output.messages")))
    else:
        kind = "agent" if data.get("tenure.kind") == "agent" or operation == "invoke_agent" else "tool"
        name = str(data.get("tenure.resource") or data.get("gen_ai.tool.name") or span.name)
        asked = key = _loaded(data.get("gen_ai.tool.call.arguments"))
        answered = _loaded(data.get("gen_ai.tool.call.result"))
    yield Step(
        span_id=span.span_id,
        kind=kind,
        name=name,
        agent=span.agent or "",
        asked=asked,
        key=key,
        answered=answered,
        effect=str(decision.get("effect") or ""),
        reason=str(decision.get("reason") or ""),
        error=str(data.get("error.type") or ""),
        duration_us=span.duration_us,
        facts=_facts(span),
    )


def _facts(span: Span) -> tuple[tuple[str, str], ...]:
    """Under what a step ran."""
    own = (
        ("agent", span.agent),
        ("release", span.release),
        ("policy version", span.policy_version),
        ("memory", span.memory_snapshot),
    )
    named = [(name, span.attributes.get(key)) for name, key in _FACTS]
    return tuple((name, str(value)) for name, value in (*own, *named) if value)


def _loaded(value: Json) -> Json:
    """JSON that came as text is read; anything else stays as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


_IDS = {"tool_call": "id", "tool_call_response": "id"}


def _bare(messages: Json) -> Json:
    """Messages without what is another one each time: the ids of tool calls; and without why an answer ended, which
    imported ones do not tell."""
    if not isinstance(messages, list | tuple):
        return messages
    return [_without(one) if isinstance(one, Mapping) else one for one in messages]


def _without(message: JsonObject) -> Json:
    parts = message.get("parts")
    if not isinstance(parts, list | tuple):
        return message
    bare = [
        {name: value for name, value in part.items() if name != _IDS.get(str(part.get("type")))}
        if isinstance(part, Mapping)
        else part
        for part in parts
    ]
    return {**{name: value for name, value in message.items() if name != "finish_reason"}, "parts": bare}


def _unthought(messages: Json) -> Json:
    """What a model was told, without what it had thought by itself before: that is part of the answer it belongs to,
    and not every API takes it back."""
    if not isinstance(messages, list | tuple):
        return messages
    out: list[Json] = []
    for message in messages:
        parts = message.get("parts") if isinstance(message, Mapping) else None
        if isinstance(message, Mapping) and isinstance(parts, list | tuple):
            kept = [part for part in parts if not (isinstance(part, Mapping) and part.get("type") == "reasoning")]
            if kept or not parts:
                out.append({**message, "parts": kept})
        else:
            out.append(message)
    return out


def _said(messages: Iterable[Json]) -> Json:
    return [_parts(message) for message in messages if isinstance(message, Mapping)]


def _parts(message: JsonObject) -> Json:
    return message.get("parts")
