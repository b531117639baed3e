"""Gemini's generateContent. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tenure.forks.dialects.parts import SYSTEM, Asked, Request, Unspoken, check, kind_of, placed, table, turns, words
from tenure.forks.record import MADE, text_of
from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject

_API = "Gemini's API"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_OWN = frozenset(
    {"googleSearch", "googleSearchRetrieval", "googleMaps", "codeExecution", "urlContext", "computerUse", "fileSearch"}
    | {"google_search", "google_search_retrieval", "google_maps", "code_execution", "url_context"}
    | {"computer_use", "file_search"}
)
"""Tools that Google runs by itself: what they found is not in the record, so they cannot be answered from it."""
_SIGNED = re.compile(r"gemini-[3-9]")
_UNSIGNED = "skip_thought_signature_validator"
"""What Google takes in place of the signature of a call that is not of this conversation's model: signatures are not
recorded, and models from Gemini 3 on refuse calls without one."""


def request(asked: Asked) -> Request:
    """One request. Raises Refused (422)."""
    check(_API, asked, "gemini", _NAME)
    own = next((tool.name for tool in asked.tools if asked.api == "gemini" and tool.name in _OWN), None)
    if own is not None:
        raise Refused(
            "tool_not_spoken",
            f"The model was offered {own}, which Google runs by itself: what it found is not in the record.",
            fix="Choose another run.",
            status=422,
        )
    system = [text_of({"parts": asked.instructions})] if asked.instructions else []
    system += [text_of(message) for message in asked.messages if message.get("role") in SYSTEM]
    names, signed = dict[str, str](), bool(_SIGNED.match(asked.model))
    contents: list[dict[str, Any]] = []
    for number, role, parts in turns(asked.messages):
        if role in SYSTEM:
            continue
        names |= {str(part.get("id")): str(part.get("name")) for part in parts if part.get("type") == "tool_call"}
        who = "model" if role == "assistant" else "user"
        with placed(_API, number, role):
            said = [made for part in parts if (made := _part(part, names, signed)) is not None]
        if contents and contents[-1]["role"] == who:  # the answers to one turn's calls are one content
            contents[-1]["parts"] += said
        elif said:
            contents.append({"role": who, "parts": said})
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join(system)}]}
    if asked.tools:
        declared = [
            {"name": tool.name, "description": tool.description, "parametersJsonSchema": dict(tool.schema)}
            for tool in asked.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
    if asked.max_tokens is not None:
        body["generationConfig"] = {"maxOutputTokens": asked.max_tokens}
    path = f"/v1beta/models/{quote(asked.model.removeprefix('models/'), safe='')}:generateContent"
    return Request(path, "x-goog-api-key", "", body)


def _part(part: JsonObject, names: Mapping[str, str], signed: bool) -> dict[str, Any] | None:
    match part.get("type"):
        case "text" | "refusal":
            return {"text": str(part["content"])} if part.get("content") else None
        case "tool_call":
            call = {**_ident(part.get("id")), "name": part.get("name"), "args": dict(table(part.get("arguments")))}
            return {"functionCall": call} | ({"thoughtSignature": _UNSIGNED} if signed else {})
        case "tool_call_response":
            name = part.get("name") or names.get(str(part.get("id")))
            if not name:
                raise Unspoken("a tool's answer to no call")
            answered = {"name": name, "response": _result(part)}
            return {"functionResponse": {**_ident(part.get("id")), **answered}}
        case "blob":
            return {"inlineData": {"mimeType": part.get("mime_type"), "data": part.get("content")}}
        case "uri" if part.get("mime_type"):
            return {"fileData": {"mimeType": part["mime_type"], "fileUri": part.get("uri")}}
        case "reasoning":
            return None  # the provider keeps its own
        case _:
            raise Unspoken(kind_of(part))


def _ident(ident: Json) -> dict[str, str]:
    """The id of a call where the record has one: one that was only made up to tell calls apart is not said."""
    told = str(ident or "")
    return {} if not told or told.startswith(MADE) else {"id": told}


def _result(part: JsonObject) -> dict[str, Any]:
    """This API wants an object; the field for one that is none is ``result``, or ``error`` for a failure."""
    response = part.get("response")
    if isinstance(response, Mapping) and "content" not in response:
        return dict(response)
    return {"error" if part.get("is_error") is True else "result": words(response)}
