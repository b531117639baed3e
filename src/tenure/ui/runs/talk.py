"""What was said in a trace: messages in the shape of the OpenTelemetry GenAI conventions, as values to show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tenure.kernel.json import Json, JsonObject
from tenure.kernel.memories import by_tool, in_words


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message: ``kind`` is text, call, result or other."""

    kind: str
    text: Json
    name: str = ""
    memory: str = ""
    """For a call of a tool that keeps a memory, and its result: what it does with it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a conversation."""

    role: str
    parts: tuple[Part, ...]
    name: str = ""


def attributes(raw: JsonObject) -> JsonObject:
    """The attributes of a span, or the data of an Event."""
    for name in ("attributes", "data"):
        found = raw.get(name)
        if isinstance(found, Mapping):
            return found
    return {}


def load(value: Json) -> Json:
    """JSON that came as text is read; anything else stays as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def messages(value: Json) -> tuple[Message, ...]:
    """Messages in the shape of the OpenTelemetry GenAI conventions (``gen_ai.input.messages``), also as JSON text."""
    loaded = load(value)
    if not isinstance(loaded, Sequence) or isinstance(loaded, str):
        return ()
    calls: dict[str, Part] = {}
    return tuple(_message(entry, calls) for entry in loaded if isinstance(entry, Mapping))


def _message(entry: JsonObject, calls: dict[str, Part]) -> Message:
    """One message. ``calls``: those that were asked for before, by their ids; a result says by its id whose it is."""
    parts: list[Part] = []
    for part in entry.get("parts") or ():
        match part.get("type"):
            case "text":
                parts.append(Part("text", str(part.get("content") or "")))
            case "tool_call":
                parts.append(_call(part))
                calls[str(part.get("id") or "")] = parts[-1]
            case "tool_call_response":
                answer = load(part.get("response", part.get("result")))
                parts.append(_result(part, answer, calls.get(str(part.get("id") or ""))))
            case _:
                parts.append(Part("other", dict(part)))
    if not parts and entry.get("content"):
        parts.append(Part("text", str(entry["content"])))
    return Message(str(entry.get("role") or "unknown"), tuple(parts), str(entry.get("name") or ""))


def _call(part: JsonObject) -> Part:
    name, given = str(part.get("name") or ""), load(part.get("arguments"))
    memory = by_tool(name, given)
    return Part("call", given, name, in_words(memory) if memory is not None else "")


def _result(part: JsonObject, answer: Json, call: Part | None) -> Part:
    name = str(part.get("name") or (call.name if call is not None else ""))
    memory = by_tool(name, call.text, answer) if call is not None and call.memory else None
    return Part("result", answer, name, in_words(memory) if memory is not None else "")


def said(raw: JsonObject) -> tuple[Message, ...]:
    """What a model call was told and what it answered."""
    data = attributes(raw)
    told = load(data.get("gen_ai.system_instructions"))
    return (
        *messages([{"role": "system", "parts": told}] if told else None),
        *messages(data.get("gen_ai.input.messages") or raw.get("input_messages")),
        *messages(data.get("gen_ai.output.messages") or raw.get("output_messages")),
        *messages([data["tenure.message"]] if "tenure.message" in data else None),
    )


def gist(talk: Sequence[Message], most: int = 140) -> str:
    """The beginning of the last text that was said, on one line."""
    texts = [str(part.text) for message in talk for part in message.parts if part.kind == "text" and part.text]
    line = " ".join(texts[-1][: 4 * most].split()) if texts else ""
    return line if len(line) <= most else f"{line[: most - 1]}…"


def conversation(spans: Iterable[JsonObject]) -> tuple[Message, ...]:
    """The last model call that was answered holds the whole talk before it; its answer is the last word."""
    best, most = None, 0
    for raw in spans:  # only the longest is read as messages
        length = _length(raw)
        if length and length >= most:
            best, most = raw, length
    return said(best) if best is not None else ()


def _length(raw: JsonObject) -> int:
    data = attributes(raw)
    lists = [
        load(data.get("gen_ai.input.messages") or raw.get("input_messages")),
        load(data.get("gen_ai.output.messages") or raw.get("output_messages")),
    ]
    counts = [len(found) for found in lists if isinstance(found, Sequence) and not isinstance(found, str)]
    return sum(counts) + bool(data.get("gen_ai.system_instructions")) + ("tenure.message" in data)
