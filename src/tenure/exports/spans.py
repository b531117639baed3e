"""Events as OTLP spans for tools of others: in the words of the GenAI conventions and of OpenInference. Pure.

Ids are those of the trace store, so that a span that is sent twice is the same span.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Event
from tenure.telemetry.model import Span, decision_span, span_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {
    "internal": OtlpSpan.SPAN_KIND_INTERNAL,
    "server": OtlpSpan.SPAN_KIND_SERVER,
    "client": OtlpSpan.SPAN_KIND_CLIENT,
    "producer": OtlpSpan.SPAN_KIND_PRODUCER,
    "consumer": OtlpSpan.SPAN_KIND_CONSUMER,
}
_STATUS = {"unset": Status.STATUS_CODE_UNSET, "ok": Status.STATUS_CODE_OK, "error": Status.STATUS_CODE_ERROR}
_INFERENCE = {
    "llm": "LLM",
    "tool": "TOOL",
    "agent": "AGENT",
    "retrieval": "RETRIEVER",
    "embedding": "EMBEDDING",
    "guardrail": "GUARDRAIL",
    "evaluator": "EVALUATOR",
}
CONTENT = frozenset(
    {
        "gen_ai.system_instructions",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.retrieval.query.text",
        "gen_ai.retrieval.documents",
    }
)
"""Attributes that hold what was said."""
_FACTS = (
    *("gen_ai.operation.name", "gen_ai.request.model", "gen_ai.response.model", "gen_ai.provider.name"),
    *("gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.agent.name", "gen_ai.conversation.id", "error.type"),
    *("gen_ai.response.finish_reasons", "gen_ai.response.id", "tenure.resource", "tenure.cost_usd", "otlp.step"),
    *("tenure.decision.effect", "tenure.decision.reason", "tenure.decision.policies", "tenure.kind", "user.id"),
    *(f"gen_ai.usage.{name}_tokens" for name in ("input", "output", "cache_read.input", "cache_creation.input")),
    *("gen_ai.usage.reasoning.output_tokens", "approval_id", "tenure.approval.id"),
)
_AS_INFERENCE: Mapping[str, str] = {
    "gen_ai.request.model": "llm.model_name",
    "gen_ai.provider.name": "llm.provider",
    "gen_ai.usage.input_tokens": "llm.token_count.prompt",
    "gen_ai.usage.output_tokens": "llm.token_count.completion",
    "gen_ai.usage.cache_read.input_tokens": "llm.token_count.prompt_details.cache_read",
    "gen_ai.usage.reasoning.output_tokens": "llm.token_count.completion_details.reasoning",
    "gen_ai.tool.name": "tool.name",
    "gen_ai.tool.call.id": "tool.id",
    "gen_ai.tool.call.arguments": "input.value",
    "gen_ai.tool.call.result": "output.value",
    "gen_ai.agent.name": "agent.name",
}


def request_of(events: Iterable[Event], project: Mapping[str, str], *, content: bool) -> ExportTraceServiceRequest:
    """The request that sends Events on: one resource for each agent, with ``project``. Without ``content`` nothing of
    what was said goes along, only what happened."""
    groups: dict[str, list[OtlpSpan]] = {}
    for event in events:
        for span in _spans(event):
            groups.setdefault(span.agent or "tenure", []).append(_otlp(span, content))
    request = ExportTraceServiceRequest()
    for agent, spans in groups.items():
        resource = Resource(attributes=_pairs({"service.name": agent, "service.namespace": "tenure", **project}))
        scope = ScopeSpans(scope=InstrumentationScope(name="tenure"), spans=spans)
        request.resource_spans.append(ResourceSpans(resource=resource, scope_spans=[scope]))
    return request


def _spans(event: Event) -> Iterator[Span]:
    if event.trace_id and len(event.trace_id) == 32:
        span = span_of(event)
        yield span
        decided = decision_span(span)
        if decided is not None:
            yield decided


def _otlp(span: Span, content: bool) -> OtlpSpan:
    start = (span.start - _EPOCH) // timedelta(microseconds=1) * 1000
    return OtlpSpan(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_span_id or ""),
        name=span.name,
        kind=_KINDS.get(span.kind, OtlpSpan.SPAN_KIND_INTERNAL),
        start_time_unix_nano=start,
        end_time_unix_nano=start + span.duration_us * 1000,
        attributes=_pairs(attributes_of(span, content=content)),
        status=Status(code=_STATUS.get(span.status, Status.STATUS_CODE_UNSET), message=span.status_message[:500]),
    )


def attributes_of(span: Span, *, content: bool) -> dict[str, Json]:
    """What is said of a span, in both vocabularies."""
    data = span.attributes
    wanted = (*_FACTS, *sorted(CONTENT)) if content else _FACTS
    out: dict[str, Json] = {name: data[name] for name in wanted if data.get(name) is not None}
    kind = str(data.get("otlp.step") or data.get("tenure.kind") or "")
    out["openinference.span.kind"] = "GUARDRAIL" if span.type == "decision" else _INFERENCE.get(kind, "CHAIN")
    out |= {other: out[name] for name, other in _AS_INFERENCE.items() if name in out}
    if isinstance(cost := data.get("tenure.cost_usd"), str):
        out["llm.cost.total"] = float(cost)
    counts = [out.get(f"gen_ai.usage.{name}_tokens") for name in ("input", "output")]
    if all(isinstance(count, int) for count in counts):
        out["llm.token_count.total"] = sum(count for count in counts if isinstance(count, int))
    if content:
        out |= _flat("llm.input_messages", data.get("gen_ai.input.messages"))
        out |= _flat("llm.output_messages", data.get("gen_ai.output.messages"))
    facts = {"tenure.event": span.type, "tenure.agent": span.agent, "tenure.release": span.release}
    facts |= {"tenure.policy_version": span.policy_version, "tenure.status": span.feed_status.value}
    facts |= {"session.id": span.session}
    return out | {name: value for name, value in facts.items() if value}


def _flat(prefix: str, messages: Json) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for number, message in enumerate(messages if isinstance(messages, list | tuple) else ()):
        if not isinstance(message, Mapping):
            continue
        begin = f"{prefix}.{number}.message"
        out[f"{begin}.role"] = str(message.get("role") or "")
        parts = message.get("parts")
        said = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list | tuple) else []
        texts = [str(p.get("content", p.get("response", ""))) for p in said if p.get("type") != "tool_call"]
        if texts:
            out[f"{begin}.content"] = "\n".join(texts)
        for place, call in enumerate(part for part in said if part.get("type") == "tool_call"):
            at = f"{begin}.tool_calls.{place}.tool_call"
            out[f"{at}.id"] = str(call.get("id") or "")
            out[f"{at}.function.name"] = str(call.get("name") or "")
            out[f"{at}.function.arguments"] = json.dumps(call.get("arguments"))
    return out


def _pairs(values: JsonObject) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in values.items()]


def _value(value: Any) -> AnyValue:
    """What is nested goes as JSON text: few receivers take it otherwise."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value) if -(2**63) <= value < 2**63 else AnyValue(string_value=str(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))
    return AnyValue(string_value=json.dumps(value))
