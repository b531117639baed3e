"""OpenAI's chat completions and embeddings as values: what a request asks for, what an answer or a stream of chunks
said. Pure."""

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
from tenure.kernel.messages import message_from_openai_choice, messages_from_openai

_CHAT = "a chat completion request"
_EMBEDDINGS = "an embeddings request"


# -- chat completions
def read_chat(body: bytes, _path_model: str = "") -> Ask:
    """Reads a request body. Raises Refused (400) for one that is not a chat completion request."""
    value = read_object(body, _CHAT)
    model, messages, stream = model_of(value, _CHAT), value.get("messages"), stream_of(value, _CHAT)
    if not isinstance(messages, list):
        raise wrong(_CHAT, "`messages` must be an array", "Send at least one message.")
    arguments: dict[str, Any] = {"operation": "chat", "stream": stream, "messages": len(messages)}
    tools = value.get("tools")
    if isinstance(tools, list):
        arguments["tools"] = [name for tool in tools if (name := _tool_name(tool)) is not None]
    arguments |= numbers(value, "max_tokens", "max_completion_tokens", "n")
    users = (value.get("safety_identifier"), value.get("user"))
    return Ask(model, stream, arguments, next((user for user in users if isinstance(user, str)), None), value)


def _tool_name(tool: Any) -> str | None:
    if not isinstance(tool, dict):
        return None
    inner = tool.get(str(tool.get("type", "function")))
    name = inner.get("name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else None


def asked_chat(ask: Ask) -> dict[str, Any]:
    """The messages."""
    return {"gen_ai.input.messages": messages_from_openai(ask.body["messages"])}


def chat_attributes(body: bytes) -> dict[str, Any]:
    """The attributes that a whole answer tells; ``error.type`` when it is not what the API promises."""
    return answer(
        body,
        lambda value: _attributes(value, rows(value["choices"])) if isinstance(value.get("choices"), list) else None,
    )


def _attributes(value: JsonObject, choices: list[JsonObject]) -> dict[str, Any]:
    out: dict[str, Any] = {"gen_ai.output.messages": [message_from_openai_choice(choice) for choice in choices]}
    responded(out, value.get("id"), value.get("model"), [choice.get("finish_reason") for choice in choices])
    spent = value.get("usage")
    if isinstance(spent, dict):
        out |= usage(
            input=spent.get("prompt_tokens"),
            output=spent.get("completion_tokens"),
            cached=table(spent.get("prompt_tokens_details")).get("cached_tokens"),
            reasoning=table(spent.get("completion_tokens_details")).get("reasoning_tokens"),
        )
    return out


class ChatStream(EventStream):
    """Chunks of a chat completion, put together as one answer. It is over with ``[DONE]`` or a finish reason."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def event(self, value: JsonObject) -> None:
        """Takes one chunk."""
        if "error" in value:
            self.error = {"error.type": "upstream_error", **told(value)}
        for name in ("id", "model", "usage"):
            if value.get(name) is not None:
                self._seen[name] = value[name]
        for part in rows(value.get("choices")):
            self._add(part)

    def _add(self, part: JsonObject) -> None:
        index = part.get("index")
        choice = self._choices.get(index if isinstance(index, int) else 0)
        if choice is None:
            if not self.called.take(0):
                return
            choice = self._choices[index if isinstance(index, int) else 0] = {"text": {}, "calls": {}}
        if isinstance(part.get("finish_reason"), str):
            choice["finish_reason"] = part["finish_reason"]
            self.ended = True
        delta = part.get("delta")
        if not isinstance(delta, dict):
            return
        for name in ("content", "refusal", "reasoning_content"):
            text = delta.get(name)
            if isinstance(text, str) and self.said.take(len(text)):
                choice["text"].setdefault(name, []).append(text)
        if isinstance(delta.get("role"), str):
            choice["role"] = delta["role"]
        if "tool_calls" in delta:
            for call in rows(delta["tool_calls"]):
                self._call(choice["calls"], call)

    def _call(self, calls: dict[int, dict[str, Any]], call: JsonObject) -> None:
        at, function = call.get("index"), table(call.get("function"))
        arguments = _said(function, "arguments")
        if not self.called.take(len(arguments)):
            return
        known = calls.setdefault(at if isinstance(at, int) else 0, {"id": None, "name": "", "arguments": []})
        known["id"] = call.get("id") or known["id"]
        known["name"] += _said(function, "name")
        known["arguments"].append(arguments)

    def told(self) -> dict[str, Any]:
        """As of a whole answer."""
        return _attributes(self._seen, [_finished(self._choices[index]) for index in sorted(self._choices)])


def _said(function: JsonObject, name: str) -> str:
    value = function.get(name)
    return value if isinstance(value, str) else ""


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": choice.get("role", "assistant")}
    message.update({name: "".join(parts) for name, parts in choice["text"].items()})
    if choice["calls"]:
        message["tool_calls"] = [
            {"id": call["id"], "function": {"name": call["name"], "arguments": "".join(call["arguments"])}}
            for call in choice["calls"].values()
        ]
    return {"message": message, "finish_reason": choice.get("finish_reason")}


# -- embeddings
def read_embeddings(body: bytes, _path_model: str = "") -> Ask:
    """Reads a request body. Raises Refused (400) for one that is not an embeddings request."""
    value = read_object(body, _EMBEDDINGS)
    model = model_of(value, _EMBEDDINGS)
    given = value.get("input")
    if not isinstance(given, (str, list)):
        raise wrong(_EMBEDDINGS, "`input` must be a text or an array", "Send the text to embed.")
    several = isinstance(given, list) and not all(whole(item) for item in given)
    arguments = {"operation": "embeddings", "inputs": len(given) if several else 1, **numbers(value, "dimensions")}
    user = value.get("user")
    return Ask(model, False, arguments, user if isinstance(user, str) else None, value)


def asked_embeddings(ask: Ask) -> dict[str, Any]:
    """The texts, as one message of the user; what was sent as token numbers is not told."""
    given = ask.body["input"]
    texts = [item for item in ([given] if isinstance(given, str) else given) if isinstance(item, str)]
    out: dict[str, Any] = {"gen_ai.input.messages": [{"role": "user", "parts": [_text(text) for text in texts]}]}
    if whole(ask.body.get("dimensions")):
        out["gen_ai.embeddings.dimension.count"] = ask.body["dimensions"]
    if isinstance(ask.body.get("encoding_format"), str):
        out["gen_ai.request.encoding_formats"] = [ask.body["encoding_format"]]
    return out


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def embeddings_attributes(body: bytes) -> dict[str, Any]:
    """The attributes that an answer tells: the tokens, never the numbers."""
    return answer(body, _embedded)


def _embedded(value: JsonObject) -> dict[str, Any] | None:
    if not isinstance(value.get("data"), list):
        return None
    out = usage(input=table(value.get("usage")).get("prompt_tokens"))
    return responded(out, model=value.get("model"))


# -- errors and models
def error_body(fault: Fault) -> bytes:
    """An error as OpenAI's clients read it."""
    facts = {"message": fault.message, "type": fault.kind, "code": fault.code, "param": None, **fault.more}
    return msgspec.json.encode({"error": facts})


def broken(fault: Fault) -> bytes:
    """The last event of a stream of chat completion chunks that breaks off."""
    return b"\n\ndata: " + error_body(fault) + b"\n\n"


def _model(name: str) -> dict[str, Json]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tenure"}


def model_list(names: Iterable[str]) -> bytes:
    """The answer to ``GET /v1/models``."""
    return msgspec.json.encode({"object": "list", "data": [_model(name) for name in names]})


def model_body(name: str) -> bytes:
    """The answer to ``GET /v1/models/{name}``."""
    return msgspec.json.encode(_model(name))


WIRE = Wire("openai", "authorization", "Bearer ", error_body, broken, model_list, model_body)
CHAT = Operation("chat", read_chat, asked_chat, chat_attributes, ChatStream)
EMBEDDINGS = Operation("embeddings", read_embeddings, asked_embeddings, embeddings_attributes, ChatStream)
