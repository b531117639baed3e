"""OpenAI's chat completions as values: what a request asks for, what an answer or a stream of chunks said. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tenure.gateway.http import decode_json
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonArray, JsonObject
from tenure.kernel.values import Decision, Effect
from tenure.telemetry.model import message_from_openai_choice, messages_from_openai

CAPTURE_MAX = 4 << 20
"""Longest request or answer whose content is captured, in bytes; beyond it only the facts about it are."""

_PROVIDERS = {  # host suffix -> well-known value of gen_ai.provider.name
    "openai.azure.com": "azure.ai.openai",
    "api.anthropic.com": "anthropic",
    "api.mistral.ai": "mistral_ai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.x.ai": "x_ai",
    "api.perplexity.ai": "perplexity",
    "api.cohere.com": "cohere",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "amazonaws.com": "aws.bedrock",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A chat completion request, read as far as Tenure needs it. ``arguments`` are the facts policy may read: the
    messages themselves are not among them, but an approval binds the exact bytes."""

    model: str
    stream: bool
    arguments: JsonObject
    end_user: str | None
    body: JsonObject


def read_request(body: bytes) -> Ask:
    """Reads a request body. Raises Refused (400) for one that is not a chat completion request."""
    value = decode_json(body)
    if not isinstance(value, dict):
        raise _wrong("the body must be a JSON object", 'Send {"model": ..., "messages": [...]}.')
    model, messages, stream = value.get("model"), value.get("messages"), value.get("stream")
    if not isinstance(model, str) or not model:
        raise _wrong("`model` must be a text", "Name one of the models of GET /v1/models.")
    if not isinstance(messages, list):
        raise _wrong("`messages` must be an array", "Send at least one message.")
    if stream is not None and not isinstance(stream, bool):
        raise _wrong("`stream` must be true or false", "Leave it out for an answer in one piece.")
    arguments: dict[str, Any] = {"stream": bool(stream), "messages": len(messages)}
    tools = value.get("tools")
    if isinstance(tools, list):
        arguments["tools"] = [name for tool in tools if (name := _tool_name(tool)) is not None]
    for name in ("max_tokens", "max_completion_tokens", "n"):
        if isinstance(value.get(name), int):
            arguments[name] = value[name]
    user = value.get("user")
    return Ask(model, bool(stream), arguments, user if isinstance(user, str) else None, value)


def _wrong(problem: str, fix: str) -> Refused:
    return Refused("bad_request", f"This is not a chat completion request: {problem}.", fix=fix, status=400)


def _tool_name(tool: Any) -> str | None:
    if not isinstance(tool, Mapping):
        return None
    inner = tool.get(str(tool.get("type", "function")))
    name = inner.get("name") if isinstance(inner, Mapping) else None
    return name if isinstance(name, str) else None


@lru_cache(maxsize=256)
def provider(base_url: str) -> tuple[str, str]:
    """(``gen_ai.provider.name``, ``server.address``) of an upstream; a host that is not well known counts as the
    provider whose API it speaks."""
    host = urlsplit(base_url).hostname or ""
    known = next((name for suffix, name in _PROVIDERS.items() if host == suffix or host.endswith("." + suffix)), None)
    return known or "openai", host


def request_attributes(ask: Ask, size: int, base_url: str | None) -> dict[str, Any]:
    """The attributes of an Event that the request alone tells. ``size`` is the body's length in bytes."""
    out: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": ask.model,
        "gen_ai.request.stream": ask.stream,
    }
    if base_url is not None:
        out["gen_ai.provider.name"], out["server.address"] = provider(base_url)
    if size <= CAPTURE_MAX:
        messages: JsonArray = ask.body["messages"]
        out["gen_ai.input.messages"] = messages_from_openai(messages)
    else:
        out["tenure.capture.truncated"] = True
    return out


def response_attributes(body: bytes) -> dict[str, Any]:
    """The attributes that a whole answer tells; ``error.type`` when it is not what the API promises."""
    if len(body) > CAPTURE_MAX:
        return {"tenure.capture.truncated": True}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"error.type": "garbage"}
    if not isinstance(value, dict) or not isinstance(value.get("choices"), list):
        return {"error.type": "garbage"}
    return _attributes(value, [choice for choice in value["choices"] if isinstance(choice, dict)])


