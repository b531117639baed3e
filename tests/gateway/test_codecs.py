"""The codecs of the model APIs on recorded answers and streams, and on anything else."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenure.gateway.llm import stream
from tenure.gateway.llm.anthropic import codec as anthropic
from tenure.gateway.llm.codec import Ask, Fault, Operation, provider
from tenure.gateway.llm.gemini import codec as gemini
from tenure.gateway.llm.opaque import codec as opaque
from tenure.gateway.llm.openai import codec as openai
from tenure.gateway.llm.responses import codec as responses
from tenure.kernel.errors import Refused

FIXTURES = Path(__file__).parent / "fixtures"
OPERATIONS: dict[str, Operation] = {
    "chat": openai.CHAT,
    "embeddings": openai.EMBEDDINGS,
    "responses": responses.RESPONSES,
    "messages": anthropic.MESSAGES,
    "count": anthropic.COUNT,
    **gemini.OPERATIONS,
    "opaque": opaque.PASS,
}
CALL = {"type": "tool_call", "name": "weather", "arguments": {"city": "Paris"}}


def tokens(attributes: dict[str, Any]) -> dict[str, int]:
    return {
        name.removeprefix("gen_ai.usage.").replace("_tokens", ""): count
        for name, count in attributes.items()
        if name.startswith("gen_ai.usage.")
    }


def read(name: str) -> dict[str, Any]:
    """The attributes of a fixture, by the codec of its name."""
    by_prefix = {
        "openai_chat": openai.CHAT,
        "openai_resp": responses.RESPONSES,
        "openai_embe": openai.EMBEDDINGS,
        "anthropic_m": anthropic.MESSAGES,
        "anthropic_o": anthropic.MESSAGES,
        "gemini_gene": gemini.OPERATIONS["generateContent"],
        "gemini_bloc": gemini.OPERATIONS["generateContent"],
        "gemini_stre": gemini.OPERATIONS["streamGenerateContent"],
    }
    operation, body = by_prefix[name[:11]], (FIXTURES / name).read_bytes()
    return stream.read(operation.streamed, body) if name.endswith(".sse") else operation.answered(body)


@pytest.mark.parametrize(
    ("name", "model", "reasons", "usage"),
    [
        (
            "openai_chat.json",
            "gpt-4o-2024-08-06",
            ["stop"],
            {"input": 1117, "output": 46, "cache_read.input": 1024, "reasoning.output": 20},
        ),
        (
            "openai_chat.sse",
            "gpt-4o-2024-08-06",
            ["tool_calls"],
            {"input": 62, "output": 17, "cache_read.input": 0, "reasoning.output": 0},
        ),
        (
            "openai_responses.json",
            "o4-mini-2025-04-16",
            ["max_output_tokens"],
            {"input": 328, "output": 60, "cache_read.input": 256, "reasoning.output": 44},
        ),
        ("openai_embeddings.json", "text-embedding-3-small", None, {"input": 8}),
        (
            "anthropic_messages.json",
            "claude-sonnet-4-5-20250929",
            ["tool_use"],
            {
                "input": 25 + 100 + 2048,
                "output": 89,
                "cache_read.input": 2048,
                "cache_creation.input": 100,
                "reasoning.output": 30,
            },
        ),
        (
            "anthropic_messages.sse",
            "claude-sonnet-4-5-20250929",
            ["tool_use"],
            {"input": 472, "output": 89, "cache_read.input": 0, "cache_creation.input": 0},
        ),
        (
            "gemini_generate.json",
            "gemini-2.5-flash",
            ["STOP"],
            {"input": 62, "output": 18 + 120, "cache_read.input": 30, "reasoning.output": 120},
        ),
        ("gemini_stream.sse", "gemini-2.5-flash", ["STOP"], {"input": 9, "output": 24, "reasoning.output": 20}),
        ("gemini_blocked.json", "gemini-2.5-flash", ["PROHIBITED_CONTENT"], {"input": 7}),
    ],
)
def test_model_reasons_and_usage_are_the_providers_own(
    name: str, model: str, reasons: list[str] | None, usage: dict[str, int]
) -> None:
    seen = read(name)
    assert (seen["gen_ai.response.model"], seen.get("gen_ai.response.finish_reasons")) == (model, reasons)
    assert tokens(seen) == usage
    assert "error.type" not in seen


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("openai_chat.sse", ["tool_call"]),
        ("openai_responses.json", ["reasoning", "web_search_call", "tool_call", "text"]),
        ("anthropic_messages.json", ["reasoning", "text", "tool_call", "tool_call_response", "tool_call"]),
        ("anthropic_messages.sse", ["text", "tool_call"]),
        ("gemini_generate.json", ["reasoning", "text", "tool_call"]),
    ],
)
def test_answers_are_messages_of_the_conventions(name: str, parts: list[str]) -> None:
    message = read(name)["gen_ai.output.messages"][0]
    assert (message["role"], [part["type"] for part in message["parts"]]) == ("assistant", parts)
    call = next(part for part in reversed(message["parts"]) if part["type"] == "tool_call")
    assert {key: call[key] for key in CALL} == CALL


def test_pieces_of_text_become_one() -> None:
    assert read("anthropic_messages.sse")["gen_ai.output.messages"][0]["parts"][0]["content"] == "Okay, let's check."
    assert read("gemini_stream.sse")["gen_ai.output.messages"][0]["parts"] == [{"type": "text", "content": "It rains."}]


@pytest.mark.parametrize(
    ("name", "error", "message", "said"),
    [
        ("openai_responses_cut_off.sse", "incomplete", None, "It rains"),
        ("openai_responses_failed.sse", "upstream_error", "The model failed to generate a response.", None),
        ("anthropic_overloaded.sse", "upstream_error", "Overloaded", "Well"),
    ],
)
def test_a_stream_that_went_wrong_tells_how_far_it_came(
    name: str, error: str, message: str | None, said: str | None
) -> None:
    seen = read(name)
    assert (seen["error.type"], seen.get("error.message")) == (error, message)
    assert [part["content"] for part in seen["gen_ai.output.messages"][0]["parts"]] == ([said] if said else [])


def test_a_stream_cut_anywhere_is_read_as_far_as_it_came() -> None:
    for path in FIXTURES.glob("*.sse"):
        body = path.read_bytes()
        for end in range(0, len(body), 37):
            for operation in OPERATIONS.values():
                assert isinstance(stream.read(operation.streamed, body[:end]), dict)


def test_what_was_asked_becomes_messages() -> None:
    body: dict[str, Any] = {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "Be brief."}],
        "metadata": {"user_id": "ann"},
        "tools": [{"name": "weather", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "weather", "input": {}}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "no"}],
            },
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]},
        ],
    }
    ask = anthropic.read_messages(json.dumps(body).encode())
    assert (ask.end_user, ask.arguments["tools"], ask.arguments["max_tokens"]) == ("ann", ["weather", "web_search"], 9)
    seen = anthropic.asked(ask)
    assert seen["gen_ai.system_instructions"] == [{"type": "text", "content": "Be brief."}]
    kinds = [message["parts"][0]["type"] for message in seen["gen_ai.input.messages"]]
    assert kinds == ["text", "tool_call", "tool_call_response", "uri"]

    google = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generation_config": {"max_output_tokens": 9},
        "tools": [{"functionDeclarations": [{"name": "weather"}]}, {"googleSearch": {}}],
        "contents": [
            {"parts": [{"text": "hi"}, {"inline_data": {"mime_type": "audio/wav", "data": "AA=="}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "rain"}}}]},
        ],
    }
    ask = gemini.OPERATIONS["generateContent"].read(json.dumps(google).encode(), "m")
    assert (ask.arguments["tools"], ask.arguments["max_tokens"]) == (["weather", "googleSearch"], 9)
    seen = gemini.asked(ask)
    assert seen["gen_ai.system_instructions"] == [{"type": "text", "content": "Be brief."}]
    parts = [part for message in seen["gen_ai.input.messages"] for part in message["parts"]]
    assert [part["type"] for part in parts] == ["text", "blob", "tool_call", "tool_call_response"]
    assert parts[1]["modality"] == "audio"

    asked = {"model": "m", "instructions": "Be brief.", "input": "hi", "tools": [{"type": "web_search"}], "user": "ann"}
    ask = responses.read(json.dumps(asked).encode())
    assert (ask.end_user, ask.arguments["tools"]) == ("ann", ["web_search"])
    seen = responses.asked(ask)
    assert seen["gen_ai.input.messages"] == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]


NAMES = [
    *(
        "model",
        "messages",
        "input",
        "contents",
        "content",
        "parts",
        "type",
        "text",
        "role",
        "tools",
        "name",
        "usage",
        "choices",
        "delta",
        "index",
    ),
    *(
        "output",
        "response",
        "item",
        "candidates",
        "usageMetadata",
        "error",
        "message",
        "tool_calls",
        "function",
        "arguments",
        "data",
    ),
    *(
        "requests",
        "functionCall",
        "inlineData",
        "system",
        "source",
        "content_block",
        "output_index",
        "functionDeclarations",
    ),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES) | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=150, deadline=None)
@example(value={"type": []}, kind=None)
@example(value={"model": "m", "input": [{"content": 5}]}, kind=None)
@given(value=JSON, kind=st.sampled_from([None, "message_start", "content_block_start", "content_block_delta", "error"]))
def test_nonsense_is_refused_or_recorded_and_never_a_crash(name: str, value: Any, kind: str | None) -> None:
    operation = OPERATIONS[name]
    if kind and isinstance(value, dict):
        value = {**value, "type": kind}
    body = json.dumps(value).encode()
    with contextlib.suppress(Refused):
        ask = operation.read(body, "m" if name in gemini.OPERATIONS else "")
        assert isinstance(ask, Ask)
        json.dumps(operation.asked(ask))
    for attributes in (operation.answered(body), stream.read(operation.streamed, b"event: x\ndata: " + body + b"\n\n")):
        json.dumps(attributes)


def test_a_body_that_names_two_models_is_refused() -> None:
    generate = gemini.OPERATIONS["generateContent"].read
    assert generate(b'{"contents": [], "model": "models/m"}', "m").model == "m"
    for body in (b'{"contents": [], "model": "other"}', b'{"contents": [], "generateContentRequest": {"model": 1}}'):
        with pytest.raises(Refused, match="another model"):
            generate(body, "m")
    form = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n%s\r\n'
    assert opaque.read(form % b"a" * 2, "").model == "a"
    with pytest.raises(Refused, match="more than one"):
        opaque.read(form % b"a" + form % b"b", "")


def test_a_form_is_searched_in_a_time_that_grows_with_its_length_alone() -> None:
    for hostile in (b'content-disposition: name="model', b"content-disposition: x\r\n", b"name=model " * 2):
        opaque.read(hostile * (4_000_000 // len(hostile)), "")


def test_errors_have_the_shape_of_each_provider() -> None:
    fault = Fault(403, "permission_denied", "denied_policy", "no", {"policies": ["p"], "decision_id": "d"})
    assert json.loads(openai.error_body(fault))["error"]["policies"] == ["p"]
    assert json.loads(anthropic.error_body(fault))["error"]["type"] == "permission_error"
    google = json.loads(gemini.error_body(fault))["error"]
    assert (google["code"], google["status"]) == (403, "PERMISSION_DENIED")
    assert google["details"][0]["metadata"] == {"policies": "p", "decision_id": "d"}
    for wire in (openai.WIRE, responses.WIRE, anthropic.WIRE, gemini.WIRE):
        assert wire.broken(fault).startswith(b"\n\n")  # ends whatever event was cut in two


def test_the_provider_is_known_by_host_then_by_manifest_then_by_wire() -> None:
    assert provider("https://api.anthropic.com/v1", "openai", "openai") == ("anthropic", "api.anthropic.com")
    assert provider("http://127.0.0.1:9/v1", "google", "openai")[0] == "gcp.gemini"
    assert provider("http://127.0.0.1:9/v1", "ollama", "openai")[0] == "ollama"
    assert provider("http://127.0.0.1:9/v1", "", "anthropic")[0] == "anthropic"
