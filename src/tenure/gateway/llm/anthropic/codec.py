"""Anthropic's messages and token counts as values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tenure.gateway.llm.codec import (
    Ask,
    Fault,
    Operation,
    Wire,
    answer,
    model_of,
    numbers,
    parsed,
    read_object,
    responded,
    rows,
    stream_of,
    table,
    told,
    usage,
    whole,
    wrong,
)
from tenure.gateway.llm.stream import EventStream
from tenure.kernel.json import Json, JsonObject

_WHAT = "a messages request"
_COUNTS = (
    *("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"),
    "output_tokens_details",
)
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _read(body: bytes, operation: str) -> Ask:
    value = read_object(body, _WHAT)
    model, stream, messages = model_of(value, _WHAT), stream_of(value, _WHAT), value.get("messages")
    if not isinstance(messages, list):
        raise wrong(_WHAT, "`messages` must be an array", "Send at least one message.")
    arguments: dict[str, Any] = {"operation": operation, "stream": stream, "messages": len(messages)}
    if isinstance(value.get("tools"), list):
        names = [tool.get("name") or tool.get("type") for tool in rows(value["tools"])]
        arguments["tools"] = [name for name in names if isinstance(name, str)]
    if isinstance(value.get("mcp_servers"), list):  # that Anthropic would call by itself, past this gateway
        urls = [server.get("url") for server in rows(value["mcp_servers"])]
        arguments["mcp_servers"] = [url for url in urls if isinstance(url, str)]
    arguments |= numbers(value, "max_tokens")
    user = table(value.get("metadata")).get("user_id")
    return Ask(model, stream, arguments, user if isinstance(user, str) else None, value)


def read_messages(body: bytes, _path_model: str = "") -> Ask:
    """Reads a request body. Raises Refused (400) for one that is not a messages request."""
    return _read(body, "chat")


def read_count(body: bytes, _path_model: str = "") -> Ask:
    """Reads a request to count tokens. Raises Refused (400)."""
    return _read(body, "count_tokens")


def asked(ask: Ask) -> dict[str, Any]:
    """The system prompt and the messages."""
    out: dict[str, Any] = {"gen_ai.input.messages": [_message(message) for message in ask.body["messages"]]}
    if ask.body.get("system") is not None:
        out["gen_ai.system_instructions"] = _parts(ask.body["system"])
    return out


def attributes(body: bytes) -> dict[str, Any]:
    """The attributes that a whole answer tells."""
    return answer(body, lambda value: _told(value) if isinstance(value.get("content"), list) else None)


def _told(value: JsonObject) -> dict[str, Any]:
    reason = value.get("stop_reason")
    message: dict[str, Any] = {"role": "assistant", "parts": _parts(value.get("content"))}
    if isinstance(reason, str):
        message["finish_reason"] = reason
    out: dict[str, Any] = {"gen_ai.output.messages": [message]}
    responded(out, value.get("id"), value.get("model"), [reason])
    return out | _usage(table(value.get("usage")))


def _usage(spent: JsonObject) -> dict[str, int]:
    cached, written = spent.get("cache_read_input_tokens"), spent.get("cache_creation_input_tokens")
    fresh = spent.get("input_tokens")  # beside what the cache holds, where the conventions count all of it
    return usage(
        input=sum(count for count in (fresh, cached, written) if whole(count)) if whole(fresh) else None,
        output=spent.get("output_tokens"),
        cached=cached,
        written=written,
        reasoning=table(spent.get("output_tokens_details")).get("thinking_tokens"),
    )


def count_attributes(body: bytes) -> dict[str, Any]:
    """What a count of tokens tells. They were counted, not used: they are no ``gen_ai.usage``."""
    return answer(
        body,
        lambda value: {"tenure.counted_tokens": value["input_tokens"]} if whole(value.get("input_tokens")) else None,
    )


class MessageStream(EventStream):
    """Events of a message, put together as one. It is over with ``message_stop`` or a stop reason."""

    def __init__(self) -> None:
        super().__init__()
        self._message: dict[str, Any] = {}
        self._spent: dict[str, Any] = {}
        self._blocks: dict[str, dict[str, Any]] = {}

    def event(self, value: JsonObject) -> None:
        """Takes one event."""
        kind = value.get("type")
        if kind == "content_block_delta":
            self._add(str(value.get("index")), table(value.get("delta")))
        elif kind == "message_start":
            message = table(value.get("message"))
            self._message = {name: message.get(name) for name in ("id", "model", "stop_reason")}
            self._count(message)
        elif kind == "content_block_start":
            block = table(value.get("content_block"))
            if self.called.take(len(msgspec.json.encode(block))):
                self._blocks[str(value.get("index"))] = {**block, "said": {}}
        elif kind == "message_delta":
            reason = table(value.get("delta")).get("stop_reason")
            if reason is not None:
                self._message["stop_reason"], self.ended = reason, True
            self._count(value)
        elif kind == "message_stop":
            self.ended = True
        elif kind == "error":
            self.error = {"error.type": "upstream_error", **told(value)}

    def _count(self, value: JsonObject) -> None:
        usage = table(value.get("usage"))
        self._spent |= {name: usage[name] for name in _COUNTS if usage.get(name) is not None}

    def _add(self, index: str, delta: JsonObject) -> None:
        for name in ("text", "partial_json", "thinking"):
            text = delta.get(name)
            if isinstance(text, str) and (self.called if name == "partial_json" else self.said).take(len(text)):
                block = self._blocks.get(index)
                if block is None:
                    block = self._blocks[index] = {"said": {}}
                block["said"].setdefault(name, []).append(text)

    def told(self) -> dict[str, Any]:
        """As of a whole answer."""
        content = [_finished(block) for block in self._blocks.values()]
        return _told({**self._message, "content": content, "usage": self._spent})


def _finished(block: dict[str, Any]) -> dict[str, Any]:
    said = {name: "".join(words) for name, words in block.pop("said").items()}
    if "partial_json" in said:
        text = said.pop("partial_json")
        given = parsed(text.encode())
        block["input"] = text if given is None else given
    for name, text in said.items():
        before = block.get(name)
        block[name] = (before if isinstance(before, str) else "") + text
    if "type" not in block:
        block["type"] = next(iter(said), "text")
    return block


# -- blocks as parts
def _message(message: Json) -> dict[str, Any]:
    if not isinstance(message, dict):
        return {"role": "unknown", "parts": [{"type": "unparsed", "content": message}]}
    return {"role": str(message.get("role") or "unknown"), "parts": _parts(message.get("content"))}


def _parts(content: Json) -> list[JsonObject]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [_part(block) for block in content] if isinstance(content, list) else []


def _part(block: Json) -> JsonObject:  # noqa: PLR0911 (one line for each kind of block)
    if not isinstance(block, dict):
        return {"type": "unparsed", "content": block}
    match block.get("type"):
        case "text":
            return {"type": "text", "content": block.get("text")}
        case "thinking":
            return {"type": "reasoning", "content": block.get("thinking")}
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            call = {"id": block.get("id"), "name": block.get("name"), "arguments": block.get("input")}
            return {"type": "tool_call", **call}
        case "tool_result" | "mcp_tool_result" | "web_search_tool_result" | "web_fetch_tool_result":
            content = block.get("content")
            back = _parts(content) if block["type"] == "tool_result" and isinstance(content, list) else content
            out = {"type": "tool_call_response", "id": block.get("tool_use_id"), "response": back}
            return {**out, "is_error": True} if block.get("is_error") is True else out
        case "image" | "document" as kind:
            return _source(table(block.get("source")), kind) or block
        case _:
            return block


def _source(source: JsonObject, modality: str) -> JsonObject | None:
    match source.get("type"):
        case "base64":
            known = {"mime_type": source.get("media_type"), "content": source.get("data")}
            return {"type": "blob", "modality": modality, **known}
        case "url":
            return {"type": "uri", "modality": modality, "uri": source.get("url")}
        case "file":
            return {"type": "file", "modality": modality, "file_id": source.get("file_id")}
        case _:
            return None


# -- errors and models
def _error(fault: Fault) -> dict[str, Any]:
    facts = {"type": _KINDS.get(fault.status, "api_error"), "message": fault.message, "code": fault.code}
    return {"type": "error", "error": {**facts, **fault.more}}


def error_body(fault: Fault) -> bytes:
    """An error as Anthropic's clients read it."""
    return msgspec.json.encode(_error(fault))


def broken(fault: Fault) -> bytes:
    """The last event of a stream that breaks off."""
    return b"\n\nevent: error\ndata: " + error_body(fault) + b"\n\n"


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def model_list(names: Iterable[str]) -> bytes:
    """The answer to ``GET /v1/models``."""
    data = [_model(name) for name in names]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return msgspec.json.encode({"data": data, "has_more": False, **ends})


def model_body(name: str) -> bytes:
    """The answer to ``GET /v1/models/{name}``."""
    return msgspec.json.encode(_model(name))


WIRE = Wire("anthropic", "x-api-key", "", error_body, broken, model_list, model_body)
MESSAGES = Operation("chat", read_messages, asked, attributes, MessageStream)
COUNT = Operation("count_tokens", read_count, asked, count_attributes, MessageStream)
