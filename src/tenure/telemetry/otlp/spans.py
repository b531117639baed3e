"""OTLP spans as Events. Pure.

Source: OpenTelemetry Protocol 1.9 (encodings and partial success), trace.proto 1.9. Who a span is of comes from the
agent's own token and from nothing that the span says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tenure.kernel.ids import stable_id
from tenure.kernel.json import Json
from tenure.kernel.values import Event, Principal
from tenure.kernel.values import Status as FeedStatus
from tenure.telemetry.otlp.attributes import attributes, read, time_of, told
from tenure.telemetry.otlp.conventions import in_our_words

MAX_SPANS = 10_000
_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_STATUSES = {Status.STATUS_CODE_OK: "ok", Status.STATUS_CODE_ERROR: "error"}


@dataclass(frozen=True, slots=True)
class Received:
    """The Events of a request, and how many of its spans (log records, data points) were rejected with the first
    reason."""

    events: tuple[Event, ...]
    rejected: int = 0
    reason: str = ""


def parse(body: bytes, is_json: bool) -> ExportTraceServiceRequest:
    """The request in a body. Raises Refused when it is none."""
    request = ExportTraceServiceRequest()
    read(request, body, is_json)
    return request


def receive(request: ExportTraceServiceRequest, principal: Principal) -> Received:
    """Every valid span as an Event of the principal; invalid ones and those over ``MAX_SPANS`` are counted."""
    events: list[Event] = []
    rejected, first = 0, ""
    for resource, scope, span in _spans(request):
        reason = _fault(span) if len(events) < MAX_SPANS else f"more than {MAX_SPANS} spans in one request"
        if reason:
            rejected, first = rejected + 1, first or reason
            continue
        events.append(_event(span, resource, scope, principal))
    return Received(tuple(events), rejected, first)


def _spans(request: ExportTraceServiceRequest) -> Iterator[tuple[dict[str, Json], str, Span]]:
    for group in request.resource_spans:
        resource = attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield resource, f"{scope.scope.name} {scope.scope.version}".strip(), span


def _fault(span: Span) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "a trace id must be 16 bytes, not all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "a span id must be 8 bytes, not all zero"
    if span.parent_span_id and len(span.parent_span_id) != 8:
        return "a parent span id must be 8 bytes"
    if not span.start_time_unix_nano or span.end_time_unix_nano < span.start_time_unix_nano:
        return "a span must have a start, and an end that is not before it"
    if span.end_time_unix_nano >= 2**63:
        return "a span's time is beyond what nanoseconds in 63 bits hold"
    return ""


def _event(span: Span, resource: dict[str, Json], scope: str, principal: Principal) -> Event:
    trace_id, span_id = span.trace_id.hex(), span.span_id.hex()
    status = _STATUSES.get(span.status.code, "unset")
    facts: dict[str, Json] = {"otlp.name": span.name, "otlp.kind": _KINDS.get(span.kind, "internal")}
    facts |= {"otlp.status": status, "otlp.resource": resource, "otlp.scope": scope}
    if span.status.message:
        facts["otlp.status_message"] = span.status.message
    if span.events:
        facts["otlp.events"] = [
            {"name": event.name, "time": _time(event.time_unix_nano), "attributes": attributes(event.attributes)}
            for event in span.events
        ]
    if span.links:
        facts["otlp.links"] = [
            {"trace_id": k.trace_id.hex(), "span_id": k.span_id.hex(), "attributes": attributes(k.attributes)}
            for k in span.links
        ]
    return Event(
        id=stable_id("otlp", principal.workspace, principal.agent, trace_id, span_id),
        type="otlp.span",
        time=time_of(span.start_time_unix_nano),
        workspace=principal.workspace,
        actor=f"agent:{principal.agent}",
        agent=principal.agent,
        release=principal.release,
        instance=principal.instance,
        session=principal.session,
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=span.parent_span_id.hex() or None,
        status=FeedStatus.FLAGGED if status == "error" else FeedStatus.ALLOWED,
        duration_us=(span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        data=_in_our_words(span, status) | facts,
    )


def _in_our_words(span: Span, status: str) -> dict[str, Json]:
    words = in_our_words(told(span.attributes))
    if status == "error" and "error.type" not in words:
        for event in span.events:
            kinds = [pair.value.string_value for pair in event.attributes if pair.key == "exception.type"]
            if event.name == "exception" and kinds and kinds[0]:
                words["error.type"] = kinds[0]
    return words


def _time(nanoseconds: int) -> str:
    return time_of(nanoseconds).isoformat() if nanoseconds < 2**63 else ""


def answer(received: Received) -> ExportTraceServiceResponse:
    """The response: empty success, or how many spans were rejected and why."""
    response = ExportTraceServiceResponse()
    if received.rejected:
        partial = ExportTracePartialSuccess(rejected_spans=received.rejected, error_message=received.reason)
        response.partial_success.CopyFrom(partial)
    return response
