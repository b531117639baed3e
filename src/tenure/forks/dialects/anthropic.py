"""Anthropic's messages. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tenure.forks.dialects.parts import SYSTEM, Asked, Request, Unspoken, check, kind_of, placed, table, turns, words
from tenure.forks.record import text_of
from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject

_API = "Anthropic's messages"
_TOKENS = 4096  # that API wants a bound; where the record has none
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MEDIA = ("image", "document")


def request(asked: Asked) -> Request:
    """One request. Raises Refused (422)."""
    check(_API, asked, "anthropic", _NAME)
    system = [text_of({"parts": asked.instructions})] if asked.instructions else []
    system += [text_of(message) for message in asked.messages if message.get("role") in SYSTEM]
    said: list[dict[str, Any]] = []
    for number, role, parts in turns(asked.messages):
        if role in SYSTEM:
            continue
        who = "assistant" if role == "assistant" else "user"
        with placed(_API, number, role):
            blocks = [block for part in parts for block in _blocks(part)]
        if said and said[-1]["role"] == who:
            said[-1]["content"] += blocks
        elif blocks:
            said.append({"role": who, "content": blocks})
    if said and said[0]["role"] == "assistant" and asked.api != "anthropic":
        raise Refused(
            "part_not_spoken",
            f"The conversation begins with what the model said; {_API} begins with a person.",
            fix="Fork on a model that is served over the API that the run was recorded over.",
            status=422,
        )
    body: dict[str, Any] = {"model": asked.model, "max_tokens": asked.max_tokens or _TOKENS, "messages": said}
    if system:
        body["system"] = "\n\n".join(system)
    if asked.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.schema)}
            for tool in asked.tools
        ]
    return Request("/v1/messages", "x-api-key", "", body)


def _blocks(part: JsonObject) -> Sequence[dict[str, Any]]:
    match part.get("type"):
        case "text" | "refusal":
            return [{"type": "text", "text": str(part["content"])}] if part.get("content") else []
        case "tool_call":
            given = dict(table(part.get("arguments")))
            return [{"type": "tool_use", "id": _ident(part.get("id")), "name": part.get("name"), "input": given}]
        case "tool_call_response":
            failed = {"is_error": True} if part.get("is_error") is True else {}
            back = {"type": "tool_result", "tool_use_id": _ident(part.get("id"))}
            return [{**back, "content": _result(part.get("response")), **failed}]
        case "uri" | "blob" if part.get("modality") in _MEDIA:
            return [_media(part)]
        case "reasoning":
            return []  # the provider keeps its own, signed
        case _:
            raise Unspoken(kind_of(part))


def _ident(ident: Json) -> str:
    """An id of a call in the letters that this API takes, the same one each time."""
    told = str(ident)
    return told if _ID.fullmatch(told) else f"call_{told.encode().hex()}"


def _result(response: Json) -> Any:
    """What a tool answered: a text, or blocks where it answered with what can be seen."""
    if isinstance(response, list | tuple) and any(
        isinstance(one, Mapping) and one.get("type") in ("uri", "blob") for one in response
    ):
        blocks: list[dict[str, Any]] = []
        for one in response:
            if not isinstance(one, Mapping) or one.get("type") not in ("text", "uri", "blob"):
                raise Unspoken("a tool's answer of several kinds")
            blocks += _blocks(one)
        return blocks
    return words(response)


def _media(part: JsonObject) -> dict[str, Any]:
    if part.get("type") == "uri":
        return {"type": part["modality"], "source": {"type": "url", "url": part.get("uri")}}
    source = {"type": "base64", "media_type": part.get("mime_type"), "data": part.get("content")}
    return {"type": part["modality"], "source": source}
