"""The table of vocabularies: held against the packages that define the names, and what becomes of spans in each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from openinference.semconv import trace as openinference
from opentelemetry import semconv_ai as openllmetry
from opentelemetry.semconv._incubating.attributes import enduser_attributes, gen_ai_attributes, user_attributes
from opentelemetry.semconv.attributes import error_attributes

from tenure.telemetry.otlp import conventions
from tenure.telemetry.otlp.conventions import (
    ADK,
    BEFORE,
    COST,
    FIELDS,
    INFERENCE,
    KIND,
    KINDS,
    LLMETRY,
    NOW,
    in_our_words,
)


def _texts(holder: Any) -> Iterator[str]:
    """Every constant text of a module or a class, those of its classes and of their members included."""
    for name, value in vars(holder).items():
        if name.startswith("__"):
            continue
        if isinstance(value, str):
            yield value
        elif isinstance(value, Enum):
            yield str(value.value)
        elif isinstance(value, type) and value.__module__.startswith(("openinference", "opentelemetry")):
            yield from _texts(value)


OTEL = {
    text
    for module in (gen_ai_attributes, error_attributes, enduser_attributes, user_attributes)
    for text in _texts(module)
}
PACKAGES = {NOW: OTEL, BEFORE: OTEL, INFERENCE: set(_texts(openinference)), LLMETRY: set(_texts(openllmetry)) | OTEL}
SINCE = {f"{verb}_memory" for verb in ("create", "delete", "search", "update", "upsert")}
SINCE |= {"create_memory_store", "delete_memory_store"}
SINCE |= {f"gen_ai.memory.{name}" for name in ("query.text", "record.count", "record.id", "records", "store.id")}
"""Named at the pinned commit, after the package's last version."""


def test_every_name_in_the_table_is_one_of_its_vocabulary() -> None:
    sources = [source for field in FIELDS for source in field.sources]
    below = f"{openllmetry.SpanAttributes.TRACELOOP_ASSOCIATION_PROPERTIES}."  # any name may follow
    named = [(s.vocabulary, s.attribute) for s in sources if not s.attribute.startswith(below) and s.vocabulary != ADK]
    assert [name for who, name in named if name not in PACKAGES[who] | SINCE] == []
    values = [(who, value) for who, attribute, kinds in KINDS for value in (attribute, *kinds)]
    assert [value for who, value in values if value not in PACKAGES[who] | SINCE] == []
    assert {field.attribute for field in FIELDS} - {COST} <= OTEL | SINCE


def test_the_versions_that_are_named_are_those_that_are_installed() -> None:
    for who, package in (
        (BEFORE, "opentelemetry-semantic-conventions"),
        (INFERENCE, "openinference-semantic-conventions"),
        (LLMETRY, "opentelemetry-semantic-conventions-ai"),
    ):
        assert f"{package} {version(package)}" in conventions.PINNED[who]
    lock = (
        Path(__file__).resolve().parents[1] / "peers" / "adk" / "requirements.lock"
    )  # it has an environment of its own
    (pinned,) = re.findall(r"^google-adk==(\S+)", lock.read_text(), re.MULTILINE)
    assert pinned in conventions.PINNED[ADK]


def test_every_kind_of_span_that_openinference_has_is_ours_or_left_out_on_purpose() -> None:
    known = {value for who, _name, kinds in KINDS if who == INFERENCE for value in kinds}
    every = {str(kind.value) for kind in openinference.OpenInferenceSpanKindValues}
    assert every - known == {"CHAIN", "PROMPT", "DECISION", "UNKNOWN"}


_CALL = {"type": "tool_call", "id": "c1", "name": "refund", "arguments": {"cents": 5}}
_ASKED = [{"role": "user", "parts": [{"type": "text", "content": "Refund it."}]}]
_SAME = {
    KIND: "llm",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.provider.name": "openai",
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 3,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.input.messages": _ASKED,
    "gen_ai.output.messages": [{"role": "assistant", "parts": [_CALL]}],
    "mine": [1],
}
_LEFT: dict[str, Any] = {"mine": [1]}


@pytest.mark.req("R081", "R086")
@pytest.mark.parametrize(
    "sent",
    [
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.system": "openai",
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.usage.cache_read.input_tokens": 4,
            "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "Refund it."}]}]',
            "gen_ai.output.messages": [{"role": "assistant", "parts": [_CALL]}],
        },
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o",
            "llm.provider": "OpenAI",
            "llm.system": "openai",
            "llm.token_count.prompt": 10,
            "llm.token_count.completion": 3,
            "llm.token_count.prompt_details.cache_read": 4,
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.contents.0.message_content.type": "text",
            "llm.input_messages.0.message.contents.0.message_content.text": "Refund it.",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c1",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "refund",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"cents": 5}',
        },
        {
            "llm.request.type": "chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.system": "OpenAI",
            "gen_ai.usage.prompt_tokens": 10,
            "gen_ai.usage.completion_tokens": "3",
            "gen_ai.usage.cache_read_input_tokens": 4,
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": "Refund it.",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.tool_calls.0.id": "c1",
            "gen_ai.completion.0.tool_calls.0.name": "refund",
            "gen_ai.completion.0.tool_calls.0.arguments": '{"cents": 5}',
        },
    ],
    ids=["GenAI", "OpenInference", "OpenLLMetry"],
)
def test_a_model_call_reads_the_same_in_every_vocabulary(sent: dict[str, Any]) -> None:
    found = in_our_words(sent | _LEFT)
    said = {attribute for _who, attribute, _kinds in KINDS}
    assert {key: value for key, value in found.items() if key not in said} == _SAME


