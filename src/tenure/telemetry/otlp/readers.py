"""How a value of another vocabulary becomes one of ours. Pure; each gives None for what it cannot read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tenure.kernel.json import Json
from tenure.kernel.messages import messages_from_openai

_BIGGEST = 2**53
_PROVIDERS: Mapping[str, str] = {
    "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "aws": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gen_ai",
    "google_genai": "gcp.gen_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""What providers were called, or are elsewhere -> ``gen_ai.provider.name``."""


def text(value: Json) -> Json:
    """A text that says something."""
    return value if isinstance(value, str) and value else None


def name(value: Json) -> Json:
    """The name of a provider as the conventions spell it."""
    if not isinstance(value, str) or not value:
        return None
    lower = value.strip().lower().replace(" ", "_")
    return _PROVIDERS.get(lower, lower)


def count(value: Json) -> Json:
    """A number of tokens."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < _BIGGEST else None


def dollars(value: Json) -> Json:
    """A cost as a number, 0 or more."""
    return value if type(value) in (int, float) and value >= 0 else None


def structured(value: Json) -> Json:
    """What JSON says that was put into a text; a text that is none stays one."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return value


def messages(value: Json) -> Json:
    """``gen_ai.input.messages`` and its like: a list of ``{role, parts}``, structured or as JSON text."""
    found = structured(value)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        return None
    if all("parts" in item for item in found):
        return [_with_arguments(item) for item in found]
    return messages_from_openai(found) if all("role" in item for item in found) else None


def _with_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose tool calls have their arguments structured, which some send as JSON text inside."""
    parts = message["parts"]
    if not isinstance(parts, list):
        return message
    return {**message, "parts": [_with_structure(part) for part in parts]}


def _with_structure(part: Json) -> Json:
    said = part.get("arguments") if isinstance(part, dict) else None
    return {**part, "arguments": structured(said)} if isinstance(said, str) else part


def instructions(value: Json) -> Json:
    """``gen_ai.system_instructions``: a list of parts, structured, as JSON text, or as a text."""
    found = structured(value)
    if isinstance(found, str):
        return [{"type": "text", "content": found}]
    return found if isinstance(found, list) and found else None


def reasons(value: Json) -> Json:
    """``gen_ai.response.finish_reasons``: a list of texts."""
    if isinstance(value, str) and value:
        return [value]
    return value if isinstance(value, list) and value and all(isinstance(item, str) for item in value) else None


def listed(value: Json) -> Json:
    """A list with something in it."""
    found = structured(value)
    return found if isinstance(found, list) and found else None


_WRAPPED = {"inputs", "kwargs", "tags"}
_GEMINIS = {"id", "name", "response"}


def input_of_tool(value: Json) -> Json:
    """A tool's arguments, without what OpenLLMetry wraps around those of LangChain."""
    found = structured(value)
    if isinstance(found, dict) and found.keys() >= _WRAPPED:
        return found["inputs"] or structured(found.get("input_str"))
    return found


def output_of_tool(value: Json) -> Json:
    """A tool's result, without what OpenLLMetry, LangChain and Gemini's function responses wrap around it."""
    found = structured(value)
    if isinstance(found, dict) and found.keys() == _GEMINIS and isinstance(found["response"], dict):
        return found["response"]
    if isinstance(found, dict) and "output" in found and found.keys() <= {"output", "kwargs"}:
        found = structured(found["output"])
    if isinstance(found, dict):
        inner = found.get("data") if found.get("type") == "tool" else found.get("kwargs") if "lc" in found else None
        if isinstance(inner, dict) and "content" in inner:
            return structured(inner["content"])
    return found


# -- attributes that are one list, flattened


def tree(flat: Mapping[str, Json]) -> Json:
    """``{"0.a": 1, "0.b.0": 2}`` as ``[{"a": 1, "b": [2]}]``; None where a name is both a value and a holder."""
    root: dict[str, Any] = {}
    for path, value in flat.items():
        holder = root
        *way, last = path.split(".")
        for step in way:
            holder = holder.setdefault(step, {})
            if not isinstance(holder, dict):
                return None
        if last in holder:
            return None
        holder[last] = value
    return _listed(root)


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(item) for key, item in value.items()}
    if inner and all(key.isascii() and key.isdigit() and len(key) < 7 for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def openinference_messages(flat: Json) -> Json:
    """``llm.input_messages.0.message.role`` and its like as messages."""
    found = tree(flat)
    if not isinstance(found, list):
        return None
    return _as_messages([item.get("message") if isinstance(item, dict) else None for item in found])


def openinference_calls(value: Json) -> Json:
    """A model's output that is nothing but tool calls as OpenAI writes them, as a message."""
    found = structured(value)
    if not isinstance(found, list) or not found:
        return None
    if not all(isinstance(call, dict) and isinstance(call.get("function"), dict) for call in found):
        return None
    return messages_from_openai([{"role": "assistant", "content": None, "tool_calls": found}])


def openllmetry_messages(flat: Json) -> Json:
    """``gen_ai.prompt.0.role`` and its like as messages."""
    return _as_messages(tree(flat))


def _as_messages(found: Json) -> Json:
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        return None
    return messages_from_openai([_openai(item) for item in found])


def _openai(message: dict[str, Any]) -> dict[str, Any]:
    """A message as OpenAI has it, of what both flatten; what has no name there is kept under its own."""
    out = dict(message)
    if out.get("role") == "model":  # Gemini's word
        out["role"] = "assistant"
    contents = out.pop("contents", None)
    if isinstance(contents, list):
        parts = [item.get("message_content", item) if isinstance(item, dict) else item for item in contents]
        out["content"] = [_openai_part(part) for part in parts]
    elif isinstance(out.get("content"), str) and out["content"][:1] == "[" and out.get("role") != "tool":
        parts = structured(out["content"])
        if isinstance(parts, list) and all(isinstance(part, dict) and "type" in part for part in parts):
            out["content"] = parts
    calls = out.get("tool_calls")
    if isinstance(calls, list):
        out["tool_calls"] = [_openai_call(call) for call in calls]
    return out


def _openai_part(part: Json) -> Json:
    image = part.get("image") if isinstance(part, dict) else None
    if isinstance(image, dict) and isinstance(image.get("image"), dict):
        return {"type": "image_url", "image_url": image["image"]}
    return part


def _openai_call(call: Json) -> Json:
    if not isinstance(call, dict):
        return call
    inner = call.get("tool_call", call)
    if isinstance(inner, dict) and "function" not in inner and "name" in inner:  # OpenLLMetry's
        return {"id": inner.get("id"), "function": {"name": inner["name"], "arguments": inner.get("arguments")}}
    return inner


def openinference_documents(flat: Json) -> Json:
    """``retrieval.documents.0.document.id`` and its like as ``gen_ai.retrieval.documents``."""
    found = tree(flat)
    if not isinstance(found, list):
        return None
    return [item.get("document", item) if isinstance(item, dict) else item for item in found]
