"""What the scripted model provider says on the other wires: OpenAI's responses and embeddings, Anthropic, Gemini.

Pure: a request in, an answer or the events of a stream out, as ``model_provider`` sends them. Shapes are those of the
providers' documentation; numbers of tokens are fixed, so that tests can hold the record against them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ANTHROPIC_USAGE = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 50,
    "output_tokens": 12,
    "output_tokens_details": {"thinking_tokens": 5},
    "service_tier": "standard",
}
RESPONSES_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 112,
}
GEMINI_USAGE = {
    "promptTokenCount": 90,
    "toolUsePromptTokenCount": 10,
    "cachedContentTokenCount": 40,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 112,
}
TOOL = {"city": "Paris"}


@dataclass(frozen=True)
class Said:
    """A whole answer and the same as the data of server-sent events, each with its event name ("" for none)."""

    whole: Any
    events: tuple[tuple[str, Any], ...] = ()


def model_of(path: str, request: dict[str, Any]) -> str:
    """The model that a request asks for."""
    if "/models/" in path and ":" in path:
        return path.partition("/models/")[2].partition(":")[0]
    return str(request.get("model", ""))


def wants_stream(path: str, request: dict[str, Any]) -> bool:
    """Whether a stream is asked for."""
    return ":streamGenerateContent" in path or request.get("stream") is True


def error(path: str, status: int) -> Any:
    """The provider's own error object."""
    if path.startswith("/v1/messages"):
        kind = {429: "rate_limit_error", 400: "invalid_request_error", 529: "overloaded_error"}.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": "scripted failure"}, "request_id": "req_1"}
    if ":" in path:
        word = {429: "RESOURCE_EXHAUSTED", 400: "INVALID_ARGUMENT", 503: "UNAVAILABLE"}.get(status, "INTERNAL")
        return {"error": {"code": status, "message": "scripted failure", "status": word}}
    return {"error": {"message": "scripted failure", "type": "server_error", "code": "scripted", "param": None}}


def answer(path: str, request: dict[str, Any], model: str) -> Said | None:
    """What is said; None for an endpoint that is not spoken here."""
    bare = path.partition("?")[0]
    spoken: dict[str, Callable[[dict[str, Any], str], Said]] = {
        "/v1/responses": _responses,
        "/v1/embeddings": _embeddings,
        "/v1/messages": _messages,
    }
    spoken |= {":generateContent": _generate, ":streamGenerateContent": _generate, ":batchEmbedContents": _gemini_embed}
    speak = spoken.get(bare) or spoken.get(":" + bare.rpartition(":")[2])
    if speak is not None:
        return speak(request, model)
    counted = {"/v1/messages/count_tokens": {"input_tokens": 33}, "countTokens": {"totalTokens": 33}}
    whole = counted.get(bare) or counted.get(bare.rpartition(":")[2])
    return Said(whole) if whole else None


def _embeddings(request: dict[str, Any], model: str) -> Said:
    given = request["input"] if isinstance(request["input"], list) else [request["input"]]
    data = [{"object": "embedding", "index": at, "embedding": [0.25, -0.5, 1.0]} for at in range(len(given))]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return Said({"object": "list", "data": data, "model": f"{model}-2026-01-01", "usage": usage})


def _gemini_embed(request: dict[str, Any], _model: str) -> Said:
    return Said({"embeddings": [{"values": [0.25, -0.5, 1.0]} for _ in request["requests"]]})


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [" ".join(words[at : at + 2]) + (" " if at + 2 < len(words) else "") for at in range(0, len(words), 2)]


