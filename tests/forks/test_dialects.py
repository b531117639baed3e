"""A recorded conversation as the request of each model API: held against the types of the providers' own clients."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import MessageParam
from google.genai import types
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputParam
from pydantic import TypeAdapter

from tenure.forks import wires
from tenure.forks.dialects.parts import Asked, Tool
from tenure.forks.record import MADE, with_ids
from tenure.kernel.errors import Refused

TOOL = Tool("weather", "Tells it.", {"type": "object", "properties": {"city": {"type": "string"}}})
SYSTEM = ({"type": "text", "content": "Be brief."},)
APIS = ("openai", "responses", "anthropic", "gemini")


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "content": words}


def _call(ident: str | None, city: str, name: str = "weather") -> dict[str, Any]:
    return {"type": "tool_call", "id": ident, "name": name, "arguments": {"city": city}}


def _back(ident: str | None, response: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_call_response", "id": ident, "response": response, **more}


TALK: tuple[dict[str, Any], ...] = (
    {"role": "user", "parts": [_text("Rain anywhere?")]},
    {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}, _text("I look."), _call("c.1", "Paris")]},
    {"role": "assistant", "parts": [_call("c2", "Rome")]},
    {"role": "tool", "parts": [_back("c.1", "rain")]},
    {"role": "tool", "parts": [_back("c2", [{"type": "text", "content": "sun"}])]},
    {"role": "assistant", "parts": [_text("In Paris.")]},
    {"role": "user", "parts": [_text("And now?")]},
)


def _asked(messages: Any = TALK, api: str = "", model: str = "m", **more: Any) -> Asked:
    return Asked(model, SYSTEM, messages, (TOOL,), 50, api, **more)


def _said(api: str, asked: Asked) -> wires.Request:
    """The request over one of the four APIs."""
    own = Asked(asked.model, asked.instructions, asked.messages, asked.tools, asked.max_tokens, api)
    return wires.request("openai", own) if api == "responses" else wires.request(api, asked)


def test_openai_gets_the_calls_of_one_turn_in_one_message() -> None:
    made = _said("openai", _asked())
    said = made.body["messages"]
    TypeAdapter(list[ChatCompletionMessageParam]).validate_python(said)
    assert [one["role"] for one in said] == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert [one["id"] for one in said[2]["tool_calls"]] == ["c.1", "c2"]
    assert (said[3]["tool_call_id"], said[4]["content"]) == ("c.1", "sun")
    assert made.body["max_tokens"] == 50


def test_responses_are_asked_as_items_and_nothing_is_left_at_the_provider() -> None:
    made = _said("responses", _asked())
    assert made.path == "/v1/responses"
    TypeAdapter(ResponseInputParam).validate_python(made.body["input"])
    kinds = [one["type"] for one in made.body["input"]]
    assert kinds == [
        *("message", "message", "function_call", "function_call"),
        *("function_call_output", "function_call_output", "message", "message"),
    ]
    assert made.body["input"][1]["content"] == "I look."
    assert (made.body["store"], made.body["instructions"], made.body["max_output_tokens"]) == (False, "Be brief.", 50)


def test_anthropic_gets_the_answers_of_all_calls_in_the_next_message_under_ids_that_it_takes() -> None:
    made = _said("anthropic", _asked())
    said = made.body["messages"]
    TypeAdapter(list[MessageParam]).validate_python(said)
    assert [one["role"] for one in said] == ["user", "assistant", "user", "assistant", "user"]
    used = [one for one in said[1]["content"] if one["type"] == "tool_use"]
    assert [one["tool_use_id"] for one in said[2]["content"]] == [one["id"] for one in used]
    assert used[0]["id"].replace("_", "").isalnum()
    assert used[1]["id"] == "c2"
    assert (made.body["system"], made.body["max_tokens"]) == ("Be brief.", 50)
    failed = [*TALK[:3], {"role": "user", "parts": [_back("c.1", "no", is_error=True), _back("c2", "sun")]}]
    assert _said("anthropic", _asked(failed)).body["messages"][2]["content"][0]["is_error"] is True


def test_gemini_gets_answers_as_objects_by_the_name_of_what_was_called() -> None:
    made = _said("gemini", _asked(model="gemini-2.5-pro"))
    assert made.path == "/v1beta/models/gemini-2.5-pro:generateContent"
    contents = [types.Content.model_validate(one) for one in made.body["contents"]]
    assert [one.role for one in contents] == ["user", "model", "user", "model", "user"]
    answers = [part["functionResponse"] for part in made.body["contents"][2]["parts"]]
    assert answers == [
        {"id": "c.1", "name": "weather", "response": {"result": "rain"}},
        {"id": "c2", "name": "weather", "response": {"result": "sun"}},
    ]
    types.Tool.model_validate(made.body["tools"][0])
    assert made.body["generationConfig"] == {"maxOutputTokens": 50}
    assert "thoughtSignature" not in str(made.body)
    newer = _said("gemini", _asked(model="gemini-3-pro")).body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in newer] == [None, *["skip_thought_signature_validator"] * 2]


def test_calls_without_ids_are_told_apart_and_what_was_made_up_is_not_said() -> None:
    told = [
        {"role": "user", "parts": [_text("Rain?")]},
        {"role": "assistant", "parts": [_call(None, "Paris"), _call(None, "Oslo", "time"), _call(None, "Rome")]},
        {"role": "user", "parts": [_back(None, 1, name="time"), _back(None, 2, name="weather"), _back(None, 3)]},
    ]
    named = with_ids(told)
    assert [part["id"] for part in named[1]["parts"]] == [f"{MADE}{number}" for number in range(3)]
    assert [part["id"] for part in named[2]["parts"]] == [f"{MADE}1", f"{MADE}0", f"{MADE}2"]
    assert with_ids(told[:2]) == named[:2], "the beginning is the same however it goes on"
    assert MADE not in str(_said("gemini", _asked(named)).body)
    assert [one["tool_call_id"] for one in _said("openai", _asked(named)).body["messages"][3:]] == [
        *(f"{MADE}1", f"{MADE}0", f"{MADE}2")
    ]


IMAGE = {"type": "uri", "modality": "image", "uri": "https://example.com/a.png"}
BLOB = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aGk="}
FILE = {"type": "file", "modality": "document", "file_id": "f1"}


@pytest.mark.parametrize("api", APIS)
def test_an_image_is_said_over_every_api(api: str) -> None:
    assert "aGk=" in str(_said(api, _asked([{"role": "user", "parts": [_text("See."), BLOB]}])).body)


@pytest.mark.parametrize(
    ("api", "parts", "says"),
    [
        *(
            (api, [FILE], "Message 2 of the conversation (user) holds a part of the kind file (document)")
            for api in APIS
        ),
        ("gemini", [IMAGE], "holds a part of the kind uri (image), which cannot be said over Gemini's API"),
        ("openai", [_back("x", [_text("a"), BLOB])], "holds a tool's answer with a part of the kind blob"),
        ("gemini", [_back("x", "1")], "holds a tool's answer to no call"),
        ("anthropic", [{**_call("x", ""), "arguments": "nonsense"}], "holds a tool call whose arguments are no object"),
        ("responses", [{"type": "web_search_call"}], "cannot be said over OpenAI's responses"),
        *((api, [_call("x", ""), BLOB], "holds a part of the kind blob (image)") for api in ("openai", "responses")),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_place(api: str, parts: Any, says: str) -> None:
    role = "assistant" if parts[0].get("type") == "tool_call" else "user"
    talk = [{"role": "user", "parts": [_text("Hi.")]}, {"role": role, "parts": parts}]
    with pytest.raises(Refused) as refusal:
        _said(api, _asked(talk, api))
    assert (refusal.value.code, refusal.value.status) == ("part_not_spoken", 422)
    assert says in refusal.value.message.replace("(assistant)", "(user)")


def test_what_one_api_allows_and_another_does_not_is_refused_before_it_is_sent() -> None:
    dotted = [{"role": "user", "parts": [_text("Hi.")]}, {"role": "assistant", "parts": [_call("a", "Rome", "a.b")]}]
    dotted.append({"role": "tool", "parts": [_back("a", "1")]})
    assert _said("gemini", _asked(dotted, "openai")).body["contents"]
    assert _said("openai", _asked(dotted, "openai")).body["messages"], "over its own it is said as it was"
    open_call = [*dotted[:2], {"role": "assistant", "parts": [_text("Well.")]}]
    for talk, code, says in (
        (dotted, "tool_not_spoken", "cannot call a tool by the name 'a.b'"),
        ([*dotted[:2], dotted[0]], "call_not_answered", "Message 2 of the conversation calls a.b"),
        (open_call[1:], "call_not_answered", "calls a.b"),
        ([{"role": "assistant", "parts": [_text("Hello.")]}], "part_not_spoken", "begins with what the model said"),
    ):
        with pytest.raises(Refused) as refusal:
            _said("anthropic", _asked(talk, "gemini"))
        assert (refusal.value.code, says in refusal.value.message) == (code, True), refusal.value.message
    own = Asked("m", (), TALK, (Tool("googleSearch", "", {}),), None, "gemini")
    with pytest.raises(Refused, match="which Google runs by itself"):
        wires.request("gemini", own)
