"""A conversation in the shape of the GenAI conventions as the request of a model API. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenure.forks.record import text_of
from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonArray, JsonObject

_ANTHROPIC_TOKENS = 4096  # that API wants a bound; where the record has none
_SYSTEM = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to the gateway: ``path`` below its address, the header that the token goes into with what stands
    before it, and the body."""

    path: str
    header: str
    prefix: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the model is offered it. ``schema`` is JSON Schema of its arguments."""

    name: str
    description: str
    schema: JsonObject


def request(  # noqa: PLR0917 (the parts of a request)
    wire: str,
    model: str,
    instructions: JsonArray,
    messages: Sequence[JsonObject],
    tools: Sequence[Tool],
    max_tokens: int | None,
) -> Request:
    """One request. Raises Refused (422) for a wire, or a part of a message, that is not spoken here."""
    if wire == "openai":
        return _openai(model, instructions, messages, tools, max_tokens)
    if wire == "anthropic":
        return _anthropic(model, instructions, messages, tools, max_tokens)
    raise Refused(
        "wire_not_spoken",
        f"A fork does not speak the model API {wire}.",
        fix="Choose a model of the agent that is served over OpenAI's or Anthropic's.",
        status=422,
    )


def _cannot(kind: Json) -> Refused:
    return Refused(
        "part_not_spoken",
        f"The conversation holds a part of the kind {kind}, which a fork cannot say again.",
        fix="Fork from a step before it.",
        status=422,
    )


def _words(response: Json) -> str:
    """What a tool answered, as a text."""
    if isinstance(response, str):
        return response
    blocks = response.get("content") if isinstance(response, Mapping) else response
    if isinstance(blocks, list | tuple) and all(
        isinstance(one, Mapping) and one.get("type") == "text" for one in blocks
    ):
        return "".join(str(one.get("text") or one.get("content") or "") for one in blocks)
    return json.dumps(response, ensure_ascii=False)


def _given(arguments: Json) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


# -- OpenAI's chat completions
def _openai(
    model: str, instructions: JsonArray, messages: Sequence[JsonObject], tools: Sequence[Tool], max_tokens: int | None
) -> Request:
    said: list[dict[str, Any]] = []
    if instructions:
        said.append({"role": "system", "content": text_of({"parts": instructions})})
    for message in messages:
        said += _openai_messages(message)
    body: dict[str, Any] = {"model": model, "messages": said}
    if tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)},
            }
            for tool in tools
        ]
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    return Request("/v1/chat/completions", "authorization", "Bearer ", body)


def _openai_messages(message: JsonObject) -> list[dict[str, Any]]:
    role, out = str(message.get("role") or ""), list[dict[str, Any]]()
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in message.get("parts") or ():
        match part.get("type"):
            case "text" | "refusal":
                content.append({"type": "text", "text": str(part.get("content") or "")})
            case "tool_call":
                function = {"name": part.get("name"), "arguments": _given(part.get("arguments"))}
                calls.append({"id": part.get("id"), "type": "function", "function": function})
            case "tool_call_response":
                out.append({"role": "tool", "tool_call_id": part.get("id"), "content": _words(part.get("response"))})
            case "uri" if part.get("modality") == "image":
                content.append({"type": "image_url", "image_url": {"url": part.get("uri")}})
            case "blob" if part.get("modality") == "image":
                url = f"data:{part.get('mime_type')};base64,{part.get('content')}"
                content.append({"type": "image_url", "image_url": {"url": url}})
            case "reasoning":
                pass  # the provider keeps its own
            case other:
                raise _cannot(other)
    if not content and not calls:
        return out or [{"role": role, "content": ""}]
    plain = len(content) == 1 and content[0]["type"] == "text"
    one: dict[str, Any] = {"role": role, "content": content[0]["text"] if plain else content or None}
    if isinstance(message.get("name"), str):
        one["name"] = message["name"]
    if calls:
        one["tool_calls"] = calls
    return [*out, one]


# -- Anthropic's messages
def _anthropic(
    model: str, instructions: JsonArray, messages: Sequence[JsonObject], tools: Sequence[Tool], max_tokens: int | None
) -> Request:
    system = [text_of({"parts": instructions})] if instructions else []
    system += [text_of(message) for message in messages if message.get("role") in _SYSTEM]
    said: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in _SYSTEM:
            continue
        blocks = [
            block for part in message.get("parts") or () for block in _BLOCKS.get(str(part.get("type")), _no)(part)
        ]
        role = "assistant" if role == "assistant" else "user"
        if said and said[-1]["role"] == role:
            said[-1]["content"] += blocks
        elif blocks:
            said.append({"role": role, "content": blocks})
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens or _ANTHROPIC_TOKENS, "messages": said}
    if system:
        body["system"] = "\n\n".join(system)
    if tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.schema)} for tool in tools
        ]
    return Request("/v1/messages", "x-api-key", "", body)


def _no(part: JsonObject) -> list[dict[str, Any]]:
    raise _cannot(part.get("type"))


def _image(part: JsonObject) -> list[dict[str, Any]]:
    if part.get("modality") not in ("image", "document"):
        raise _cannot(f"{part.get('type')} of {part.get('modality')}")
    if part.get("type") == "uri":
        return [{"type": part["modality"], "source": {"type": "url", "url": part.get("uri")}}]
    source = {"type": "base64", "media_type": part.get("mime_type"), "data": part.get("content")}
    return [{"type": part["modality"], "source": source}]


_BLOCKS: Mapping[str, Callable[[JsonObject], list[dict[str, Any]]]] = {
    "text": lambda part: [{"type": "text", "text": part["content"]}] if part.get("content") else [],
    "refusal": lambda part: [{"type": "text", "text": str(part.get("content") or "")}],
    "reasoning": lambda _part: [],
    "tool_call": lambda part: [
        {
            "type": "tool_use",
            "id": part.get("id"),
            "name": part.get("name"),
            "input": part.get("arguments") if isinstance(part.get("arguments"), Mapping) else {},
        }
    ],
    "tool_call_response": lambda part: [
        {"type": "tool_result", "tool_use_id": part.get("id"), "content": _words(part.get("response"))}
    ],
    "uri": _image,
    "blob": _image,
}
