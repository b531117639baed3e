"""What holds for the readers of documents: MCP messages, arguments of policies, manifests, OTLP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import yaml

from tenure.base.documents import read_documents
from tenure.gateway.mcp import codec as mcp
from tenure.gateway.mcp.handler import _refusal
from tenure.kernel.errors import Refused
from tenure.kernel.json import digest
from tenure.kernel.values import Principal
from tenure.policy import arguments
from tenure.registry.reading import read_manifest
from tenure.telemetry.otlp import logs, spans
from tenure.telemetry.otlp.receive import status_of
from tests.fuzz.source import Source

_MCP = (
    *("jsonrpc", "2.0", "id", "method", "params", "_meta", "name", "arguments", "uri", "result", "error", "cursor"),
    *("tools/call", "initialize", "resources/read", "prompts/get", "notifications/cancelled", "requestId", "level"),
    *(mcp.META_VERSION, mcp.META_CAPABILITIES, mcp.META_CLIENT, "2026-07-28", "2025-11-25", "protocolVersion"),
)
_HEADERS = ("mcp-protocol-version", "mcp-method", "mcp-name")
_MANIFEST = (
    *("apiVersion", "tenure/v1", "kind", "Agent", "metadata", "name", "labels", "spec", "purpose", "owner", "sponsor"),
    *("a@b.cd", "framework", "openai", "model", "models", "provider", "base_url", "https://a.bc/v1", "instructions"),
    *("data_classes", "internal", "risk", "data_sensitivity", "decision_authority", "blast_radius", "servers", "url"),
    *("regulatory_exposure", "tools", "autonomy", "approve", "command", "env", "budget", "breaker", "threshold"),
)
_OTLP = (
    *("resourceSpans", "scopeSpans", "spans", "resource", "attributes", "scope", "traceId", "spanId", "parentSpanId"),
    *("name", "kind", "key", "value", "stringValue", "intValue", "doubleValue", "arrayValue", "values", "kvlistValue"),
    *("startTimeUnixNano", "endTimeUnixNano", "1700000000000000000", "events", "links", "status", "code", "NaN"),
    *("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "bytesValue", "timeUnixNano", "message", "flags"),
)
_AGENT = Principal("default", "clerk", "sha256:r1", "i1", "s1", 1)


def mcp_message(data: bytes) -> None:
    """A message is read or refused as JSON-RPC; what is made of one that was read can be sent on."""
    source = Source(data)
    if source.byte() % 2 == 0:
        pieces(source)
        return
    headers = {name: source.pick(_MCP) for name in _HEADERS if source.byte() % 2}
    if source.byte() % 4:
        given = {"jsonrpc": "2.0", "method": source.pick(_MCP), "id": source.byte(), "params": source.json(_MCP)}
        for _ in range(source.byte() % 3):
            given[source.pick(("jsonrpc", "method", "id", "params", "result", "error"))] = source.json(_MCP)
        body = msgspec.json.encode(given)
    else:
        body = source.rest()
    try:
        message = mcp.read_message(body, headers)
    except Refused as refused:
        assert refused.code in mcp.RPC_CODES, refused
        response = _refusal(refused, headers, None)
        assert response.status in (200, 400, 404), response.status
        assert isinstance(response.body, bytes)
        answer = msgspec.json.decode(response.body)
        assert answer["jsonrpc"] == "2.0"
        assert answer["id"] is None or (isinstance(answer["id"], str | int) and not isinstance(answer["id"], bool))
        assert isinstance(answer["error"]["code"], int)
        assert isinstance(answer["error"]["message"], str)
        assert mcp.error_of(response.body) == answer["error"]["code"]
        return
    if message.answer is not None:
        return
    assert message.id is None or (isinstance(message.id, str | int) and not isinstance(message.id, bool))
    for version in (*mcp.HANDSHAKE_VERSIONS, *mcp.MODERN_VERSIONS):
        sent = {**message.params, "_meta": mcp.upstream_meta(message.meta, version=version, traceparent="00-a-b-01")}
        msgspec.json.decode(mcp.request_message(1, message.method, sent))
        for value in mcp.modern_headers(version, message.method, message.params).values():
            assert value.isascii() or value == message.method
    assert set(mcp.lasting_meta(message.meta)) <= set(message.meta)
    msgspec.json.encode(mcp.initialize_result(message.params, {}, ""))


def pieces(source: Source) -> None:
    """A stream of events is the same however it arrives, and a header's value survives its wrapping."""
    text = source.some(20).decode("utf-8", "replace")
    assert mcp.decode_header(mcp.encode_header(text)) == text
    mcp.decode_header(source.some(12).decode("latin-1"))
    body = b"".join(
        source.pick((b"data: ", b"data:", b"\n", b"\r\n", b"event: x", b":", b"\r", b""))
        + source.some(source.byte() % 7)
        for _ in range(source.byte() % 24)
    )
    whole = mcp.EventCutter(1 << 20).feed(body)
    cutter = mcp.EventCutter(1 << 20)
    assert [event for piece in source.pieces(body) for event in cutter.feed(piece)] == whole
    small = mcp.EventCutter(16)
    try:
        for piece in source.pieces(body):
            assert all(len(event) <= 16 + len(piece) for event in small.feed(piece))
    except Refused as error:
        assert error.code == "too_large"