def test_what_disagrees_or_cannot_be_read_stays_as_it_came() -> None:
    sent = {"gen_ai.request.model": "a", "llm.model_name": "b", "gen_ai.usage.input_tokens": "many"}
    sent |= {"llm.input_messages.0": "x", "llm.input_messages.0.message.role": "user"}
    assert in_our_words(sent) == sent
    found = in_our_words(sent | {"llm.token_count.prompt": 7})
    assert found == sent | {"gen_ai.usage.input_tokens": 7, "client.gen_ai.usage.input_tokens": "many"}


def test_a_tools_input_and_output_are_arguments_and_result() -> None:
    shown = {"input.value": '{"cents": 5}', "output.value": "done", "input.mime_type": "application/json"}
    found = in_our_words({"openinference.span.kind": "TOOL", "tool.name": "refund", **shown})
    assert (found["gen_ai.tool.name"], found["gen_ai.tool.call.arguments"]) == ("refund", {"cents": 5})
    assert found["gen_ai.tool.call.result"] == "done"
    chain = in_our_words({"openinference.span.kind": "CHAIN", **shown})
    assert chain["input.value"] == '{"cents": 5}'
    assert KIND not in chain
    entity = {"traceloop.entity.name": "refund", "traceloop.entity.output": '{"output": "done", "kwargs": {}}'}
    told = in_our_words(
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.input": '{"inputs": {"cents": 5}, "tags": [], "kwargs": {}}',
            **entity,
        }
    )
    assert (told["gen_ai.tool.call.arguments"], told["gen_ai.tool.call.result"]) == ({"cents": 5}, "done")


def test_events_from_before_bring_their_message() -> None:
    asked = conventions.of_event("gen_ai.user.message", {"content": "Refund it."})
    assert asked == {"gen_ai.input.messages": _ASKED}
    call = {"id": "c1", "type": "function", "function": {"name": "refund", "arguments": '{"cents": 5}'}}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [call]}}
    said = conventions.of_event("gen_ai.choice", choice)["gen_ai.output.messages"][0]
    assert (said["parts"], said["finish_reason"]) == ([_CALL], "tool_calls")
    result = conventions.of_event("gen_ai.tool.message", {"id": "c1", "content": "done"})["gen_ai.input.messages"][0]
    assert result["parts"] == [{"type": "tool_call_response", "id": "c1", "response": "done"}]
    assert conventions.of_event("gen_ai.choice", "nothing") == {}


def test_a_crews_agent_is_its_role_and_calls_alone_are_an_answer() -> None:
    agent = in_our_words({"openinference.span.kind": "AGENT", "graph.node.id": "clerk"})
    assert agent["gen_ai.agent.name"] == "clerk"
    assert "gen_ai.agent.name" not in in_our_words({"openinference.span.kind": "TOOL", "graph.node.id": "clerk"})
    calls = json.dumps([{"id": "c1", "type": "function", "function": {"name": "refund", "arguments": '{"cents": 5}'}}])
    said = in_our_words({"openinference.span.kind": "LLM", "output.value": calls})
    assert said["gen_ai.output.messages"] == [{"role": "assistant", "parts": [_CALL]}]
    assert "output.value" not in said
    for other in ("[]", "[1]", '"Done."', '{"function": {}}'):
        assert in_our_words({"openinference.span.kind": "LLM", "output.value": other})["output.value"] == other


def test_what_adk_said_in_geminis_words_is_read_and_stays() -> None:
    answer = {"function_response": {"id": "c1", "name": "refund", "response": {"result": "done"}}}
    contents = [
        {"role": "user", "parts": [{"text": "Refund it."}]},
        {"role": "model", "parts": [{"function_call": {"id": "c1", "name": "refund", "args": {"cents": 5}}}]},
        {"role": "user", "parts": [answer]},
    ]
    asked = json.dumps({"config": {"system_instruction": "Be careful."}, "contents": contents})
    thought = {"text": "Let me see.", "thought": True}
    answered = json.dumps({"content": {"role": "model", "parts": [thought, {"text": "Done."}]}, "partial": False})
    found = in_our_words({"gcp.vertex.agent.llm_request": asked, "gcp.vertex.agent.llm_response": answered})
    assert found["gen_ai.system_instructions"] == [{"type": "text", "content": "Be careful."}]
    told = {"type": "tool_call_response", "id": "c1", "response": {"result": "done"}}
    assert found["gen_ai.input.messages"] == [
        *_ASKED,
        {"role": "assistant", "parts": [_CALL]},
        {"role": "tool", "parts": [told]},
    ]
    parts = [{"type": "reasoning", "content": "Let me see."}, {"type": "text", "content": "Done."}]
    assert found["gen_ai.output.messages"] == [{"role": "assistant", "parts": parts}]
    assert found["gcp.vertex.agent.llm_request"] == asked, "it says more than that"
    for unread in ("{}", "junk", "[]", '{"contents": [{}], "content": {"parts": [1]}}'):
        kept = {"gcp.vertex.agent.llm_request": unread, "gcp.vertex.agent.llm_response": unread}
        assert in_our_words(kept) == kept
    tool = {"openinference.span.kind": "TOOL", "output.value": json.dumps(answer["function_response"])}
    assert in_our_words(tool)["gen_ai.tool.call.result"] == {"result": "done"}
    before = {"gen_ai.operation.name": "execute_tool", "gcp.vertex.agent.tool_call_args": '{"cents": 5}'}
    assert in_our_words(before)["gen_ai.tool.call.arguments"] == {"cents": 5}
