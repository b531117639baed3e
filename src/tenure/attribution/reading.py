"""The spans of a trace as the steps of a run. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tenure.attribution.model import Run, Step
from tenure.kernel.json import Json, JsonObject
from tenure.telemetry.model import CALL_TYPES, Span

MOST_STEPS = 400
"""A longer run is read by its last so many steps."""
MOST_TEXT = 20_000
_MODELS = frozenset({"chat", "text_completion", "generate_content"})
_REPORT = re.compile(r"exitcode: |There is no code from the last")
_FAILED = re.compile(r"exitcode: [1-9]")


def run_of(trace_id: str, spans: Sequence[Span]) -> Run:
    """What the agents of a trace said and asked for, each with what came back; in the order in which it began."""
    steps: list[Step] = []
    asked, success = "", None
    for span in sorted(spans, key=lambda span: (span.start, span.event)):
        data = span.attributes
        if span.type == "import.outcome":
            success = bool(data.get("tenure.outcome.success"))
            detail = data.get("tenure.outcome.detail")
            asked = str(detail.get("question") or asked) if isinstance(detail, Mapping) else asked
        elif span.type == "import.message":
            _message(steps, span)
        elif span.type in CALL_TYPES or span.type == "otlp.span":
            asked = asked or _question(data)
            steps += _call(len(steps), span)
    return Run(trace_id, tuple(steps[-MOST_STEPS:]), asked, success)


def _message(steps: list[Step], span: Span) -> None:
    """A message of a recorded group chat. One that only reports what was carried out is the outcome of the step
    before it."""
    message = span.attributes.get("tenure.message")
    if not isinstance(message, Mapping):
        return
    text = _text(message)
    if steps and (_REPORT.match(text) or message.get("role") == "tool"):
        idle = text.startswith("There is no code")
        if not steps[-1].outcome:
            steps[-1] = replace(steps[-1], outcome=text, failed=bool(_FAILED.match(text)), idle=idle)
        return
    who = str(message.get("name") or message.get("role") or "")
    place = span.attributes.get("tenure.step")
    index = place if isinstance(place, int) else len(steps)
    steps.append(Step(index, span.span_id, who, span.name, text))


def _call(index: int, span: Span) -> Iterator[Step]:
    data = span.attributes
    operation, who = data.get("gen_ai.operation.name"), span.agent or ""
    refused = span.type == "call.refused"
    if operation in _MODELS and not refused:
        said = "\n".join(filter(None, (_text(message) for message in _messages(data.get("gen_ai.output.messages")))))
        if said:
            yield Step(index, span.span_id, who, span.name, said[:MOST_TEXT])
    elif operation == "execute_tool" or refused or data.get("tenure.kind") in ("tool", "agent"):
        outcome = _plain(data.get("gen_ai.tool.call.result")) or span.status_message
        text = _plain(data.get("gen_ai.tool.call.arguments"))
        failed = span.status == "error"
        yield Step(index, span.span_id, who, span.name, text[:MOST_TEXT], outcome[:MOST_TEXT], failed)


def _question(data: JsonObject) -> str:
    """What a model was told first: by it, figures are old or new."""
    told = [_text(message) for message in _messages(data.get("gen_ai.input.messages"))]
    return "\n".join([_plain(data.get("gen_ai.system_instructions")), *told])[:MOST_TEXT] if any(told) else ""


def _messages(value: Json) -> list[JsonObject]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def _text(message: JsonObject) -> str:
    """What a message says; calls of tools in it are steps of their own."""
    parts = [part for part in message.get("parts") or () if isinstance(part, Mapping)]
    said = [str(part.get("content") or "") for part in parts if part.get("type") == "text"]
    return "\n".join(filter(None, said))[:MOST_TEXT]


def _plain(value: Json) -> str:
    if value is None or value == "":
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
