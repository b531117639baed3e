"""OTLP over gRPC: the same tokens and intake as over HTTP, errors by the protocol, and nothing answered before it is
durable."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import httpx2
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from demo.processes import free_port, until
from tenure.base import events as log
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Actor, Principal
from tenure.telemetry import service
from tenure.telemetry.otlp import over_grpc
from tenure.telemetry.otlp.receive import WAITING
from tests.sim.clock import FakeClock
from tests.sim.telemetry import opened, served

AGENT = Actor("default", "agent:clerk", principal=Principal("default", "clerk", "sha256:r1", "i1", "s1", 1))
NS = 1_767_225_600_000_000_000
TRACE = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
TOKEN = (("authorization", "Bearer agent"),)

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # what is behind is tested on both


def _span(number: int, **more: Any) -> Span:
    ids = {"trace_id": bytes([9] * 16), "span_id": bytes([number] * 8), "name": f"step {number}"}
    return Span(**{**ids, "start_time_unix_nano": NS, "end_time_unix_nano": NS + 1000, **more})


def _traces(*spans: Span) -> bytes:
    groups = [ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])]
    return bytes(ExportTraceServiceRequest(resource_spans=groups).SerializeToString())


def _who(token: str | None) -> Actor | None:
    if token == "Bearer dead":
        raise Refused("credential_revoked", "This credential is dead.", status=401)
    person = Actor("default", "person:ann@example.com")
    return {"Bearer agent": AGENT, "Bearer person": person}.get(token or "")


@contextmanager
def _listening(world: World) -> Iterator[str]:
    """The receiver on a loop of its own, as the control plane has it on its."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    close: Callable[[], Any] = run(over_grpc.serve(world, _who))
    try:
        yield f"127.0.0.1:{world.config.otlp_port}"
    finally:
        run(close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@dataclass
class Place:
    """Both doors of one store."""

    world: World
    url: str
    channel: grpc.Channel

    def send(self, body: bytes, method: str = TRACE, token: Any = TOKEN, **more: Any) -> bytes:
        """One request over gRPC."""
        return bytes(self.channel.unary_unary(method)(body, metadata=token, timeout=60, **more))

    def refused(self, body: bytes, **more: Any) -> tuple[grpc.StatusCode, RpcStatus]:
        """The code and the details that a request is refused with."""
        with pytest.raises(grpc.RpcError) as caught:
            self.send(body, **more)
        trailers = dict(caught.value.trailing_metadata() or ())
        return caught.value.code(), RpcStatus.FromString(trailers.get("grpc-status-details-bin", b""))


@pytest.fixture
def place(world: World) -> Iterator[Place]:
    config = replace(world.config, otlp_port=free_port(0), body_max_bytes=100_000, otlp_waiting_max_bytes=1000)
    world = replace(world, config=config)
    with ExitStack() as stack:
        stack.enter_context(opened(world))
        url = stack.enter_context(served(world, lambda token: _who(f"Bearer {token}")))
        address = stack.enter_context(_listening(world))
        yield Place(world, f"{url}/otlp/v1", stack.enter_context(grpc.insecure_channel(address)))


@pytest.mark.req("R086")
def test_spans_over_grpc_are_kept_as_those_of_the_token(place: Place, operator: Actor) -> None:
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        answer = place.send(_traces(_span(1), _span(2, parent_span_id=bytes([1] * 8))), compression=compression)
        assert not ExportTraceServiceResponse.FromString(answer).HasField("partial_success")
    found = service.trace(place.world, operator, "09" * 16).spans
    assert [(item.depth, item.span.name, item.span.agent) for item in found] == [
        (0, "step 1", "clerk"),
        (1, "step 2", "clerk"),
    ]
    answer = place.send(_traces(_span(3), _span(4, trace_id=b"short")))
    assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 1
    assert place.send(b"") == b""


@pytest.mark.req("R026")
def test_who_is_turned_away_is_told_once_a_minute(place: Place, clock: FakeClock) -> None:
    def told() -> list[tuple[str, str | None, int]]:
        with place.world.read() as connection:
            found = [one.event for one in log.read(connection, 0) if one.event.type == "request.refused"]
        return [(str(one.data["error.type"]), one.data.get("tenure.client.key"), one.data["count"]) for one in found]

    unknown = (("authorization", f"Bearer {'k' * 40}"),)
    for _ in range(3):
        assert place.refused(_traces(_span(1)), token=unknown)[0] is grpc.StatusCode.UNAUTHENTICATED
    [(code, mark, count)] = told()
    assert (code, count) == ("token_malformed", 1)
    assert mark
    assert "k" * 8 not in mark
    clock.advance(60)
    place.refused(_traces(_span(1)), token=unknown)
    assert [one[2] for one in told()] == [1, 3], "those of the minute before are told with the next"
    with place.world.read() as connection:
        data = log.read(connection, 0)[-1].event.data
    assert (data["client.address"], data["url.path"]) == ("127.0.0.1", "/otlp/v1/traces")


def test_every_error_has_the_code_that_the_protocol_names(place: Place) -> None:
    one = _traces(_span(1))
    assert place.refused(one, token=())[0] is grpc.StatusCode.UNAUTHENTICATED
    assert place.refused(one, token=(("authorization", "Bearer dead"),))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert place.refused(one, token=(("authorization", "Bearer person"),))[0] is grpc.StatusCode.PERMISSION_DENIED
    code, status = place.refused(b"\xff\xff")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "ExportTraceServiceRequest" in status.message
    detail = BadRequest()
    assert status.details[0].Unpack(detail)
    large = _traces(_span(1, name="x" * 200_000))  # 200 bytes once compressed
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        code, status = place.refused(large, compression=compression)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not status.details, "without RetryInfo nobody sends it again"


def test_what_cannot_be_written_now_is_turned_away_and_told_when_to_come_again(place: Place, operator: Actor) -> None:
    first: list[bytes] = []
    with place.world.db.begin():  # nobody else writes meanwhile
        sending = threading.Thread(target=lambda: first.append(place.send(_traces(_span(1, name="x" * 900)))))
        sending.start()
        until(lambda: WAITING.size > 0, "the first request to be taken in")
        code, status = place.refused(_traces(_span(2, name="y" * 900)))
        assert code is grpc.StatusCode.UNAVAILABLE
        info = RetryInfo()
        assert status.details[0].Unpack(info)
        assert info.retry_delay.seconds == 2
        answer = httpx2.post(
            f"{place.url}/traces",
            content=_traces(_span(3, name="z" * 900)),
            headers={"content-type": "application/x-protobuf", "authorization": "Bearer agent"},
        )
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
        assert RpcStatus.FromString(answer.content).message
        assert not first, "answered before it was durable"
    sending.join(60)
    assert first == [b""]
    assert len(service.trace(place.world, operator, "09" * 16).spans) == 1


def test_a_store_that_is_closed_is_tried_again(place: Place) -> None:
    service.close_store(place.world)
    code, status = place.refused(_traces(_span(1)))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert status.details[0].Is(RetryInfo.DESCRIPTOR)


def _log(name: str, old: bool = False, **more: Any) -> LogRecord:
    body = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="content", value=AnyValue(string_value="Hello"))]))
    named: dict[str, Any] = {"event_name": name}
    if old:
        named = {"attributes": [KeyValue(key="event.name", value=AnyValue(string_value=name))]}
    ids = {"trace_id": bytes([9] * 16), "span_id": bytes([1] * 8)}
    return LogRecord(**{**named, **ids, "time_unix_nano": NS, "body": body, **more})