def policy_arguments(data: bytes) -> None:
    """Every value of a call has one path, is found there, and is carried exactly or not at all."""
    source = Source(data)
    names = ("amount", "to", "0", "00", "length", "a.b", "a\\", "\\.", ".", "", "items")
    try:
        value = source.json(names) if source.byte() % 8 else msgspec.json.decode(source.rest())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if not isinstance(value, dict):
        value = {"value": value}
    count = 0
    for path, leaf in arguments.leaves(value):
        count += 1
        keys = arguments.segments(path)
        assert ".".join(arguments.escape(key) for key in keys) == path
        found = arguments.lookup(value, keys)
        assert found == leaf or found != found, (path, found, leaf)  # noqa: PLR0124 (NaN is not itself)
        for bag, held in arguments.carry(leaf).items():
            assert bag in arguments.BAGS
            if bag == "decimals":
                assert float(held["__extn"]["arg"]) == float(leaf)
            else:
                assert held == leaf
    assert count <= 2 * len(data) + 8
    arguments.unrepresentable(value)


def manifest(data: bytes) -> None:
    """A file is refused with every fault, or read as a manifest that is written and read back the same."""
    source = Source(data)
    mode = source.byte() % 4
    if mode == 0:
        text = source.rest().decode("utf-8", "replace")
    elif mode == 1:
        text = json.dumps(_likely(source))
    else:
        text = yaml.safe_dump(_likely(source), allow_unicode=mode == 2)
    try:
        documents = read_documents(text, "agent.yaml")
    except Refused as error:
        _check_faults(error)
        return
    for document in documents:
        try:
            read = read_manifest(document.value)
        except Refused as error:
            _check_faults(error)
            for fault in error.details["faults"]:
                assert document.line_of(fault["path"]) >= 1
            continue
        written = read.as_json()
        assert digest(read_manifest(written).as_json()) == digest(written)


def _likely(source: Source) -> Any:
    spec: dict[str, Any] = {
        "purpose": "p",
        "owner": "a@b.cd",
        "sponsor": "a@b.cd",
        "framework": "openai",
        "instructions": "i",
        "model": {"provider": "openai", "name": "m", "base_url": "https://a.bc/v1"},
        "data_classes": ["internal"],
        "risk": {"data_sensitivity": 1, "decision_authority": 1, "blast_radius": 1, "regulatory_exposure": 1},
    }
    whole = {"apiVersion": "tenure/v1", "kind": "Agent", "metadata": {"name": "a"}, "spec": spec}
    for _ in range(source.byte() % 4):
        holder: Any = source.pick((whole, spec, spec["model"], spec["risk"]))
        holder[source.pick(_MANIFEST)] = source.json(_MANIFEST)
        if not isinstance(spec.get("model"), dict) or not isinstance(spec.get("risk"), dict):
            break
    return whole


def _check_faults(error: Refused) -> None:
    assert error.code in ("invalid_yaml", "invalid_manifest"), error
    assert error.status == 422
    assert error.details["faults"]
    json.dumps(dict(error.details))


def otlp_request(data: bytes) -> None:
    """A request is refused in OTLP's own words, or each of its spans is an Event that can be kept, or is counted."""
    source = Source(data)
    mode = source.byte() % 3
    is_json = mode != 0
    body = source.rest() if mode < 2 else json.dumps({"resourceSpans": [source.json(_OTLP), _group(source)]}).encode()
    try:
        received = spans.receive(spans.parse(body, is_json), _AGENT)
        logged = logs.receive(logs.parse(body, is_json), _AGENT, datetime(2026, 1, 1, tzinfo=UTC))
        logs.refuse_metrics(body, is_json)
    except Refused as error:
        assert error.status == 400
        assert status_of(error).message
        return
    assert bool(received.rejected) is bool(received.reason)
    for event in received.events:
        assert (event.agent, event.type, event.actor) == ("clerk", "otlp.span", "agent:clerk")
        assert not any(key.startswith("tenure.") for key in event.data)
        assert event.duration_us is not None
        assert 0 <= event.duration_us < 2**63
        assert len(msgspec.json.encode(event)) <= 12 * len(body) + 4096
    spans.answer(received)
    for event in logged.events:
        assert (event.agent, event.type, event.actor) == ("clerk", "otlp.event", "agent:clerk")
        msgspec.json.encode(event)
    logs.answer(logged)


def _group(source: Source) -> Any:
    span = {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "b7ad6b7169203331",
        "name": "n",
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000000000001000",
    }
    for _ in range(source.byte() % 4):
        span[source.pick(_OTLP)] = source.json(_OTLP)
    return {"scopeSpans": [{"spans": [span]}]}
