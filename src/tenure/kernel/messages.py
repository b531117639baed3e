"""OpenAI's messages in the shape of the OpenTelemetry GenAI semantic conventions. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from tenure.kernel.json import Json, JsonArray, JsonObject

_RESULTS = frozenset({"tool", "function"})
"""The roles of messages that bring what a tool returned."""


def messages_from_openai(messages: JsonArray) -> JsonArray:
    """The ``messages`` of a chat completion request as ``gen_ai.input.messages``: ``[{role, parts: [...]}]``.

    Nothing is dropped: what the conventions have no name for keeps OpenAI's (a refusal, an image's ``detail``, unknown
    keys and part types), and ``content`` that was an empty text stays one, apart from absent content. A tool call's
    arguments are parsed when they are valid JSON and stay the raw text otherwise. Never raises: a message that is not
    an object becomes one of role ``unknown``.
    """
    return [_message(message) for message in messages]


def message_from_openai_choice(message: JsonObject) -> JsonObject:
    """One answer as an element of ``gen_ai.output.messages``. ``message`` is a choice (``{message, finish_reason}``,
    whose finish reason is kept) or the assistant message itself."""
    inner = message.get("message")
    if not isinstance(inner, dict):
        return _message(message, "assistant")
    out = _message(inner, "assistant")
    reason = message.get("finish_reason")
    return out if reason is None else {**out, "finish_reason": reason}


def _message(message: Json, default_role: str = "unknown") -> dict[str, Any]:
    if not isinstance(message, dict):
        return {"role": default_role, "parts": [{"type": "unparsed", "content": message}]}
    role = str(message.get("role") or default_role)
    content = message.get("content")
    if len(message) == 2 and type(content) is str and "role" in message and role not in _RESULTS:
        return {"role": role, "parts": [{"type": "text", "content": content}]}  # what nearly every message is
    used = {"role", "content", "parts"}
    parts: list[JsonObject] = []
    if isinstance(message.get("reasoning_content"), str):
        used.add("reasoning_content")
        parts.append({"type": "reasoning", "content": message["reasoning_content"]})
    if role in _RESULTS:
        used.add("tool_call_id")
        parts.append({"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content})
    else:
        parts.extend(_content(content))
    if message.get("refusal") is not None:
        parts.append({"type": "refusal", "content": message["refusal"]})
    used.add("refusal")
    calls = message.get("tool_calls")
    if isinstance(calls, (list, tuple)):
        used.add("tool_calls")
        parts.extend(_tool_call(call) for call in calls)
    if isinstance(message.get("function_call"), dict):  # the form before tools; recordings still hold it
        used.add("function_call")
        parts.append(_tool_call({"function": message["function_call"]}))
    rest = {key: value for key, value in message.items() if key not in used and value is not None}
    return {**rest, "role": role, "parts": parts}


def _content(content: Json) -> list[JsonObject]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    if isinstance(content, (list, tuple)):
        return [_part(part) for part in content]
    return [{"type": "unparsed", "content": content}]


def _tool_call(call: Json) -> JsonObject:
    if not isinstance(call, dict):
        return {"type": "unparsed", "content": call}
    function = call.get("function")
    if isinstance(function, dict):
        arguments = _arguments(function.get("arguments"))
        return {"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": arguments}
    custom = call.get("custom")
    if isinstance(custom, dict):  # a custom tool takes free text, which is never parsed
        known = {"id": call.get("id"), "name": custom.get("name"), "arguments": custom.get("input")}
        return {"type": "tool_call", **known, "kind": "custom"}
    return {"type": "unparsed", "content": call}


def _arguments(text: Json) -> Json:
    if not isinstance(text, str):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text


def _part(part: Json) -> JsonObject:
    if not isinstance(part, dict):
        return {"type": "text" if isinstance(part, str) else "unparsed", "content": part}
    kind = part.get("type")
    inner = part.get(str(kind))
    rest = {key: value for key, value in part.items() if key not in ("type", kind)}
    if kind in ("text", "refusal"):
        return {**rest, "type": kind, "content": inner}
    shape = _SHAPES.get(str(kind))
    if shape is None or not isinstance(inner, dict):
        return dict(part)  # a part type the conventions do not know: kept as it came
    return {**rest, **shape(inner)}


def _data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64 text) of a ``data:`` URL that is base64."""
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head[len("data:") : -len(";base64")], body


def _image(image: JsonObject) -> JsonObject:
    more = {key: value for key, value in image.items() if key != "url"}
    url = str(image.get("url", ""))
    data = _data_url(url)
    if data is None:
        return {**more, "type": "uri", "modality": "image", "uri": url}
    return {**more, "type": "blob", "modality": "image", "mime_type": data[0], "content": data[1]}


def _file(file: JsonObject) -> JsonObject:
    more = {key: value for key, value in file.items() if key not in ("file_id", "file_data")}
    if "file_id" in file:
        return {**more, "type": "file", "modality": "document", "file_id": file["file_id"]}
    text = str(file.get("file_data", ""))
    mime, body = _data_url(text) or ("application/octet-stream", text)
    return {**more, "type": "blob", "modality": "document", "mime_type": mime, "content": body}


def _audio(audio: JsonObject) -> JsonObject:
    more = {key: value for key, value in audio.items() if key not in ("data", "format")}
    known = {"modality": "audio", "mime_type": f"audio/{audio.get('format')}", "content": audio.get("data")}
    return {**more, "type": "blob", **known}


_SHAPES = {"image_url": _image, "input_audio": _audio, "file": _file}