def error_attributes(body: bytes) -> dict[str, Any]:
    """What an upstream's error answer says, for the Event."""
    try:
        value = msgspec.json.decode(body[:CAPTURE_MAX])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    error = value.get("error") if isinstance(value, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return {"error.message": message[:1000]} if isinstance(message, str) else {}


def _attributes(value: JsonObject, choices: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {"gen_ai.output.messages": [message_from_openai_choice(choice) for choice in choices]}
    if isinstance(value.get("id"), str):
        out["gen_ai.response.id"] = value["id"]
    if isinstance(value.get("model"), str):
        out["gen_ai.response.model"] = value["model"]
    reasons = [choice["finish_reason"] for choice in choices if isinstance(choice.get("finish_reason"), str)]
    if reasons:
        out["gen_ai.response.finish_reasons"] = reasons
    usage = value.get("usage")
    if isinstance(usage, dict):
        for name, key in (("prompt_tokens", "input"), ("completion_tokens", "output")):
            if isinstance(usage.get(name), int):
                out[f"gen_ai.usage.{key}_tokens"] = usage[name]
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict) and isinstance(details.get("cached_tokens"), int):
            out["gen_ai.usage.cache_read.input_tokens"] = details["cached_tokens"]
    return out


def stream_attributes(body: bytes) -> dict[str, Any]:
    """The attributes that a captured stream of server-sent chunks tells, put together as one answer. A stream that
    ended without ``[DONE]`` and without a finish reason has ``error.type`` incomplete; one that carried an error
    object, upstream_error."""
    seen: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    done = False
    error: dict[str, Any] = {}
    for data in sse_data(body):
        if data == b"[DONE]":
            done = True
            continue
        try:
            chunk = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            error = {"error.type": "garbage"}
            continue
        if not isinstance(chunk, dict):
            error = {"error.type": "garbage"}
            continue
        if "error" in chunk:
            error = {"error.type": "upstream_error", **error_attributes(data)}
        seen.update({name: chunk[name] for name in ("id", "model", "usage") if chunk.get(name) is not None})
        parts = chunk.get("choices")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                _add(choices, part)
    whole = [choices[index] for index in sorted(choices)]
    out = _attributes(seen, [_finished(choice) for choice in whole])
    if not error and not done and not any(choice.get("finish_reason") for choice in whole):
        error = {"error.type": "incomplete"}
    return out | error


def sse_data(body: bytes) -> Iterable[bytes]:
    """The data of each server-sent event (WHATWG HTML section 9.2)."""
    for block in body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)


def _add(choices: dict[int, dict[str, Any]], part: dict[str, Any]) -> None:
    """Adds one chunk's choice to what has been said so far."""
    index = part.get("index")
    choice = choices.setdefault(index if isinstance(index, int) else 0, {"text": {}, "calls": {}})
    if isinstance(part.get("finish_reason"), str):
        choice["finish_reason"] = part["finish_reason"]
    delta = part.get("delta")
    if not isinstance(delta, dict):
        return
    for name in ("content", "refusal", "reasoning_content"):
        if isinstance(delta.get(name), str):
            choice["text"].setdefault(name, []).append(delta[name])
    if isinstance(delta.get("role"), str):
        choice["role"] = delta["role"]
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            at, function = call.get("index"), call.get("function")
            known = choice["calls"].setdefault(
                at if isinstance(at, int) else 0, {"id": None, "name": "", "arguments": []}
            )
            known["id"] = call.get("id") or known["id"]
            if isinstance(function, dict):
                known["name"] += _said(function, "name")
                known["arguments"].append(_said(function, "arguments"))


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


def error_body(message: str, kind: str, code: str, **more: Any) -> bytes:
    """An error as OpenAI's clients read it."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "code": code, "param": None, **more}})


def refusal(decision: Decision, call_id: str, approval_id: str | None) -> tuple[int, bytes]:
    """(HTTP status, body) of a call that was not allowed: 409 while it waits for a person, 503 without valid facts,
    403 otherwise."""
    more: dict[str, Any] = {"policies": decision.policies, "decision_id": call_id}
    if decision.effect is Effect.HOLD:
        text = f"{decision.reason} It waits as approval {approval_id}; send the same request again to pick it up."
        return 409, error_body(text, "approval_pending", "approval_pending", approval_id=approval_id, **more)
    if approval_id is not None:
        more["approval_id"] = approval_id
    if "system/stale-snapshot" in decision.policies:
        return 503, error_body(decision.reason, "service_unavailable", "stale_snapshot", **more)
    code = next((rule.removeprefix("system/") for rule in decision.policies if rule.startswith("system/")), "policy")
    text = decision.reason if not decision.policies else f"{decision.reason} [{', '.join(decision.policies)}]"
    return 403, error_body(text, "permission_denied", f"denied_{code}".replace("-", "_"), **more)


def model_list(names: Iterable[str]) -> bytes:
    """The answer to ``GET /v1/models``."""
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "tenure"} for name in names]
    return msgspec.json.encode({"object": "list", "data": models})
