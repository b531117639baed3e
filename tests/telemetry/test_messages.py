"""OpenAI's messages in the shape of the OpenTelemetry GenAI conventions: nothing may be lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.kernel.messages import message_from_openai_choice, messages_from_openai

CASES: list[tuple[Any, Any]] = [
    (
        {"role": "user", "content": "hello", "name": "ada"},
        {"role": "user", "name": "ada", "parts": [{"type": "text", "content": "hello"}]},
    ),
    ({"role": "assistant", "content": ""}, {"role": "assistant", "parts": [{"type": "text", "content": ""}]}),
    ({"role": "assistant", "content": None}, {"role": "assistant", "parts": []}),
    (
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"a": [1]}'}}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": [1]}}],
        },
    ),
    (
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"a": '}}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": '{"a": '}]},
    ),
    (
        {"role": "assistant", "tool_calls": [{"id": "c1", "custom": {"name": "sql", "input": "SELECT 1"}}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "sql", "arguments": "SELECT 1", "kind": "custom"}],
        },
    ),
    (
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "{}"},
        {"role": "tool", "name": "f", "parts": [{"type": "tool_call_response", "id": "c1", "response": "{}"}]},
    ),
    (
        {"role": "assistant", "content": None, "refusal": "I will not"},
        {"role": "assistant", "parts": [{"type": "refusal", "content": "I will not"}]},
    ),
    (
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "hologram", "hologram": 7},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "what is this?"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBO", "detail": "low"},
                {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"},
                {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "UklG"},
                {"type": "file", "modality": "document", "file_id": "file-1"},
                {"type": "hologram", "hologram": 7},
            ],
        },
    ),
    (7, {"role": "unknown", "parts": [{"type": "unparsed", "content": 7}]}),
]


@pytest.mark.parametrize(("given_message", "expected"), CASES)
def test_every_kind_of_message(given_message: Any, expected: Any) -> None:
    assert messages_from_openai([given_message]) == [expected]


def test_a_choice_keeps_its_finish_reason() -> None:
    answer = {"message": {"role": "assistant", "content": "done"}, "finish_reason": "stop"}
    expected = {"role": "assistant", "parts": [{"type": "text", "content": "done"}], "finish_reason": "stop"}
    assert message_from_openai_choice(answer) == expected


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
_names = st.sampled_from(["role", "content", "tool_calls", "function_call", "refusal", "name", "tool_call_id", "x"])


@given(st.lists(st.dictionaries(_names, _json, max_size=5) | _json, max_size=4))
def test_never_raises_and_loses_no_text(messages: list[Any]) -> None:
    told = repr(messages_from_openai(messages))
    for message in messages:
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            assert repr(message["content"]) in told
