"""The wire of MCP, without a wire."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from tenure.gateway.mcp import codec
from tenure.gateway.mcp.connection import with_token
from tenure.gateway.mcp.session import capabilities_of, flags_of, owns_session, session_id, within
from tenure.gateway.mcp.tools import check_param_headers, param_headers, read_tool
from tenure.kernel.errors import Refused
from tenure.kernel.naming import NAME_LIMIT, exposed_name, uri_matches
from tenure.kernel.values import Principal

MODERN = "2026-07-28"


def _envelope(method: str, params: dict[str, Any] | None = None) -> tuple[bytes, dict[str, str]]:
    meta = {codec.META_VERSION: MODERN, codec.META_CAPABILITIES: {}}
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**(params or {}), "_meta": meta}}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
    if params and "name" in params:
        headers["mcp-name"] = params["name"]
    return json.dumps(body).encode(), headers


def test_the_versions_are_those_of_the_protocol() -> None:
    assert codec.HANDSHAKE_VERSIONS == HANDSHAKE_PROTOCOL_VERSIONS
    assert codec.MODERN_VERSIONS == MODERN_PROTOCOL_VERSIONS


def test_a_request_of_either_life_is_read() -> None:
    old = codec.read_message(b'{"jsonrpc":"2.0","id":"a","method":"ping"}', {"mcp-protocol-version": "2025-11-25"})
    assert (old.method, old.id, old.modern) == ("ping", "a", False)
    new = codec.read_message(*_envelope("tools/call", {"name": "a__b"}))
    assert (new.method, new.id, new.modern, new.version) == ("tools/call", 7, True, MODERN)


def test_a_refusal_repeats_no_id_that_json_rpc_does_not_know() -> None:
    for identity in ("[1]", '{"a":1}', "1.5", "true"):
        with pytest.raises(Refused) as refused:
            codec.read_message(b'{"jsonrpc":"2.0","id":%s,"method":5}' % identity.encode(), {})
        assert refused.value.details.get("id") is None


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"{", {}, "bad_json"),
        (b"[" * 5000 + b"]" * 5000, {}, "json_too_deep"),
        (b"[]", {}, "invalid_request"),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', {}, "invalid_request"),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', {}, "invalid_request"),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', {}, "invalid_request"),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', {}, "invalid_request"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', {}, "invalid_request"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', {"mcp-protocol-version": MODERN}, "invalid_params"),
        (b'{"jsonrpc":"2.0","method":"notifications/x"}', {"mcp-protocol-version": "2031-01-01"}, "unsupported"),
    ],
)
def test_noise_is_refused(body: bytes, headers: dict[str, str], code: str) -> None:
    with pytest.raises(Refused) as caught:
        codec.read_message(body, headers)
    assert caught.value.code.startswith(code)
    assert codec.RPC_CODES[caught.value.code] < 0


@pytest.mark.parametrize(
    ("header", "value"),
    [("mcp-method", "tools/list"), ("mcp-name", "a__c"), ("mcp-name", None), ("mcp-protocol-version", "2025-11-25")],
)
def test_headers_that_say_something_else_than_the_body_are_refused(header: str, value: str | None) -> None:
    body, headers = _envelope("tools/call", {"name": "a__b"})
    changed = {name: text for name, text in {**headers, header: value}.items() if text is not None}
    with pytest.raises(Refused) as caught:
        codec.read_message(body, changed)
    assert caught.value.code == "header_mismatch"


def test_an_unknown_version_is_told_the_known_ones() -> None:
    body, headers = _envelope("tools/list")
    headers["mcp-protocol-version"] = "2031-01-01"
    with pytest.raises(Refused) as caught:
        codec.read_message(body.replace(MODERN.encode(), b"2031-01-01"), headers)
    error = codec.refusal_error(caught.value)
    assert error["code"] == -32022
    assert error["data"] == {"supported": [*codec.HANDSHAKE_VERSIONS, MODERN], "requested": "2031-01-01"}


@given(st.text())
def test_header_values_survive(text: str) -> None:
    encoded = codec.encode_header(text)
    assert encoded.isascii()
    assert "\n" not in encoded
    assert codec.decode_header(encoded) == text


@given(st.lists(st.text(alphabet="ab{}\n ", min_size=1), min_size=1), st.integers(1, 7))
def test_an_event_stream_is_cut_the_same_however_it_arrives(texts: list[str], step: int) -> None:
    messages = [json.dumps({"text": text}).encode() for text in texts]
    stream = b": ping\r\n\r\n" + b"".join(codec.sse(message) for message in messages)
    cutter = codec.EventCutter(1 << 20)
    out = [event for at in range(0, len(stream), step) for event in cutter.feed(stream[at : at + step])]
    assert out == messages


def test_an_endless_event_is_refused() -> None:
    with pytest.raises(Refused, match="larger than 100 bytes"):
        codec.EventCutter(100).feed(b"data: " + b"x" * 200)


def test_a_session_belongs_to_one_instance_and_is_remembered_by_nobody() -> None:
    ada = Principal("default", "ada", "r", "i1", "s", 0)
    session = session_id(ada, "n")
    assert owns_session(ada, session)
    assert not owns_session(Principal("default", "bob", "r", "i1", "s", 0), session)
    assert not owns_session(Principal("default", "ada", "r", "i2", "s", 0), session)
    assert not owns_session(ada, "made-up")


_NAMES = st.text(min_size=1, max_size=80)


@given(_NAMES, _NAMES, _NAMES, _NAMES)
def test_two_tools_never_share_a_name(server: str, tool: str, server2: str, tool2: str) -> None:
    name = exposed_name(server, tool)
    assert 0 < len(name) <= NAME_LIMIT
    assert all(char.isascii() and (char.isalnum() or char in "_-") for char in name)
    assert (name == exposed_name(server2, tool2)) == ((server, tool) == (server2, tool2))


def test_names_that_look_alike_are_told_apart() -> None:
    assert exposed_name("files", "read_file") == "files__read_file"
    assert (
        len({exposed_name("a__b", "c"), exposed_name("a", "b__c"), exposed_name("a_", "b"), exposed_name("a", "_b")})
        == 4
    )


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "items": {"type": "array", "items": {"type": "integer"}}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "a", "items": [1]}, ""),
        ({}, "arguments: 'name' is a required property (required: name)"),
        ({"name": 1}, "name: 1 is not of type 'string' (give string)"),
        ({"name": "a", "items": [1, "x"]}, "items[1]: 'x' is not of type 'integer' (give integer)"),
        ({"name": "a", "nmae": 1}, "(known: items, name)"),
    ],
)
@pytest.mark.req("R047")
def test_arguments_are_told_where_they_are_wrong_and_what_is_right(arguments: dict[str, Any], told: str) -> None:
    fault = read_tool({"name": "t", "inputSchema": SCHEMA}).check(arguments)
    assert told in fault
    assert bool(fault) == bool(told)


def test_a_million_faults_cost_no_more_than_ten() -> None:
    schema = {"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}}
    begun = time.perf_counter()
    told = read_tool({"name": "t", "inputSchema": schema}).check({"names": [1] * 1_000_000})
    assert time.perf_counter() - begun < 1.0  # telling them all would take half a minute, and gigabytes
    assert told.count("is not of type") == 10


def test_a_schema_that_cannot_be_used_lets_nothing_through_and_is_never_fetched() -> None:
    assert "not usable" in read_tool({"name": "t", "inputSchema": {"type": "nonsense"}}).check({})
    assert "not usable" in read_tool({"name": "t"}).check({})
    assert "not usable" in read_tool({"name": "t", "inputSchema": {"$ref": "http://127.0.0.1:9/s.json"}}).check({})


def test_annotated_parameters_are_repeated_in_headers() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    tool = read_tool({"name": "t", "inputSchema": schema})
    assert param_headers(tool, {"region": "eu"}) == {"mcp-param-region": "eu"}
    check_param_headers(tool, {"region": "eu"}, {"mcp-param-region": "eu"})
    with pytest.raises(Refused, match="mcp-param-region"):
        check_param_headers(tool, {"region": "eu"}, {"mcp-param-region": "us"})
    with pytest.raises(Refused, match="mcp-param-region"):
        check_param_headers(tool, {"region": "eu"}, {})


def test_meta_goes_on_without_what_belongs_to_one_connection() -> None:
    meta = {"progressToken": "p", codec.META_VERSION: MODERN, codec.META_CAPABILITIES: {"x": 1}, "com.example/k": 1}
    old = codec.upstream_meta(meta, version="2025-11-25", traceparent="00-a-b-01")
    assert old == {"progressToken": "p", "com.example/k": 1, "traceparent": "00-a-b-01"}
    assert with_token({"_meta": old}, 3)["_meta"]["progressToken"] == 3
    assert "progressToken" not in with_token({"_meta": {}}, 3)["_meta"]
    assert codec.upstream_meta(meta, version=MODERN)[codec.META_CAPABILITIES] == {"x": 1}


def test_a_session_tells_what_its_client_can_be_asked() -> None:
    able = {"sampling": {"tools": {}}, "elicitation": {}, "roots": {"listChanged": True}}
    session = session_id(Principal("default", "ada", "r", "i1", "s", 0), "n", flags_of(able))
    assert capabilities_of(session) == {"sampling": {"tools": {}}, "elicitation": {"form": {}}, "roots": {}}
    assert capabilities_of("made-up") == {}
    assert within(able, ["elicitation"]) == {"elicitation": {}}


@pytest.mark.parametrize(
    ("pattern", "uri", "covered"),
    [
        ("file:///reports/*", "file:///reports/2026/may.txt", True),
        ("file:///reports/*", "file:///reports/../secrets", False),
        ("file:///reports/*", "file:///reports/%252e%252e/secrets", False),
        ("file:///reports/*.txt", "file:///reports/a.pdf", False),
        ("test://*/data", "test://template/1/data", True),
        ("crm://a", "crm://ab", False),
        ("crm://a.b", "crm://axb", False),
    ],
)
def test_a_pattern_covers_what_it_says_and_does_not_climb(pattern: str, uri: str, covered: bool) -> None:
    assert uri_matches(pattern, uri) is covered


def test_no_pattern_is_slow() -> None:
    begun = time.perf_counter()
    assert not uri_matches("*a" * 200 + "b", "a" * 4000)
    assert time.perf_counter() - begun < 1.0


def test_a_prefix_of_its_own_is_put_before_a_name() -> None:
    assert exposed_name("crm", "search", "") == "search"
    assert exposed_name("crm", "search", "c_") == "c_search"
