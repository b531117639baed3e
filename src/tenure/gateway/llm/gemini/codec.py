"""Gemini's generateContent, its streaming form, token counts and embeddings as values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from tenure.gateway.llm.codec import (
    EVENT_STREAM,
    Ask,
    Fault,
    Operation,
    Wire,
    answer,
    read_object,
    replaced,
    responded,
    rows,
    table,
    told,
    usage,
    whole,
    wrong,
)
from tenure.gateway.llm.stream import Elements, EventStream
from tenure.kernel.json import Json, JsonObject

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_STATUS = {  # google.rpc.Code, as Google's APIs map it to HTTP
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _field(value: JsonObject, name: str) -> Json:
    """A field by its JSON name or, as the protobuf JSON mapping allows, by the name it has in the .proto."""
    if name in value:
        return value[name]
    return value.get("".join("_" + letter.lower() if letter.isupper() else letter for letter in name))


def _agreed(value: JsonObject, model: str, what: str) -> None:
    """Refuses a body that names another model than the path: which of the two would answer is not ours to guess."""
    inner = table(_field(value, "generateContentRequest"))
    asked = [value, inner, *rows(value.get("requests"))]
    for name in (part["model"] for part in asked if "model" in part):
        if not isinstance(name, str) or name.removeprefix("models/") != model.removeprefix("models/"):
            raise wrong(what, "its body names another model than its path", "Leave `model` out of the body.")


def renamed(body: bytes, model: str) -> bytes:
    """The body with another model in the places that name one: itself and the requests in it, which must agree with the
    path. Every other value keeps its very bytes."""
    name = msgspec.json.encode(model if "/" in model else f"models/{model}")
    value = _members.decode(body)
    new = {"model": name} if "model" in value else {}
    for key in ("generateContentRequest", "generate_content_request"):
        if key in value:
            new[key] = replaced(value[key], {"model": name})
    if "requests" in value:
        new["requests"] = b"[%s]" % b",".join(
            replaced(one, {"model": name}) for one in _items.decode(value["requests"])
        )
    return replaced(body, new) if new else body


def _reader(operation: str, stream: bool) -> Callable[[bytes, str], Ask]:
    def read(body: bytes, path_model: str) -> Ask:
        """Reads a request body. Raises Refused (400) for one that is not a request of this kind."""
        what = f"a {operation} request"
        value = read_object(body, what)
        _agreed(value, path_model, what)
        contents = value.get("contents")
        if operation == "generate_content" and not isinstance(contents, list):
            raise wrong(what, "`contents` must be an array", "Send at least one content.")
        arguments: dict[str, Any] = {"operation": operation, "stream": stream}
        arguments["messages"] = len(contents) if isinstance(contents, list) else len(rows(value.get("requests"))) or 1
        tools = value.get("tools")
        if isinstance(tools, list):
            arguments["tools"] = [name for tool in rows(tools) for name in _tool_names(tool)]
        limit = _field(table(_field(value, "generationConfig")), "maxOutputTokens")
        if whole(limit):
            arguments["max_tokens"] = limit
        return Ask(path_model, stream, arguments, None, value)

    return read


def _tool_names(tool: JsonObject) -> list[str]:
    """The functions that a tool declares, or, of one that Google runs itself, what it is called."""
    declared = rows(_field(tool, "functionDeclarations"))
    names = [one["name"] for one in declared if isinstance(one.get("name"), str)]
    return names + [key for key in tool if key not in ("functionDeclarations", "function_declarations")]


def asked(ask: Ask) -> dict[str, Any]:
    """The system instruction and the contents as messages."""
    body = ask.body
    inner = table(_field(body, "generateContentRequest"))
    contents = [*rows(inner.get("contents")), *rows(body.get("contents"))]
    contents += [table(one.get("content")) for one in [body, *rows(body.get("requests"))] if "content" in one]
    out: dict[str, Any] = {"gen_ai.input.messages": [_message(content, "user") for content in contents]}
    system = _field(body, "systemInstruction")
    if isinstance(system, Mapping):
        out["gen_ai.system_instructions"] = _message(system, "system")["parts"]
    return out


def attributes(body: bytes) -> dict[str, Any]:
    """The attributes that a whole answer tells."""
    return answer(body, lambda value: _told(value) if _is_answer(value) else None)


def _is_answer(value: JsonObject) -> bool:
    return isinstance(value.get("candidates"), list) or isinstance(value.get("promptFeedback"), dict)


def _told(value: JsonObject) -> dict[str, Any]:
    candidates = rows(value.get("candidates"))
    reasons = [candidate.get("finishReason") for candidate in candidates]
    messages = []
    for candidate, reason in zip(candidates, reasons, strict=True):
        message = {**_message(table(candidate.get("content")), "model"), "role": "assistant"}
        messages.append({**message, "finish_reason": reason} if isinstance(reason, str) else message)
    blocked = table(value.get("promptFeedback")).get("blockReason")
    out: dict[str, Any] = {"gen_ai.output.messages": messages}
    responded(out, value.get("responseId"), value.get("modelVersion"), [*reasons, blocked])
    spent = table(value.get("usageMetadata"))
    # Google counts the prompt and the results of its own tools apart, and the answer and its thoughts.
    return out | usage(
        input=_sum(spent, "promptTokenCount", "toolUsePromptTokenCount"),
        output=_sum(spent, "candidatesTokenCount", "thoughtsTokenCount"),
        cached=spent.get("cachedContentTokenCount"),
        reasoning=spent.get("thoughtsTokenCount"),
    )


def _sum(spent: JsonObject, *names: str) -> int | None:
    counts = [spent[name] for name in names if whole(spent.get(name))]
    return sum(counts) if counts else None


class GenerateStream(EventStream):
    """Pieces of an answer, put together as one: server-sent events (``alt=sse``) or the elements of a JSON array. It is
    over with a finish reason or a blocked prompt."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, Json] = {}
        self._candidates: dict[str, dict[str, Any]] = {}
        self._elements: Elements | None = None
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        begins = b"" if self._begun else data.strip(b" \t\r\n")  # what is white space in JSON, and no more
        if begins:
            self._begun = True
            if begins.startswith(b"["):
                self._elements = Elements()
        if self._elements is None:
            super().feed(data)
        else:
            for value in self._elements.feed(data):
                self.event(value)

    def event(self, value: JsonObject) -> None:
        """Takes one piece."""
        if "error" in value:
            self.error = {"error.type": "upstream_error", **told(value)}
        for name in ("promptFeedback", "responseId", "modelVersion", "usageMetadata"):
            if value.get(name) is not None:
                self._known[name] = value[name]
        self.ended = self.ended or "promptFeedback" in self._known
        for candidate in rows(value.get("candidates")):
            index = str(candidate.get("index", 0))
            known = self._candidates.get(index)
            if known is None:
                if not self.called.take(0):
                    return
                known = self._candidates[index] = {"parts": []}
            parts = table(candidate.get("content")).get("parts")
            for part in parts if isinstance(parts, list) else ():
                self._add(known["parts"], part)
            if isinstance(candidate.get("finishReason"), str):
                known["finishReason"], self.ended = candidate["finishReason"], True

    def _add(self, parts: list[Any], part: Json) -> None:
        """Adds a part; a text goes on where one of its kind (said or thought) stands last, as (thought, words)."""
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            text, thought = part["text"], part.get("thought")
            if not text or not self.said.take(len(text)):
                return
            if parts and isinstance(parts[-1], tuple) and parts[-1][0] == thought:
                parts[-1][1].append(text)
            else:
                parts.append((thought, [text]))
        elif self.called.take(len(msgspec.json.encode(part))):
            parts.append(part)

    def told(self) -> dict[str, Any]:
        """As of a whole answer."""
        if self._elements is not None and self._elements.broken:
            self.error = self.error or {"error.type": "garbage"}
        candidates = []
        for known in self._candidates.values():
            parts = [_joined(*part) if isinstance(part, tuple) else part for part in known.pop("parts")]
            candidates.append({**known, "content": {"parts": parts}})
        return _told({**self._known, "candidates": candidates})


