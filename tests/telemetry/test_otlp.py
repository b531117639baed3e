"""OTLP over HTTP in its two encodings; whose a span is, and what is rejected."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tenure.base.room import World
from tenure.kernel.values import Actor, Principal
from tenure.telemetry import service
from tests.sim.telemetry import GATEWAY, chat, opened, served

AGENT = Actor(
    "default",
    "agent:clerk",
    principal=Principal("default", "clerk", "sha256:r1", "i1", "s1", credential_epoch=1),
)
NS = 1_767_225_600_000_000_000
PROTOBUF = {"content-type": "application/x-protobuf", "authorization": "Bearer agent"}
JSON = {**PROTOBUF, "content-type": "application/json"}


def _span(number: int, **more: object) -> Span:
    parent = bytes([number - 1] * 8) if number > 1 else b""
    values = {"name": f"step {number}", "kind": Span.SPAN_KIND_INTERNAL, "parent_span_id": parent, **more}
    ids = {"trace_id": bytes([9] * 16), "span_id": bytes([number] * 8)}
    times = {"start_time_unix_nano": NS + number * 1_000_000, "end_time_unix_nano": NS + number * 2_000_000}
    return Span(**{**ids, **times, **values})  # type: ignore[arg-type]  # (protobuf's constructor, by name)


def _request(*spans: Span) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])


@pytest.fixture
def url(world: World) -> Iterator[str]:
    with opened(world), served(world, lambda token: AGENT if token == "agent" else None) as address:
        yield f"{address}/otlp/v1/traces"


@pytest.mark.req("R086")
def test_an_agents_own_spans_stand_beside_its_calls(url: str, world: World, operator: Actor) -> None:
    attributes = [
        KeyValue(key="gen_ai.operation.name", value=AnyValue(string_value="retrieval")),
        KeyValue(key="ranks", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=3)]))),
        KeyValue(key="tenure.outcome.success", value=AnyValue(bool_value=True)),
    ]
    failed = Status(code=Status.STATUS_CODE_ERROR, message="index gone")
    spans = [
        _span(1, name="plan"),
        _span(2, name="retrieve", attributes=attributes, events=[Span.Event(name="hit", time_unix_nano=NS)]),
        _span(3, name="fall back", status=failed, links=[Span.Link(trace_id=bytes([1] * 16), span_id=bytes([1] * 8))]),
    ]
    body = gzip.compress(_request(*spans).SerializeToString())
    for _ in range(2):  # a client that resends after a lost answer
        answer = httpx2.post(url, content=body, headers={**PROTOBUF, "content-encoding": "gzip"})
        assert answer.status_code == 200
        assert not ExportTraceServiceResponse.FromString(answer.content).HasField("partial_success")
    found = service.trace(world, operator, "09" * 16).spans
    assert [(item.depth, item.span.name) for item in found] == [(0, "plan"), (1, "retrieve"), (2, "fall back")]
    retrieve, fell = found[1].span, found[2].span
    assert (retrieve.agent, retrieve.session, retrieve.release) == ("clerk", "s1", "sha256:r1")
    assert retrieve.attributes["ranks"] == [3]
    assert retrieve.attributes["client.tenure.outcome.success"] is True
    assert retrieve.events[0]["name"] == "hit"
    assert (fell.status, fell.status_message, fell.links[0]["trace_id"]) == ("error", "index gone", "01" * 16)


def test_json_writes_ids_in_hex(url: str, world: World, operator: Actor) -> None:
    span = {"traceId": "0a" * 16, "spanId": "0b" * 8, "name": "plan", "kind": 1, "startTimeUnixNano": str(NS)}
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{**span, "endTimeUnixNano": str(NS), "new": 1}]}]}]}
    answer = httpx2.post(url, json=document, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {})
    assert service.trace(world, operator, "0a" * 16).spans[0].span.name == "plan"


def test_invalid_spans_are_counted_and_the_others_kept(url: str, world: World, operator: Actor) -> None:
    spans = [
        _span(1),
        _span(2, trace_id=b"short"),
        _span(3, span_id=bytes(8)),
        _span(4, end_time_unix_nano=1),
        _span(5, start_time_unix_nano=2**64 - 2, end_time_unix_nano=2**64 - 1),
    ]
    answer = httpx2.post(url, content=_request(*spans).SerializeToString(), headers=PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 4
    assert "trace id" in partial.error_message
    assert len(service.trace(world, operator, "09" * 16).spans) == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff", PROTOBUF, 400),
        (b"[1]", JSON, 400),
        (b'{"resourceSpans": 7}', JSON, 400),
        (b"x", {**PROTOBUF, "content-encoding": "gzip"}, 400),
        (gzip.compress(bytes(30_000_000)), {**PROTOBUF, "content-encoding": "gzip"}, 413),
        (b"", {**PROTOBUF, "content-type": "text/plain"}, 415),
        (b"", {**PROTOBUF, "authorization": "Bearer nobody"}, 401),
    ],
)
def test_what_is_not_otlp_is_refused(url: str, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = httpx2.post(url, content=body, headers=headers)
    assert answer.status_code == status
    if headers is JSON:
        assert json.loads(answer.content)["message"]


def test_a_person_has_no_spans(world: World, operator: Actor) -> None:
    with opened(world), served(replace(world), lambda _token: operator) as address:
        assert httpx2.post(f"{address}/otlp/v1/traces", content=b"", headers=PROTOBUF).status_code == 403


def _said(key: str, value: str | int) -> KeyValue:
    said = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    return KeyValue(key=key, value=said)


@pytest.mark.req("R081")
def test_tokens_of_a_session_are_counted_once(url: str, world: World, operator: Actor) -> None:
    used = [_said("gen_ai.usage.input_tokens", 100), _said("gen_ai.usage.output_tokens", 20)]
    asked = [_said("gen_ai.operation.name", "chat"), _said("gen_ai.request.model", "gpt-4o")]
    asked.append(_said("gen_ai.provider.name", "openai"))
    run = [_said("gen_ai.operation.name", "invoke_agent")]
    spans = [_span(1, attributes=[*run, *used]), _span(2, attributes=[*asked, *used])]
    assert httpx2.post(url, content=_request(*spans).SerializeToString(), headers=PROTOBUF).status_code == 200
    own = service.list_sessions(world, operator)[0]
    assert (own.input_tokens, own.output_tokens, own.unpriced) == (100, 20, 0), "the run repeats its call's"
    assert float(own.cost_usd) > 0
    seen = chat(world.clock(), tokens=(100, 21), session="s1")
    service.ingest(world, GATEWAY, [seen])
    both = service.list_sessions(world, operator)[0]
    assert (both.input_tokens, both.output_tokens) == (100, 21), "the gateway saw the same call"
