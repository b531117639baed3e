"""What holds for the codecs of the model APIs, whatever bytes they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from tenure.gateway.events import pared
from tenure.gateway.http import Request
from tenure.gateway.llm import routes
from tenure.gateway.llm.answers import refused
from tenure.gateway.llm.anthropic import codec as anthropic
from tenure.gateway.llm.codec import Ask, Fault, Operation, Wire, error_attributes
from tenure.gateway.llm.gemini import codec as gemini
from tenure.gateway.llm.opaque import codec as opaque
from tenure.gateway.llm.openai import codec as openai
from tenure.gateway.llm.responses import codec as responses
from tenure.gateway.llm.stream import Events
from tenure.kernel.errors import Refused
from tenure.kernel.values import Event
from tests.fuzz.source import Source

_SHARED = ("model", "stream", "type", "text", "role", "content", "name", "id", "error", "message", "tools", "usage")
NAMES: Mapping[str, tuple[str, ...]] = {
    "openai": (
        *(*_SHARED, "messages", "choices", "delta", "index", "finish_reason", "tool_calls", "function", "arguments"),
        *("input", "data", "user", "n", "max_tokens", "prompt_tokens", "completion_tokens", "prompt_tokens_details"),
        *("completion_tokens_details", "cached_tokens", "reasoning_tokens", "refusal", "image_url", "dimensions"),
    ),
    "responses": (
        *(*_SHARED, "input", "instructions", "output", "response", "item", "output_index", "content_index", "delta"),
        *("arguments", "call_id", "status", "incomplete_details", "reason", "input_tokens", "output_tokens", "summary"),
        *("response.created", "response.completed", "response.output_item.added", "response.output_text.delta"),
        *("response.output_item.done", "response.failed", "function_call", "function_call_output", "reasoning"),
    ),
    "anthropic": (
        *(*_SHARED, "messages", "system", "metadata", "user_id", "max_tokens", "mcp_servers", "url", "source", "index"),
        *("message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "delta"),
        *("content_block", "partial_json", "thinking", "stop_reason", "tool_use", "tool_result", "image", "base64"),
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "output_tokens_details", "thinking_tokens"),
    ),
    "gemini": (
        *(*_SHARED, "contents", "parts", "candidates", "usageMetadata", "functionCall", "functionResponse", "requests"),
        *("systemInstruction", "generationConfig", "maxOutputTokens", "functionDeclarations", "inlineData", "mimeType"),
        *("fileData", "finishReason", "promptFeedback", "blockReason", "promptTokenCount", "candidatesTokenCount"),
        *(
            "thought",
            "thoughtsTokenCount",
            "modelVersion",
            "responseId",
            "totalTokens",
            "embedding",
            "generate_content",
        ),
    ),
    "opaque": (*_SHARED, "file", "purpose", "models/m"),
}
_OPERATIONS: Mapping[str, tuple[Wire, tuple[Operation, ...]]] = {
    "openai": (openai.WIRE, (openai.CHAT, openai.EMBEDDINGS)),
    "responses": (responses.WIRE, (responses.RESPONSES,)),
    "anthropic": (anthropic.WIRE, (anthropic.MESSAGES, anthropic.COUNT)),
    "gemini": (gemini.WIRE, tuple(gemini.OPERATIONS[name] for name in sorted(gemini.OPERATIONS))),
    "opaque": (openai.WIRE, (opaque.PASS,)),
}
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def target(name: str) -> Callable[[bytes], None]:
    """What to run with any bytes, for the codec ``name``."""
    wire, operations = _OPERATIONS[name]

    def one(data: bytes) -> None:
        source = Source(data)
        mode = source.byte()
        operation = operations[mode // 4 % len(operations)]
        match mode % 4:
            case 0:
                body = source.rest()
                _request(wire, operation, body, "m" if wire is gemini.WIRE else "")
            case 1:
                named = "m" if wire is gemini.WIRE else source.pick(("", "m"))
                _request(wire, operation, msgspec.json.encode(source.json(NAMES[name])), named)
            case 2:
                body = source.rest() if mode & 128 else msgspec.json.encode(source.json(NAMES[name]))
                _answer(operation, body, Source(data[::-1]).pieces(body))
            case _:
                events = [_event(source, NAMES[name]) for _ in range(source.byte() % 12)]
                body = b"".join(events) + (source.rest() if mode & 128 else b"")
                _answer(operation, body, Source(data[::-1]).pieces(body))
        if name == "opaque":
            _route(source)

    return one


def _event(source: Source, names: tuple[str, ...]) -> bytes:
    data = source.pick((b"[DONE]", b"{", b"")) if source.byte() % 8 == 0 else msgspec.json.encode(source.json(names))
    return source.pick((b"data: ", b"data:", b"event: x\ndata: ", b": no\ndata: ")) + data + b"\n\n"


def _request(wire: Wire, operation: Operation, body: bytes, path_model: str) -> None:
    try:
        ask = operation.read(body, path_model)
    except Refused as error:
        assert error.status == 400, error
        _told_by(wire, error)
        return
    assert isinstance(ask, Ask)
    assert ask.model or operation is opaque.PASS
    msgspec.json.encode(ask.arguments)
    if operation is not opaque.PASS and wire is not gemini.WIRE:  # whose path names it
        assert msgspec.json.decode(operation.renamed(body, 'n"')) == {**msgspec.json.decode(body), "model": 'n"'}
    _kept(operation.asked(ask), len(body))


def _told_by(wire: Wire, error: Refused) -> None:
    """The refusal is a body that the clients of that wire can read."""
    response = refused(wire, error)
    assert isinstance(response.body, bytes)
    answer = msgspec.json.decode(response.body)
    assert isinstance(answer["error"]["message"], str)
    assert answer["error"]["message"].startswith(error.message)
    match wire.provider:
        case "anthropic":
            assert answer["type"] == "error"
            assert isinstance(answer["error"]["type"], str)
        case "gcp.gemini":
            assert (answer["error"]["code"], type(answer["error"]["status"])) == (error.status, str)
        case _:
            assert isinstance(answer["error"]["type"], str)
            assert answer["error"]["code"] == error.code
    broken = wire.broken(Fault(502, "upstream_error", "upstream_reset", error.message))
    assert not broken or list(map(msgspec.json.decode, Events().feed(broken)))


def _answer(operation: Operation, body: bytes, pieces: list[bytes]) -> None:
    _kept(operation.answered(body), len(body))
    streamed = _streamed(operation, [body])
    _kept(streamed, len(body))
    assert _streamed(operation, pieces) == streamed
    if operation is not opaque.PASS and b"\r" not in body:  # the other end of line that the standard has
        assert _streamed(operation, [body.replace(b"\n", b"\r\n")]) == streamed
    _kept(error_attributes(body), len(body))


def _streamed(operation: Operation, pieces: list[bytes]) -> dict[str, Any]:
    stream = operation.streamed()
    for piece in pieces:
        stream.feed(piece)
    return stream.attributes()


def _kept(attributes: dict[str, Any], size: int) -> None:
    """It can be recorded, whole or pared down, and is not much longer than what it was made of."""
    event = Event("0" * 32, "call.completed", _WHEN, "default", "agent:a", data=attributes)
    try:
        record = msgspec.json.encode(event)
    except (TypeError, ValueError, RecursionError):  # what the spool expects of it
        record = msgspec.json.encode(pared(event))
    assert len(record) <= 10 * size + 4096, (len(record), size)
    assert msgspec.json.decode(record, type=Event).type == event.type


def _route(source: Source) -> None:
    """A path is refused, or leads to nothing but what lies below the upstream's base address."""
    path = source.pick(("/v1", "/v1beta", "/v1alpha/", "")) + source.some(60).decode("latin-1")
    request = Request(source.pick(("GET", "POST", "PATCH", "TRACE")), path, source.some(20).decode("latin-1"))
    try:
        found = routes.find(request)
    except Refused as error:
        assert error.status in (400, 404, 405), error
        _told_by(routes.wire_of(request), error)
        return
    if isinstance(found, routes.Route):
        assert found.path.startswith("/")
        assert not any(letter in found.path for letter in "?# \\\r\n")
        assert not {".", ".."} & set(found.path.split("/"))
        assert found.path.isascii()