def _joined(thought: Json, words: list[str]) -> JsonObject:
    return {"text": "".join(words), **({} if thought is None else {"thought": thought})}


def count_attributes(body: bytes) -> dict[str, Any]:
    """What a count of tokens tells. They were counted, not used: they are no ``gen_ai.usage``."""
    return answer(
        body, lambda value: {"tenure.counted_tokens": value["totalTokens"]} if whole(value.get("totalTokens")) else None
    )


def embeddings_attributes(body: bytes) -> dict[str, Any]:
    """What an answer with embeddings tells: the tokens, never the numbers."""
    return answer(
        body,
        lambda value: (
            usage(input=table(value.get("usageMetadata")).get("promptTokenCount"))
            if "embedding" in value or "embeddings" in value
            else None
        ),
    )


# -- contents as messages
def _message(content: JsonObject, default_role: str) -> dict[str, Any]:
    role = str(content.get("role") or default_role)
    parts = content.get("parts")
    said = [_part(part) for part in parts] if isinstance(parts, list) else []
    return {"role": "assistant" if role == "model" else role, "parts": said}


def _part(part: Json) -> JsonObject:  # noqa: PLR0911 (one line for each kind of part)
    if not isinstance(part, dict):
        return {"type": "unparsed", "content": part}
    if isinstance(part.get("text"), str):
        return {"type": "reasoning" if part.get("thought") is True else "text", "content": part["text"]}
    if isinstance(call := _field(part, "functionCall"), dict):
        return {"type": "tool_call", "id": call.get("id"), "name": call.get("name"), "arguments": call.get("args")}
    if isinstance(back := _field(part, "functionResponse"), dict):
        known = {"id": back.get("id"), "name": back.get("name"), "response": back.get("response")}
        return {"type": "tool_call_response", **known}
    if isinstance(blob := _field(part, "inlineData"), dict):
        mime = str(_field(blob, "mimeType") or "")
        return {"type": "blob", "modality": _modality(mime), "mime_type": mime, "content": blob.get("data")}
    if isinstance(file := _field(part, "fileData"), dict):
        mime = str(_field(file, "mimeType") or "")
        return {"type": "uri", "modality": _modality(mime), "mime_type": mime, "uri": _field(file, "fileUri")}
    return {"type": "unparsed", "content": part}


