"""OpenAI's responses as values: what a request asks for, what an answer or a stream of events said. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from tenure.gateway.llm.codec import (
    CAPTURE_MAX,
    Ask,
    Fault,
    Operation,
    answer,
    model_of,
    numbers,
    parsed,
    read_object,
    responded,
    rows,
    stream_of,
    table,
    usage,
    wrong,
)
from tenure.gateway.llm.openai.codec import WIRE as OPENAI
from tenure.gateway.llm.stream import EventStream
from tenure.kernel.json import Json, JsonObject

_WHAT = "a responses request"
_ENDED = {"response.completed", "response.incomplete", "response.failed"}


def read(body: bytes, _path_model: str = "") -> Ask:
    """Reads a request body. Raises Refused (400) for one that is not a request for a response."""
    value = read_object(body, _WHAT)
    model, stream, given = model_of(value, _WHAT), stream_of(value, _WHAT), value.get("input")
    if given is not None and not isinstance(given, (str, list)):
        raise wrong(_WHAT, "`input` must be a text or an array", "Send a text or an array of items.")
    count = len(given) if isinstance(given, list) else int(given is not None)
    arguments: dict[str, Any] = {"operation": "chat", "stream": stream, "messages": count}
    if isinstance(value.get("tools"), list):
        # A tool that OpenAI runs itself has no name but its type; policy must be able to see either.
        names = [tool.get("name") or tool.get("server_label") or tool.get("type") for tool in rows(value["tools"])]
        arguments["tools"] = [name for name in names if isinstance(name, str)]
    arguments |= numbers(value, "max_output_tokens")
    if isinstance(value.get("background"), bool):
        arguments["background"] = value["background"]
    users = (value.get("safety_identifier"), value.get("user"))
    return Ask(model, stream, arguments, next((user for user in users if isinstance(user, str)), None), value)


def asked(ask: Ask) -> dict[str, Any]:
    """The instructions and the input items as messages."""
    given = ask.body.get("input")
    items: list[Any] = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    out: dict[str, Any] = {"gen_ai.input.messages": [_message(item) for item in items], "openai.api.type": "responses"}
    if isinstance(ask.body.get("instructions"), str):
        out["gen_ai.system_instructions"] = [{"type": "text", "content": ask.body["instructions"]}]
    if isinstance(ask.body.get("previous_response_id"), str):
        out["tenure.previous_response.id"] = ask.body["previous_response_id"]
    return out


def attributes(body: bytes) -> dict[str, Any]:
    """The attributes that a whole answer tells."""
    return answer(body, _told)


def _told(value: JsonObject) -> dict[str, Any] | None:
    if not isinstance(value.get("output"), list):
        return None
    reason = table(value.get("incomplete_details")).get("reason") or value.get("status")
    parts = [part for item in value["output"] for part in _message(item)["parts"]]
    message: dict[str, Any] = {"role": "assistant", "parts": parts}
    if isinstance(reason, str):
        message["finish_reason"] = reason
    out: dict[str, Any] = {"gen_ai.output.messages": [message]}
    responded(out, value.get("id"), value.get("model"), [reason])
    spent = table(value.get("usage"))
    out |= usage(
        input=spent.get("input_tokens"),
        output=spent.get("output_tokens"),
        cached=table(spent.get("input_tokens_details")).get("cached_tokens"),
        reasoning=table(spent.get("output_tokens_details")).get("reasoning_tokens"),
    )
    if value.get("status") == "failed":
        out |= {"error.type": "upstream_error", **_problem(value.get("error"))}
    return out


def _problem(error: Json) -> dict[str, Any]:
    message = table(error).get("message")
    return {"error.message": message[:1000]} if isinstance(message, str) else {}


class ResponseStream(EventStream):
    """Events of a response. Told are the attributes of the response that its last event holds, or, of a stream that was
    cut off, of the items that were done and the text that had begun."""

    def __init__(self) -> None:
        super().__init__()
        self._last: JsonObject | None = None
        self._begun: JsonObject = {}
        self._done: dict[str, JsonObject] = {}
        self._text: dict[str, list[str]] = {}

    def event(self, value: JsonObject) -> None:
        """Takes one event."""
        kind, place = value.get("type"), str(value.get("output_index"))  # either may be anything
        if kind == "response.output_text.delta":
            if isinstance(value.get("delta"), str) and self.said.take(len(value["delta"])):
                self._text.setdefault(place, []).append(value["delta"])
        elif kind == "response.output_item.done" and isinstance(value.get("item"), dict):
            item = value["item"]
            room = self.said if item.get("type", "message") == "message" else self.called
            if room.take(len(msgspec.json.encode(item))):
                self._done[place] = item
        elif kind == "response.created":
            self._begun = table(value.get("response"))
        elif isinstance(kind, str) and kind in _ENDED and isinstance(value.get("response"), dict):
            self._last, self.ended = value["response"], True
        elif kind == "error":
            self.error = {"error.type": "upstream_error", **_problem(value.get("error") or value)}

    def told(self) -> dict[str, Any]:
        """As of a whole answer."""
        pieces = {place: _assistant("".join(words)) for place, words in self._text.items()}
        output = list((pieces | self._done).values())
        if self._last is None:
            return _told({**self._begun, "status": None, "output": output}) or {}
        if isinstance(self._last.get("output"), list) and len(msgspec.json.encode(self._last["output"])) > CAPTURE_MAX:
            self.said.full = True
            return _told({**self._last, "output": output}) or {}
        return _told(self._last) or {"error.type": "garbage"}


def _assistant(text: str) -> JsonObject:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def broken(fault: Fault) -> bytes:
    """The last event of a stream that breaks off."""
    event = {"type": "error", "code": fault.code, "message": fault.message, "param": None, "sequence_number": -1}
    return b"\n\nevent: error\ndata: " + msgspec.json.encode({**event, "error": {"message": fault.message}}) + b"\n\n"


# -- items as messages
def _message(item: Json) -> dict[str, Any]:
    """One item of an input or an output as a message of the conventions. What they have no name for is kept as it
    came."""
    if not isinstance(item, dict):
        return {"role": "unknown", "parts": [{"type": "unparsed", "content": item}]}
    kind = item.get("type", "message")
    if kind == "message":
        return {"role": str(item.get("role") or "unknown"), "parts": _parts(item.get("content"))}
    if kind in ("function_call", "custom_tool_call"):
        given = item.get("arguments", item.get("input"))
        read = parsed(given.encode()) if isinstance(given, str) and kind == "function_call" else None
        call = {"type": "tool_call", "id": item.get("call_id"), "name": item.get("name")}
        return {"role": "assistant", "parts": [{**call, "arguments": given if read is None else read}]}
    if kind in ("function_call_output", "custom_tool_call_output"):
        back = {"type": "tool_call_response", "id": item.get("call_id"), "response": item.get("output")}
        return {"role": "tool", "parts": [back]}
    if kind == "reasoning":
        texts = [part.get("text") for part in rows(item.get("summary")) + rows(item.get("content"))]
        return {"role": "assistant", "parts": [{"type": "reasoning", "content": text} for text in texts if text]}
    return {"role": "assistant", "parts": [item]}


def _parts(content: Json) -> list[JsonObject]:
    if isinstance(content, list):
        return [_part(part) for part in content]
    return [] if content is None else [_text(content) if isinstance(content, str) else _part(content)]


def _text(text: Json) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _part(part: Json) -> JsonObject:
    if not isinstance(part, dict):
        return {"type": "unparsed", "content": part}
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return _text(part.get("text"))
    if kind == "refusal":
        return {"type": "refusal", "content": part.get("refusal")}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return _located(part["image_url"], "image")
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        return _located(part["file_data"], "document")
    return part


def _located(url: str, modality: str) -> JsonObject:
    head, comma, data = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return {"type": "blob", "modality": modality, "mime_type": head[5:-7], "content": data}
    return {"type": "uri", "modality": modality, "uri": url}


WIRE = replace(OPENAI, broken=broken)
RESPONSES = Operation("chat", read, asked, attributes, ResponseStream)
