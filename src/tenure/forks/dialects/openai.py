"""OpenAI's chat completions. Pure."""

from __future__ import annotations

import re
from typing import Any

from tenure.forks.dialects.parts import Asked, Request, Unspoken, check, kind_of, placed, text, turns, words
from tenure.forks.record import text_of
from tenure.kernel.json import Json, JsonObject

_API = "OpenAI's chat completions"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def request(asked: Asked) -> Request:
    """One request. Raises Refused (422)."""
    check(_API, asked, "openai", _NAME)
    said: list[dict[str, Any]] = []
    if asked.instructions:
        said.append({"role": "system", "content": text_of({"parts": asked.instructions})})
    names = {number: message.get("name") for number, message in enumerate(asked.messages, 1)}
    for number, role, parts in turns(asked.messages):
        with placed(_API, number, role):
            said += _messages(role, parts, names[number])
    body: dict[str, Any] = {"model": asked.model, "messages": said}
    if asked.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)},
            }
            for tool in asked.tools
        ]
    if asked.max_tokens is not None:
        body["max_tokens"] = asked.max_tokens
    return Request("/v1/chat/completions", "authorization", "Bearer ", body)


def _messages(role: str, parts: list[JsonObject], name: Json) -> list[dict[str, Any]]:
    out = list[dict[str, Any]]()
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in parts:
        match part.get("type"):
            case "text" | "refusal":
                content.append({"type": "text", "text": str(part.get("content") or "")})
            case "tool_call":
                function = {"name": part.get("name"), "arguments": text(part.get("arguments"))}
                calls.append({"id": part.get("id"), "type": "function", "function": function})
            case "tool_call_response":
                out.append({"role": "tool", "tool_call_id": part.get("id"), "content": words(part.get("response"))})
            case "uri" if part.get("modality") == "image" and role != "assistant":
                content.append({"type": "image_url", "image_url": {"url": part.get("uri")}})
            case "blob" if part.get("modality") == "image" and role != "assistant":
                url = f"data:{part.get('mime_type')};base64,{part.get('content')}"
                content.append({"type": "image_url", "image_url": {"url": url}})
            case "reasoning":
                pass  # the provider keeps its own
            case _:
                raise Unspoken(kind_of(part))
    if not content and not calls:
        return out or [{"role": role, "content": ""}]
    plain = len(content) == 1 and content[0]["type"] == "text"
    one: dict[str, Any] = {"role": role, "content": content[0]["text"] if plain else content or None}
    if isinstance(name, str):
        one["name"] = name
    if calls:
        one["tool_calls"] = calls
    return [*out, one]
