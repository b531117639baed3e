"""What the requests of all model APIs have in common: their shape, and the parts of messages. Pure.

A conversation that was recorded over one API is said over another only where it can be said whole. What cannot is
refused, with its place: a fork that leaves something out would be compared with a run that had it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tenure.forks.record import loaded
from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonArray, JsonObject

SYSTEM = ("system", "developer")
_SEEN = frozenset({"blob", "uri", "image", "image_url", "input_image", "audio", "document", "file", "resource"})


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to the gateway: ``path`` below its address, the header that the token goes into with what stands
    before it, and the body."""

    path: str
    header: str
    prefix: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the model is offered it. ``schema`` is JSON Schema of its arguments."""

    name: str
    description: str
    schema: JsonObject


@dataclass(frozen=True, slots=True)
class Asked:
    """What goes into a model, in the shape of the GenAI conventions. ``api``: over which it was recorded, empty where
    that is not known."""

    model: str
    instructions: JsonArray
    messages: Sequence[JsonObject]
    tools: Sequence[Tool]
    max_tokens: int | None
    api: str = ""


class Unspoken(Exception):  # noqa: N818 (told on as a refusal with its place)
    """A part of a message that an API has no word for: ``what`` it is."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def turns(messages: Iterable[JsonObject]) -> Iterator[tuple[int, str, list[JsonObject]]]:
    """(number of its first message, role, parts) of each turn: what a model says in several messages, one for each
    call, is one answer."""
    kept: tuple[int, str, list[JsonObject]] | None = None
    for number, message in enumerate(messages, 1):
        role = str(message.get("role") or "")
        found = message.get("parts")
        parts = [part for part in found if isinstance(part, Mapping)] if isinstance(found, list | tuple) else []
        if kept is not None and kept[1] == role == "assistant":
            kept[2].extend(parts)
            continue
        if kept is not None:
            yield kept
        kept = (number, role, parts)
    if kept is not None:
        yield kept


@contextmanager
def placed(api: str, number: int, role: str) -> Iterator[None]:
    """Refuses (422), with its place, what the block cannot say of a turn."""
    try:
        yield
    except Unspoken as error:
        raise Refused(
            "part_not_spoken",
            f"Message {number} of the conversation ({role or 'of nobody'}) holds {error.what}, which cannot be said "
            f"over {api}.",
            fix="Fork from a step before it, or on a model that is served over the API that the run was recorded over.",
            status=422,
        ) from None


def check(api: str, asked: Asked, own: str, name: re.Pattern[str]) -> None:
    """Raises Refused (422) for a conversation of another API that this one would turn down: tools that it cannot call
    by their names, calls that were never answered. ``own``: what it is called as an origin."""
    if asked.api == own:
        return
    called: dict[str, None] = dict.fromkeys(tool.name for tool in asked.tools)
    waiting: dict[str, tuple[int, str]] = {}
    for number, role, parts in turns(asked.messages):
        if role == "assistant" and waiting:
            break
        for part in parts:
            if part.get("type") == "tool_call":
                called[str(part.get("name") or "")] = None
                waiting[str(part.get("id"))] = (number, str(part.get("name") or ""))
            elif part.get("type") == "tool_call_response":
                waiting.pop(str(part.get("id")), None)
    for number, tool in waiting.values():
        raise Refused(
            "call_not_answered",
            f"Message {number} of the conversation calls {tool}, and nothing answers it before the model speaks again; "
            f"{api} takes no such conversation.",
            fix="Fork from a step before it.",
            status=422,
        )
    wrong = next((each for each in called if not name.fullmatch(each)), None)
    if wrong is not None:
        raise Refused(
            "tool_not_spoken",
            f"{api} cannot call a tool by the name {wrong!r}.",
            fix="Fork on a model that is served over the API that the run was recorded over.",
            status=422,
        )


def words(response: Json) -> str:
    """What a tool answered, as a text. Raises Unspoken for what is not one."""
    if isinstance(response, str):
        return response
    blocks = response.get("content") if isinstance(response, Mapping) else response
    if isinstance(blocks, list | tuple) and all(isinstance(one, Mapping) for one in blocks):
        kinds = [one.get("type") for one in blocks]
        if blocks and all(kind == "text" for kind in kinds):
            return "".join(str(one.get("text") or one.get("content") or "") for one in blocks)
        seen = next((kind for kind in kinds if kind in _SEEN), None)
        if seen is not None:
            raise Unspoken(f"a tool's answer with a part of the kind {seen}")
    return json.dumps(response, ensure_ascii=False)


def text(arguments: Json) -> str:
    """The arguments of a call as JSON text."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


def table(arguments: Json) -> JsonObject:
    """The arguments of a call as an object. Raises Unspoken for what is none."""
    given = loaded(arguments)
    if given is None or given == "":
        return {}
    if not isinstance(given, Mapping):
        raise Unspoken("a tool call whose arguments are no object")
    return given


def kind_of(part: JsonObject) -> str:
    """What a part is, in words."""
    kind, modality = part.get("type"), part.get("modality")
    return f"a part of the kind {kind}" + (f" ({modality})" if modality else "")
