"""What CrewAI, AutoGen and Google ADK really send, by the instrumentation their users have, over gRPC and HTTP: one
trace with what the gateway saw, in one vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.peers.conftest import House, needs

pytestmark = [pytest.mark.timeout(900), pytest.mark.req("R080", "R081", "R086")]


@dataclass(frozen=True)
class Way:
    """One way to trace one framework. ``model``: what it says of the model that it asked for."""

    peer: str
    mode: str
    transport: str
    model: str
    env: Mapping[str, str] = field(default_factory=dict)
    wraps: bool = False  # its tools' results are Gemini's: {"result": ...}
    says: bool = True  # what was said is on the model's spans themselves, not on those around them


_CAPTURE = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}
_BEFORE = {"ADK_TELEMETRY_SCHEMA_VERSION_OPT_IN": "1"}  # OpenInference 1.0.5 reads no other
WAYS = {
    "crewai": Way("crewai", "calls", "http", "gpt-4o-2026-01-01"),
    "crewai-events": Way("crewai", "events", "grpc", "gpt-4o"),
    "autogen": Way("autogen", "openinference", "http", "gpt-4o-2024-08-06"),
    "autogen-own": Way("autogen", "own", "grpc", "gpt-4o-2026-01-01"),
    "adk": Way("adk", "openinference", "http", "openai/gpt-4o", _BEFORE, wraps=True),
    "adk-own": Way("adk", "own", "grpc", "openai/gpt-4o", _CAPTURE, wraps=True),
    "adk-before": Way("adk", "own", "http", "openai/gpt-4o", _BEFORE, wraps=True, says=False),
}


def _ways(*names: str) -> list[Any]:
    return [pytest.param(WAYS[name], id=name, marks=needs(WAYS[name].peer)) for name in names]


def _ran(house: House, way: Way, invoice: str, calls: int) -> tuple[str, list[dict[str, Any]]]:
    ran = house.run(way.peer, way.mode, invoice, env=house.over(way.transport) | dict(way.env))
    spans = house.trace(ran.trace, calls)
    assert {span["agent"] for span in spans} == {"clerk"}
    return ran.said, spans


def _steps(spans: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The agent's own spans of a kind."""
    return [s for s in spans if s["type"] == "otlp.span" and s["attributes"].get("otlp.step") == kind]


def _tools(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tool calls with what they were called with: AutoGen tells of each twice, once without."""
    return [s for s in _steps(spans, "tool") if "gen_ai.tool.call.arguments" in s["attributes"]]


@pytest.mark.parametrize("way", _ways(*(name for name in WAYS if name != "autogen-own")))  # which tells no arguments
def test_agents_tools_models_and_tokens_arrive(house: House, way: Way) -> None:
    said, spans = _ran(house, way, "I-7", 3)
    assert said.endswith("Done.")
    by_id = {span["span_id"]: span for span in spans}
    agents = _steps(spans, "agent")
    assert {span["attributes"]["gen_ai.agent.name"] for span in agents} == {"clerk"}
    models, tools = _steps(spans, "llm"), _tools(spans)
    assert [span["attributes"]["gen_ai.request.model"] for span in models] == [way.model] * 3
    used = [
        (s["attributes"]["gen_ai.usage.input_tokens"], s["attributes"]["gen_ai.usage.output_tokens"]) for s in models
    ]
    assert used == [(10, 3), (20, 4), (30, 2)]
    shown = [{"result": "I-7: 5 cents"}, {"result": "refunded 5 of I-7"}]
    assert [
        (
            span["attributes"]["gen_ai.tool.name"],
            span["attributes"]["gen_ai.tool.call.arguments"],
            span["attributes"]["gen_ai.tool.call.result"],
        )
        for span in tools
    ] == [
        ("look_up", {"invoice": "I-7"}, shown[0] if way.wraps else "I-7: 5 cents"),
        ("refund", {"invoice": "I-7", "cents": 5}, shown[1] if way.wraps else "refunded 5 of I-7"),
    ]
    for span in (*models, *tools):
        above, up = [], span
        while up["parent_span_id"] in by_id:
            up = by_id[up["parent_span_id"]]
            above.append(up["attributes"].get("otlp.step"))
        assert "agent" in above, f"{span['name']} is below no agent"
    assert {span["status"] for span in spans} == {"allowed"}
    said_by = [s["attributes"] for s in (models if way.says else spans) if "gen_ai.input.messages" in s["attributes"]]
    own = [words for words in said_by if "tenure.kind" not in words]
    assert any("Refund invoice I-7." in str(words["gen_ai.input.messages"][-1]["parts"]) for words in own)
    parts = [part for words in own for part in words["gen_ai.output.messages"][-1]["parts"]]
    calls = [(part["name"], part["arguments"]) for part in parts if part["type"] == "tool_call"]
    assert calls == [("look_up", {"invoice": "I-7"}), ("refund", {"invoice": "I-7", "cents": 5})]
    assert parts[-1]["content"] == "Done."
    seen = [span for span in spans if span["type"] == "call.completed"]
    assert [span["attributes"]["gen_ai.usage.input_tokens"] for span in seen] == [10, 20, 30], "in the same trace"


@needs("autogen")
def test_autogens_own_spans_say_who_did_what_and_not_with_what(house: House) -> None:
    said, spans = _ran(house, WAYS["autogen-own"], "I-7", 3)
    assert said == "Done."
    assert {span["attributes"]["gen_ai.agent.name"] for span in _steps(spans, "agent")} == {"clerk"}
    tools = [span["attributes"] for span in _steps(spans, "tool")]
    assert [(tool["gen_ai.tool.name"], tool["gen_ai.tool.call.id"]) for tool in tools] == [
        ("look_up", "call-look_up"),
        ("refund", "call-refund"),
    ]
    assert [s["attributes"]["gen_ai.usage.input_tokens"] for s in _steps(spans, "llm")] == [10, 20, 30]


@pytest.mark.parametrize("way", _ways("crewai", "crewai-events", "autogen", "adk-own"))
def test_what_a_tool_raised_is_an_error_of_its_span(house: House, way: Way) -> None:
    said, spans = _ran(house, way, "I-9", 1)
    assert said.endswith("too much" if way.peer == "adk" else "Done.")
    told = [s for s in _steps(spans, "tool") if s["attributes"]["gen_ai.tool.name"] == "refund"]
    (called,) = (s["attributes"] for s in _tools(spans) if s in told)
    assert called["gen_ai.tool.call.arguments"] == {"invoice": "I-9", "cents": 500}
    failed = [s for s in told if s["status"] == "flagged"]  # AutoGen's own span says so, OpenInference's of it does not
    assert [span["attributes"]["otlp.status"] for span in failed] == ["error"]
