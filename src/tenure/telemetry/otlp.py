"""OTLP/HTTP trace requests as Events. Pure.

Source: OpenTelemetry Protocol 1.9 (encodings and partial success), trace.proto 1.9. Who a span is of comes from the
agent's own token and from nothing that the span says.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tenure.kernel.errors import Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.json import Json
from tenure.kernel.values import Event, Principal
from tenure.kernel.values import Status as FeedStatus

MAX_SPANS = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OURS = ("tenure.", "otlp.")
_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_STATUSES = {Status.STATUS_CODE_OK: "ok", Status.STATUS_CODE_ERROR: "error"}


@dataclass(frozen=True, slots=True)
class Received:
    """The Events of a request, and how many of its spans were rejected with the first reason."""

    events: tuple[Event, ...]
    rejected: int = 0
    reason: str = ""


def parse(body: bytes, is_json: bool) -> ExportTraceServiceRequest:
    """The request in a body. Raises Refused when it is none."""
    request = ExportTraceServiceRequest()
    try:
        if is_json:
            document = json.loads(body or b"{}")
            _hex_to_base64(document)
            json_format.ParseDict(document, request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
    except (DecodeError, json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(
            "malformed_otlp",
            f"The body is not an OTLP trace request: {error}",
            fix="Send ExportTraceServiceRequest as application/x-protobuf or application/json.",
        ) from error
    return request


def _hex_to_base64(document: Any) -> None:
    """OTLP's JSON writes ids in hex, where protobuf's own JSON mapping expects base64."""
    for group in document.get("resourceSpans") or ():
        for scope in group.get("scopeSpans") or ():
            for span in scope.get("spans") or ():
                for holder in (span, *(span.get("links") or ())):
                    for name in ("traceId", "spanId", "parentSpanId"):
                        if isinstance(holder.get(name), str):
                            holder[name] = base64.b64encode(_unhex(holder[name])).decode()


def _unhex(text: str) -> bytes:
    try:
        return binascii.unhexlify(text)
    except ValueError:
        return b"malformed"  # of a length that no id has: the one span is rejected, not its whole batch


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
        resource = _attributes(group.resource.attributes)
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
            {"name": event.name, "time": _time(event.time_unix_nano), "attributes": _attributes(event.attributes)}
            for event in span.events
        ]
    if span.links:
        facts["otlp.links"] = [
            {"trace_id": k.trace_id.hex(), "span_id": k.span_id.hex(), "attributes": _attributes(k.attributes)}
            for k in span.links
        ]
    return Event(
        id=stable_id("otlp", principal.workspace, principal.agent, trace_id, span_id),
        type="otlp.span",
        time=_EPOCH + timedelta(microseconds=span.start_time_unix_nano // 1000),
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
        data={_client_name(key): value for key, value in _attributes(span.attributes).items()} | facts,
    )


def _client_name(key: str) -> str:
    """An attribute that would pass for one of ours is kept under ``client.``."""
    return f"client.{key}" if key.startswith(_OURS) else key


def _time(nanoseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=nanoseconds // 1000)).isoformat() if nanoseconds < 2**63 else ""


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Json]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Json:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "double_value":
        number = value.double_value
        return number if number == number and abs(number) != float("inf") else str(number)  # noqa: PLR0124 (NaN only)
    return getattr(value, kind) if kind else None


def answer(received: Received, is_json: bool) -> bytes:
    """The response body: empty success, or how many spans were rejected and why."""
    response = ExportTraceServiceResponse()
    if received.rejected:
        partial = ExportTracePartialSuccess(rejected_spans=received.rejected, error_message=received.reason)
        response.partial_success.CopyFrom(partial)
    if is_json:
        return str(json_format.MessageToJson(response, indent=None)).encode()
    return bytes(response.SerializeToString())


def refusal(message: str, is_json: bool) -> bytes:
    """A ``google.rpc.Status`` that says why a request was refused, as OTLP/HTTP wants it."""
    if is_json:
        status: Mapping[str, Any] = {"code": 3, "message": message}
        return json.dumps(status).encode()
    text = message.encode()[:4000]
    length, prefix = len(text), bytearray(b"\x08\x03\x12")  # code: INVALID_ARGUMENT; then field 2, a text
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(prefix) + bytes([length]) + text
