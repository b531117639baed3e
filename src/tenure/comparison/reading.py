"""The spans of a trace as steps that can be laid against those of another. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from tenure.comparison.model import Step
from tenure.kernel.json import Json, JsonObject
from tenure.telemetry.model import CALL_TYPES, Span

_MODELS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
_FACTS = (
    ("model", "gen_ai.request.model"),
    ("model that answered", "gen_ai.response.model"),
    ("MCP server", "mcp.server.name"),
)


def steps_of(spans: Iterable[Span]) -> list[Step]:
    """What was called and said in a trace, in the order in which it began."""
    return [step for span in sorted(spans, key=lambda span: (span.start, span.event)) for step in _step(span)]


def _step(span: Span) -> Iterator[Step]:
    data = span.attributes
    if span.type == "import.message":
        message = data.get("tenure.message")
        who = str(message.get("name") or message.get("role")) if isinstance(message, Mapping) else ""
        yield Step(span.span_id, "message", who, who, None, None, _said([message]), facts=_facts(span))
        return
    operation = data.get("gen_ai.operation.name")
    if span.type not in CALL_TYPES and not (span.type == "otlp.span" and operation):
        return
    decision = data.get("tenure.decision")
    decision = decision if isinstance(decision, Mapping) else {}
    if operation in _MODELS or data.get("tenure.kind") == "llm":
        kind, name = "chat", ""
        given = _loaded(data.get("gen_ai.input.messages"))
        asked: Json = {"instructions": _loaded(data.get("gen_ai.system_instructions")), "messages": given}
        key = given[-1] if isinstance(given, list | tuple) and given else given
        answered = _loaded(data.get("gen_ai.output.messages"))
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


def _said(messages: Iterable[Json]) -> Json:
    return [_parts(message) for message in messages if isinstance(message, Mapping)]


def _parts(message: JsonObject) -> Json:
    return message.get("parts")
