"""OTLP log records as Events, as far as they are events of the GenAI conventions; and what is said to metrics. Pure.

Tenure keeps what agents do and not what programs log: a record whose event name begins with ``gen_ai.`` is kept at its
place in the trace, every other one is rejected and counted, as are all metrics, whose figures Tenure makes itself of
the calls it has seen (docs/decisions). Source: logs.proto and metrics.proto 1.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tenure.kernel.ids import stable_id
from tenure.kernel.json import Json
from tenure.kernel.values import Event, Principal
from tenure.kernel.values import Status as FeedStatus
from tenure.telemetry.otlp.attributes import attributes, read, time_of, told, value_of
from tenure.telemetry.otlp.conventions import in_our_words, of_event
from tenure.telemetry.otlp.spans import MAX_SPANS, Received

GENAI = "gen_ai."
_ERROR = 17
"""The least severity that is an error (logs.proto, SeverityNumber)."""
_METRICS = "Tenure keeps no metrics: it counts calls, tokens and cost itself. Set OTEL_METRICS_EXPORTER=none."
_OTHERS = "only events of the GenAI conventions (gen_ai.*) are kept of logs"


def parse(body: bytes, is_json: bool) -> ExportLogsServiceRequest:
    """The request in a body. Raises Refused when it is none."""
    request = ExportLogsServiceRequest()
    read(request, body, is_json)
    return request


def receive(request: ExportLogsServiceRequest, principal: Principal, now: datetime) -> Received:
    """Every valid GenAI event as an Event of the principal; all else is counted. ``now`` is the time of a record that
    names none."""
    events: list[Event] = []
    rejected, first = 0, ""
    for resource, scope, record in _records(request):
        name = record.event_name or _old_name(record)
        reason = _fault(record, name) if len(events) < MAX_SPANS else f"more than {MAX_SPANS} events in one request"
        if reason:
            rejected, first = rejected + 1, first or reason
            continue
        events.append(_event(record, name, resource, scope, principal, now))
    return Received(tuple(events), rejected, first)


def _records(request: ExportLogsServiceRequest) -> Iterator[tuple[dict[str, Json], str, LogRecord]]:
    for group in request.resource_logs:
        resource = attributes(group.resource.attributes)
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield resource, f"{scope.scope.name} {scope.scope.version}".strip(), record


def _old_name(record: LogRecord) -> str:
    """The name of an event from before records had a field for it."""
    return next((pair.value.string_value for pair in record.attributes if pair.key == "event.name"), "")


def _fault(record: LogRecord, name: str) -> str:
    if not name.startswith(GENAI):
        return _OTHERS
    if record.trace_id and (len(record.trace_id) != 16 or not any(record.trace_id)):
        return "a trace id must be 16 bytes, not all zero"
    if record.span_id and (len(record.span_id) != 8 or not any(record.span_id)):
        return "a span id must be 8 bytes, not all zero"
    if max(record.time_unix_nano, record.observed_time_unix_nano) >= 2**63:
        return "an event's time is beyond what nanoseconds in 63 bits hold"
    return ""


def _event(  # noqa: PLR0917 (what a record is of, in the order it comes)
    record: LogRecord, name: str, resource: dict[str, Json], scope: str, principal: Principal, now: datetime
) -> Event:
    told_at = record.time_unix_nano or record.observed_time_unix_nano
    facts: dict[str, Json] = {"otlp.name": name, "otlp.resource": resource, "otlp.scope": scope}
    sent = {key: value for key, value in told(record.attributes).items() if key != "event.name"}
    body = value_of(record.body)
    message = of_event(name, body)
    data = in_our_words(sent) | message | facts
    if body is not None and not message:
        data["otlp.body"] = body
    trace_id, span_id = record.trace_id.hex(), record.span_id.hex()
    # A record has no id of its own: one that is sent again says the same at the same time.
    said = msgspec.json.encode([told_at, data], order="deterministic").decode()
    return Event(
        id=stable_id("otlp.event", principal.workspace, principal.agent, trace_id, span_id, name, said),
        type="otlp.event",
        time=time_of(told_at) if told_at else now,
        workspace=principal.workspace,
        actor=f"agent:{principal.agent}",
        agent=principal.agent,
        release=principal.release,
        instance=principal.instance,
        session=principal.session,
        trace_id=trace_id or None,
        span_id=span_id or None,
        status=FeedStatus.FLAGGED if record.severity_number >= _ERROR else FeedStatus.ALLOWED,
        data=data,
    )


def answer(received: Received) -> ExportLogsServiceResponse:
    """The response: empty success, or how many records were rejected and why."""
    response = ExportLogsServiceResponse()
    if received.rejected:
        partial = ExportLogsPartialSuccess(rejected_log_records=received.rejected, error_message=received.reason)
        response.partial_success.CopyFrom(partial)
    return response


def refuse_metrics(body: bytes, is_json: bool) -> ExportMetricsServiceResponse:
    """The response to metrics: every data point is rejected, which no client sends again. Raises Refused for a body
    that holds none."""
    request = ExportMetricsServiceRequest()
    read(request, body, is_json)
    points = 0
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                points += len(getattr(metric, kind).data_points) if kind else 0
    response = ExportMetricsServiceResponse()
    if points:
        partial = ExportMetricsPartialSuccess(rejected_data_points=points, error_message=_METRICS)
        response.partial_success.CopyFrom(partial)
    return response