def _modality(mime: str) -> str:
    kind = mime.partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "document"


# -- errors and models
def error_body(fault: Fault) -> bytes:
    """An error as Google's clients read it (google.rpc.Status with an ErrorInfo)."""
    facts = {
        name: ",".join(item) if isinstance(item, (list, tuple)) else str(item) for name, item in fault.more.items()
    }
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": fault.code.upper(), "domain": "tenure"}
    status = _STATUS.get(fault.status, "INTERNAL" if fault.status >= 500 else "FAILED_PRECONDITION")
    error = {"code": fault.status, "message": fault.message, "status": status}
    return msgspec.json.encode({"error": {**error, "details": [{**info, "metadata": facts}]}})


def broken(fault: Fault) -> bytes:
    """The last event of a stream that breaks off."""
    return b"\n\ndata: " + error_body(fault) + b"\n\n"


def _model(name: str) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent", "countTokens", "embedContent"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def model_list(names: Iterable[str]) -> bytes:
    """The answer to ``GET /v1beta/models``."""
    return msgspec.json.encode({"models": [_model(name) for name in names]})


def model_body(name: str) -> bytes:
    """The answer to ``GET /v1beta/models/{name}``."""
    return msgspec.json.encode(_model(name))


WIRE = Wire("gcp.gemini", "x-goog-api-key", "", error_body, broken, model_list, model_body, keeps_version=True)
_GENERATE, _COUNT = _reader("generate_content", stream=False), _reader("count_tokens", stream=False)
_EMBED = _reader("embeddings", stream=False)
_EMBEDDINGS = Operation("embeddings", _EMBED, asked, embeddings_attributes, GenerateStream, renamed=renamed)
OPERATIONS: Mapping[str, Operation] = {
    "generateContent": Operation("generate_content", _GENERATE, asked, attributes, GenerateStream, renamed=renamed),
    "streamGenerateContent": Operation(
        "generate_content",
        _reader("generate_content", stream=True),
        asked,
        attributes,
        GenerateStream,
        EVENT_STREAM | {"application/json"},  # without alt=sse it is an array that grows
        renamed,
    ),
    "countTokens": Operation("count_tokens", _COUNT, asked, count_attributes, GenerateStream, renamed=renamed),
    "embedContent": _EMBEDDINGS,
    "batchEmbedContents": _EMBEDDINGS,
}
"""By the verb after the colon of the path."""