# -- OpenAI's responses
def _responses(request: dict[str, Any], model: str) -> Said:
    given = request["input"]
    last = given[-1] if isinstance(given, list) else {"role": "user", "content": given}
    content = last.get("content", last.get("output", ""))
    text = content if isinstance(content, str) else " ".join(part["text"] for part in content if "text" in part)
    item: dict[str, Any]
    if model.startswith("tool") and request.get("tools") and last.get("type") != "function_call_output":
        name = request["tools"][0]["name"]
        call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed"}
        item = {**call, "name": name, "arguments": json.dumps(TOOL)}
    else:
        said = {"type": "output_text", "text": f"You said: {text}", "annotations": [], "logprobs": []}
        item = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said]}
    base = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1767225600,
        "model": f"{model}-2026-01-01",
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": request.get("tools", []),
        "top_p": 1.0,
    }
    whole = {**base, "status": "completed", "output": [item], "usage": RESPONSES_USAGE}
    begun = {**base, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    place = {"output_index": 0, "item_id": item["id"]}
    if item["type"] == "message":
        empty = {**item, "status": "in_progress", "content": []}
        events.append({"type": "response.output_item.added", "output_index": 0, "item": empty})
        part = {**item["content"][0], "text": ""}
        events.append({"type": "response.content_part.added", **place, "content_index": 0, "part": part})
        events += [
            {"type": "response.output_text.delta", **place, "content_index": 0, "delta": word, "logprobs": []}
            for word in _words(item["content"][0]["text"])
        ]
        done = {**place, "content_index": 0, "text": item["content"][0]["text"], "logprobs": []}
        events.append({"type": "response.output_text.done", **done})
        events.append({"type": "response.content_part.done", **place, "content_index": 0, "part": item["content"][0]})
    else:
        events.append({"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}})
        events.append({"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]})
        events.append({"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"]})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    events.append({"type": "response.completed", "response": whole})
    numbered = tuple((event["type"], {**event, "sequence_number": at}) for at, event in enumerate(events))
    return Said(whole, numbered)


# -- Anthropic
def _messages(request: dict[str, Any], model: str) -> Said:
    last = request["messages"][-1]
    content = last["content"]
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    text = " ".join(str(block.get("text", "")) for block in blocks if block["type"] == "text")
    answered = any(block["type"] == "tool_result" for block in blocks)
    said: list[dict[str, Any]] = [{"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}]
    if model.startswith("tool") and request.get("tools") and not answered:
        said.append({"type": "tool_use", "id": "toolu_1", "name": request["tools"][0]["name"], "input": TOOL})
    else:
        said.append({"type": "text", "text": f"You said: {text}"})
    reason = "tool_use" if said[-1]["type"] == "tool_use" else "end_turn"
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": f"{model}-2026-01-01"}
    whole = {**base, "content": said, "stop_reason": reason, "stop_sequence": None, "usage": ANTHROPIC_USAGE}
    start = {**whole, "content": [], "stop_reason": None, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for at, block in enumerate(said):
        if block["type"] == "text":
            empty, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": w} for w in _words(block["text"])]
        elif block["type"] == "thinking":
            empty = {**block, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": "Let me "}, {"type": "thinking_delta", "thinking": "see."}]
            deltas.append({"type": "signature_delta", "signature": "c2ln"})
        else:
            empty, given = {**block, "input": {}}, json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in (given[:6], given[6:])]
        events.append({"type": "content_block_start", "index": at, "content_block": empty})
        events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": at})
    ended = {"stop_reason": reason, "stop_sequence": None}
    spent = {"output_tokens": 12, "output_tokens_details": {"thinking_tokens": 5}}
    events.append({"type": "message_delta", "delta": ended, "usage": spent})
    events.append({"type": "message_stop"})
    return Said(whole, tuple((event["type"], event) for event in events))


# -- Gemini
def _generate(request: dict[str, Any], model: str) -> Said:
    last = request["contents"][-1]
    text = " ".join(part["text"] for part in last["parts"] if "text" in part)
    answered = any("functionResponse" in part for part in last["parts"])
    base = {"modelVersion": f"{model}-2026-01-01", "responseId": "resp-1"}
    parts: list[dict[str, Any]]
    if model.startswith("tool") and request.get("tools") and not answered:
        name = request["tools"][0]["functionDeclarations"][0]["name"]
        parts = [{"functionCall": {"id": "fc-1", "name": name, "args": TOOL}}]
        pieces = [parts]
    else:
        parts = [{"text": "Let me see.", "thought": True}, {"text": f"You said: {text}"}]
        pieces = [[parts[0]], *([{"text": word}] for word in _words(parts[1]["text"]))]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    whole = {"candidates": [candidate], "usageMetadata": GEMINI_USAGE, **base}
    chunks: list[dict[str, Any]] = []
    for at, piece in enumerate(pieces):
        one: dict[str, Any] = {"content": {"role": "model", "parts": piece}, "index": 0}
        if at == len(pieces) - 1:
            one["finishReason"] = "STOP"
        chunks.append({"candidates": [one], "usageMetadata": GEMINI_USAGE, **base})
    return Said(whole, tuple(("", chunk) for chunk in chunks))
