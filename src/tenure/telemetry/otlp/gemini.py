"""What ADK says of a model call in Gemini's own words, as messages. Pure; each gives None for what it cannot read.

Source: google-genai 2.34 (``types.Content`` and ``types.Part`` as JSON in snake case), as google-adk puts it on spans.
"""

from __future__ import annotations

from typing import Any

from tenure.kernel.json import Json
from tenure.telemetry.otlp.readers import structured


def instructions(value: Json) -> Json:
    """The system instruction of a request: a list of parts."""
    request = structured(value)
    config = request.get("config") if isinstance(request, dict) else None
    said = config.get("system_instruction") if isinstance(config, dict) else None
    if isinstance(said, str) and said:
        return [{"type": "text", "content": said}]
    return _parts(said) or None


def asked(value: Json) -> Json:
    """The contents of a request."""
    request = structured(value)
    contents = request.get("contents") if isinstance(request, dict) else None
    if not isinstance(contents, list):
        return None
    found = [_message(content) for content in contents]
    return found if found and all(message["parts"] for message in found) else None


def answered(value: Json) -> Json:
    """The content of a response."""
    response = structured(value)
    parts = _parts(response.get("content")) if isinstance(response, dict) else []
    return [{"role": "assistant", "parts": parts}] if parts else None


def _message(content: Json) -> dict[str, Any]:
    parts = _parts(content)
    role = content.get("role") if isinstance(content, dict) else None
    if any(part["type"] == "tool_call_response" for part in parts):
        role = "tool"  # Gemini has them from the user
    return {"role": "assistant" if role == "model" else str(role or "user"), "parts": parts}


def _parts(content: Json) -> list[dict[str, Any]]:
    parts = content.get("parts") if isinstance(content, dict) else None
    return [_part(part) for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _part(part: dict[str, Any]) -> dict[str, Any]:
    call, told = part.get("function_call"), part.get("function_response")
    if isinstance(call, dict):
        return {"type": "tool_call", "id": call.get("id"), "name": call.get("name"), "arguments": call.get("args")}
    if isinstance(told, dict):
        return {"type": "tool_call_response", "id": told.get("id"), "response": told.get("response")}
    if isinstance(part.get("text"), str):
        return {"type": "reasoning" if part.get("thought") else "text", "content": part["text"]}
    return {"type": next(iter(part), "unknown"), "content": part}