@pytest.mark.req("R081", "R086")
def test_genai_events_stand_under_their_span_and_other_logs_are_rejected(place: Place, operator: Actor) -> None:
    place.send(_traces(_span(1)))
    records = [_log("gen_ai.user.message"), _log("gen_ai.choice", old=True), _log("app.started"), _log("")]
    body = ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])
    for _ in range(2):  # a client that sends again after a lost answer
        answer = ExportLogsServiceResponse.FromString(place.send(body.SerializeToString(), LOGS))
        assert answer.partial_success.rejected_log_records == 2
        assert "gen_ai" in answer.partial_success.error_message
    found = service.trace(place.world, operator, "09" * 16).spans
    assert found[0].span.name == "step 1"
    assert {(item.depth, item.span.name) for item in found[1:]} == {(1, "gen_ai.user.message"), (1, "gen_ai.choice")}
    headers = {"content-type": "application/json", "authorization": "Bearer agent", "content-encoding": "gzip"}
    record = {"traceId": "0c" * 16, "spanId": "0d" * 8, "timeUnixNano": str(NS), "eventName": "gen_ai.choice"}
    document = b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [%s]}]}]}' % str(record).replace("'", '"').encode()
    sent = httpx2.post(f"{place.url}/logs", content=gzip.compress(document), headers=headers)
    assert (sent.status_code, sent.json()) == (200, {})
    assert service.trace(place.world, operator, "0c" * 16).spans[0].span.parent_span_id == "0d" * 8


def test_metrics_are_rejected_in_a_way_that_no_client_sends_them_again(place: Place) -> None:
    points = [NumberDataPoint(as_int=1), NumberDataPoint(as_int=2)]
    groups = [ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=[Metric(name="m", sum=Sum(data_points=points))])])]
    body = ExportMetricsServiceRequest(resource_metrics=groups).SerializeToString()
    answer = ExportMetricsServiceResponse.FromString(place.send(body, METRICS))
    assert answer.partial_success.rejected_data_points == 2
    assert "OTEL_METRICS_EXPORTER" in answer.partial_success.error_message
    headers = {"content-type": "application/x-protobuf", "authorization": "Bearer agent"}
    sent = httpx2.post(f"{place.url}/metrics", content=body, headers=headers)
    assert ExportMetricsServiceResponse.FromString(sent.content).partial_success.rejected_data_points == 2


def test_a_taken_port_is_said(world: World) -> None:
    with _listening(replace(world, config=replace(world.config, otlp_port=free_port(0)))) as address:
        port = int(address.rpartition(":")[2])
        other = replace(world, config=replace(world.config, otlp_port=port))
        with pytest.raises(Failed, match="TENURE_OTLP_PORT"):
            asyncio.run(over_grpc.serve(other, _who))
    assert asyncio.run(over_grpc.serve(replace(world, config=replace(world.config, otlp_port=0)), _who)) is None
