"""OpenAI's responses. Pure."""

from __future__ import annotations

import re
from typing import Any

from tenure.forks.dialects.parts import Asked, Request, Unspoken, check, kind_of, placed, text, turns, words
from tenure.forks.record import text_of
from tenure.kernel.json import JsonObject

_API = "OpenAI's responses"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def request(asked: Asked) -> Request:
    """One request; nothing of it is to be kept at the provider. Raises Refused (422)."""
    check(_API, asked, "responses", _NAME)
    items: list[dict[str, Any]] = []
    for number, role, parts in turns(asked.messages):
        with placed(_API, number, role):
            items += _items(role, parts)
    body: dict[str, Any] = {"model": asked.model, "input": items, "store": False}
    if asked.instructions:
        body["instructions"] = text_of({"parts": asked.instructions})
    if asked.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.schema),
                "strict": False,
            }
            for tool in asked.tools
        ]
    if asked.max_tokens is not None:
        body["max_output_tokens"] = asked.max_tokens
    return Request("/v1/responses", "authorization", "Bearer ", body)


def _items(role: str, parts: list[JsonObject]) -> list[dict[str, Any]]:
    """The items of a turn, in their order: a call, an answer and a message are items of their own."""
    out: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    for part in parts:
        match part.get("type"):
            case "text" | "refusal":
                content.append({"type": "input_text", "text": str(part.get("content") or "")})
            case "tool_call":
                _flush(out, role, content)
                call = {"type": "function_call", "call_id": part.get("id"), "name": part.get("name")}
                out.append({**call, "arguments": text(part.get("arguments"))})
            case "tool_call_response":
                back = {"type": "function_call_output", "call_id": part.get("id")}
                out.append({**back, "output": words(part.get("response"))})
            case "uri" if part.get("modality") == "image" and role != "assistant":
                content.append({"type": "input_image", "image_url": part.get("uri"), "detail": "auto"})
            case "blob" if part.get("modality") == "image" and role != "assistant":
                url = f"data:{part.get('mime_type')};base64,{part.get('content')}"
                content.append({"type": "input_image", "image_url": url, "detail": "auto"})
            case "reasoning":
                pass  # the provider keeps its own
            case _:
                raise Unspoken(kind_of(part))
    _flush(out, role, content)
    return out


def _flush(out: list[dict[str, Any]], role: str, content: list[dict[str, Any]]) -> None:
    if role == "assistant":  # what the model said is a plain text here: only the provider gives its parts an id
        out += [{"type": "message", "role": role, "content": one["text"]} for one in content if one.get("text")]
    elif content:
        who = role if role in ("system", "developer") else "user"
        out.append({"type": "message", "role": who, "content": list(content)})
    content.clear()
