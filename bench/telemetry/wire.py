"""The spans of ``spans.py`` as exporters send them: OTLP requests in protobuf, the same bytes for whoever takes them.

As the GenAI conventions of OpenTelemetry have it (what is structured is JSON in a text), with ``session.id`` and
``user.id`` as Phoenix and MLflow read them too. A session is a trace; its root, the agent's own span, ends last and so
comes last. Eight processes export, each its own sessions, 512 spans in a request: what OpenTelemetry's batch processor
sends unless it is told otherwise.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from bench.telemetry.spans import END, Fleet
from tenure.kernel.values import Event

PROCESSES = 8
BATCH = 512
"""``OTEL_BSP_MAX_EXPORT_BATCH_SIZE`` of the SDKs, unless it is set."""
PROJECT = "fleet"


@dataclass(frozen=True, slots=True)
class Export:
    """One request: of which process, its bytes, and how many spans of which trace (hexadecimal) are in it."""

    process: int
    body: bytes
    traces: Counter[str]

    @property
    def spans(self) -> int:
        """How many it brings."""
        return self.traces.total()


@dataclass(slots=True)
class _Session:
    """What its root is made of."""

    left: int
    began: int
    ended: int


def _nanos(event: Event, until: datetime) -> tuple[int, int]:
    start = int((until - (END - event.time)).timestamp() * 1e6) * 1000
    return start, start + event.duration_us * 1000 if event.duration_us else start


def _value(value: Any) -> AnyValue:
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(string_value=value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))


def _pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _words(event: Event) -> dict[str, Any]:
    """What the agent's own instrumentation says of it: nothing that a gateway adds."""
    told = {name: value for name, value in event.data.items() if not name.startswith(("tenure.", "enduser."))}
    told |= {"gen_ai.agent.name": event.agent, "gen_ai.conversation.id": event.session, "session.id": event.session}
    return told | ({"user.id": event.data["enduser.id"]} if "enduser.id" in event.data else {})


def _span(event: Event, until: datetime) -> Span:
    words = _words(event)
    what = words["gen_ai.operation.name"]
    start, end = _nanos(event, until)
    code = Status.STATUS_CODE_ERROR if "error.type" in words else Status.STATUS_CODE_OK
    return Span(
        trace_id=bytes.fromhex(event.trace_id or ""),
        span_id=bytes.fromhex(event.span_id or ""),
        parent_span_id=bytes.fromhex(event.parent_span_id or ""),
        name=f"{what} {words.get('gen_ai.request.model') or words.get('gen_ai.tool.name')}",
        kind=Span.SPAN_KIND_CLIENT if what == "chat" else Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        attributes=_pairs(words),
        status=Status(code=code),
    )


def _root(event: Event, session: _Session) -> Span:
    names = {"gen_ai.agent.name": event.agent, "gen_ai.conversation.id": event.session, "session.id": event.session}
    return Span(
        trace_id=bytes.fromhex(event.trace_id or ""),
        span_id=bytes.fromhex(event.parent_span_id or ""),
        name=f"invoke_agent {event.agent}",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=session.began,
        end_time_unix_nano=session.ended,
        attributes=_pairs({"gen_ai.operation.name": "invoke_agent", **names}),
        status=Status(code=Status.STATUS_CODE_OK),
    )


def _sessions(steps: int, until: datetime) -> dict[str, _Session]:
    found: dict[str, _Session] = {}
    fleet = Fleet(steps)
    for _ in range(steps):
        event = fleet.event()
        start, end = _nanos(event, until)
        session = found.setdefault(event.trace_id or "", _Session(0, start, end))
        session.left += 1
        session.ended = max(session.ended, end)
    return found


def _export(process: int, spans: list[Span]) -> Export:
    resource = Resource(attributes=_pairs({"service.name": f"agents-{process}", "openinference.project.name": PROJECT}))
    scope = ScopeSpans(scope=InstrumentationScope(name="bench", version="1"), spans=spans)
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])])
    return Export(process, request.SerializeToString(), Counter(span.trace_id.hex() for span in spans))


def exports(steps: int, until: datetime) -> Iterator[Export]:
    """The requests in the order in which they are sent: ``steps`` model and tool calls over 30 days, the last one at
    ``until``, with the root of each session."""
    sessions, fleet = _sessions(steps, until), Fleet(steps)
    waiting: list[list[Span]] = [[] for _ in range(PROCESSES)]
    for _ in range(steps):
        event = fleet.event()
        trace = event.trace_id or ""
        process, session = int(trace[:4], 16) % PROCESSES, sessions[trace]
        queue = waiting[process]
        queue.append(_span(event, until))
        session.left -= 1
        if not session.left:
            queue.append(_root(event, session))
        while len(queue) >= BATCH:
            yield _export(process, queue[:BATCH])
            del queue[:BATCH]
    for process, queue in enumerate(waiting):
        if queue:
            yield _export(process, queue)
