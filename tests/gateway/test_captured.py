"""What is kept of every call of a model API, on every wire, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tenure.kernel.ids import session_trace
from tests.gateway.test_bad_input import WIRES, send

USERS: dict[str, dict[str, Any]] = {
    "chat": {"safety_identifier": "eve"},
    "responses": {"safety_identifier": "eve"},
    "embeddings": {"user": "eve"},
    "messages": {"metadata": {"user_id": "eve"}},
    "gemini": {},  # whose requests have no place for it: the person that the agent acts for is told
}
OPERATIONS = {"embeddings": "embeddings", "gemini": "generate_content"}
PROVIDERS = {"messages": "anthropic", "gemini": "gcp.gemini"}
STREAMED = [(name, stream) for name, wire in WIRES.items() for stream in ((False, True) if wire.stream else (False,))]


@pytest.fixture
def house(shared_house: Any) -> Any:
    """One gateway for all of this file."""
    return shared_house


@pytest.mark.req("R091", "R110", "R075")
@pytest.mark.parametrize(("name", "stream"), STREAMED)
def test_everything_that_is_kept_of_a_call(house: Any, name: str, stream: bool) -> None:
    wire = WIRES[name]
    path, body = wire.request("echo", stream=stream)
    body |= USERS[name] | ({"stream_options": {"include_usage": True}} if name == "chat" and stream else {})
    token = house.control.token("clerk", on_behalf_of="ann@example.com")
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = {"x_tenure_session": "s7", "traceparent": trace}
    status, _, _, whole = send(house, wire, path, json.dumps(body).encode(), token, **headers)
    assert (status, whole) == (200, True)
    event = house.calls()[0]
    assert (event["type"], event["status"], event["agent"]) == ("call.completed", "allowed", "clerk")
    assert (event["release"], event["instance"], event["session"]) == ("sha256:r1", "i1", "s7")
    assert (event["trace_id"], event["parent_span_id"]) == ("a" * 32, "b" * 16) != session_trace("default", "s7")
    assert event["policy_version"] == house.control.snapshot.workspaces["default"].policy_version
    assert event["duration_us"] > 0
    data = event["data"]
    assert data["tenure.decision"]["effect"] == "allow"
    assert data["tenure.decision"]["policies"] == ["granted-models"]
    assert data["gen_ai.operation.name"] == OPERATIONS.get(name, "chat")
    assert (data["gen_ai.provider.name"], data["server.address"]) == (PROVIDERS.get(name, "openai"), "127.0.0.1")
    assert (data["gen_ai.request.model"], data["tenure.model.served"]) == ("echo", "echo")
    assert data["gen_ai.response.model"] == "echo-2026-01-01"
    assert data["gen_ai.request.stream"] is stream
    assert data["enduser.id"] == ("eve" if USERS[name] else "ann@example.com")
    assert data["http.response.status_code"] == 200
    assert data["gen_ai.input.messages"][-1]["parts"][-1]["content"] == "hello there"
    assert data["gen_ai.usage.input_tokens"] > 0
    assert ("gen_ai.response.time_to_first_chunk" in data) is stream
    if name != "embeddings":  # whose answer is numbers, and which providers tell no more of
        assert data["gen_ai.output.messages"][-1]["parts"][-1]["content"] == "You said: hello there"
        assert data["gen_ai.response.id"]
        assert data["gen_ai.response.finish_reasons"]
        for kind in ("output_tokens", "cache_read.input_tokens", "reasoning.output_tokens"):
            assert data[f"gen_ai.usage.{kind}"] > 0
