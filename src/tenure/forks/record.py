"""What a recorded run says that a fork of it needs: the conversation up to a step, what tools answered from there on,
and what people said later. Pure."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tenure.comparison.model import Step
from tenure.evaluation.model import bare_tool
from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonArray, JsonObject, canonical
from tenure.kernel.wires import wire_of
from tenure.telemetry.model import Span

Told = Sequence[tuple[Step, Span]]
INPUT, OUTPUT, SYSTEM = "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"
MADE = "tenure-call-"
"""How an id begins that a tool call was given here, because its API gave it none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool answered to a call. ``name`` as the model calls it; ``span`` where the call itself is told, None for
    one that never crossed a gateway and is known from the conversation alone."""

    name: str
    arguments: Json
    response: Json
    span: Span | None = None

    @property
    def key(self) -> tuple[str, bytes]:
        """What an equal call has the same of."""
        return key_of(self.name, self.arguments)


@dataclass(frozen=True, slots=True)
class Said:
    """What a person said to an answer of the model (its text)."""

    to: str
    message: JsonObject


@dataclass(frozen=True, slots=True)
class Course:
    """``instructions`` and ``messages`` went into the model at the step, in the shape of the GenAI conventions.
    ``answers``: of tools, from there on, in their order; ``earlier``: before. ``said``: by people from there on.
    ``tools``: the names of those that the model was offered, or called, with a call of each where there was one.
    ``about``: the person whom the run was for, empty for nobody. ``api``: over which the step was recorded (openai,
    responses, anthropic, gemini), empty where that is not known."""

    agent: str
    model: str
    instructions: JsonArray
    messages: tuple[JsonObject, ...]
    answers: tuple[Answer, ...]
    earlier: tuple[Answer, ...]
    said: tuple[Said, ...]
    tools: Mapping[str, Json]
    max_tokens: int | None
    about: str
    api: str = ""


def key_of(name: str, arguments: Json) -> tuple[str, bytes]:
    """A call, so that two are equal that name the same tool, with its server or without, and give it the same."""
    try:
        given = canonical(loaded(arguments))
    except ValueError:  # numbers beyond what RFC 8785 writes
        given = json.dumps(loaded(arguments), sort_keys=True).encode()
    return bare_tool(name), given


def loaded(value: Json) -> Json:
    """JSON that came as text is read; anything else stays as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def course_of(told: Told, number: int) -> Course:
    """What a fork from step ``number`` (the first is 1) begins with. Raises Refused where there is no such step, where
    it is no call of a model, and where what went into it is not kept."""
    step, span = at(told, number)
    if step.kind != "chat":
        near = max((one for one in range(1, number) if told[one - 1][0].kind == "chat"), default=0)
        fix = f"Step {near} is the last one before it." if near else "Choose a step of the kind chat."
        raise Refused("not_a_model_call", f"Step {number} is {step.label}: no model is called in it.", fix=fix)
    data = span.attributes
    messages = _messages(data.get(INPUT))
    if data.get("tenure.previous_response.id"):
        raise Refused(
            "not_recorded",
            f"Step {number} cannot be played again: what was said before it is kept by the provider, not here.",
            fix="Choose the step that the conversation began with, or another run.",
            status=409,
        )
    if not messages:
        why = data.get("tenure.content") or "what went into it was not recorded"
        raise Refused(
            "not_recorded",
            f"Step {number} cannot be played again: its content is gone ({why}).",
            fix="Choose another step, or another run.",
            status=409,
        )
    chats = [one for one in _chats(told[number - 1 :], span.agent) if _begins_with(one, messages)]
    longest = max(chats, key=len)
    calls = list(_calls(longest[len(messages) :]))
    spans = [one for kind, one in ((each.kind, of) for each, of in told[number - 1 :]) if kind in ("tool", "agent")]
    before = [one for each, one in told[: number - 1] if each.kind in ("tool", "agent")]
    asked = data.get("tenure.call.arguments")
    asked = asked if isinstance(asked, Mapping) else {}
    most = asked.get("max_tokens") or asked.get("max_completion_tokens") or asked.get("max_output_tokens")
    answers = _with_spans(calls, spans)
    earlier = _with_spans(list(_calls(messages)), before)
    offered = asked.get("tools")
    names = [str(name) for name in offered] if isinstance(offered, list | tuple) else []
    seen: dict[str, Json] = {one.name: loaded(one.arguments) for one in (*earlier, *answers)}
    return Course(
        agent=span.agent or "",
        model=str(data.get("gen_ai.request.model") or ""),
        instructions=_messages_or_parts(data.get(SYSTEM)),
        messages=tuple(messages),
        answers=tuple(answers),
        earlier=tuple(earlier),
        said=tuple(_said(longest, len(messages))),
        tools={name: seen.get(name) for name in dict.fromkeys([*names, *([] if names else seen)])},
        max_tokens=most if type(most) is int else None,
        about=str(data.get("enduser.id") or data.get("tenure.on_behalf_of") or ""),
        api=_api(data),
    )


def _api(data: JsonObject) -> str:
    provider = data.get("gen_ai.provider.name")
    if not isinstance(provider, str):
        return ""
    wire = wire_of(provider)
    return "responses" if wire == "openai" and data.get("openai.api.type") == "responses" else wire


def with_ids(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The messages with an id for each tool call that has none, as Gemini's may, and the same for its answer: the first
    call of that name that is not answered. What stands before is the same however the conversation goes on."""
    waiting: list[tuple[str, str]] = []
    out, made = list[JsonObject](), 0
    for message in messages:
        parts = list[JsonObject]()
        for part in _parts(message):
            kind, told = part.get("type"), part
            if kind == "tool_call":
                if not part.get("id"):
                    told, made = {**part, "id": f"{MADE}{made}"}, made + 1
                waiting.append((str(part.get("name")), str(told["id"])))
            elif kind == "tool_call_response" and part.get("id"):
                waiting = [one for one in waiting if one[1] != part["id"]]
            elif kind == "tool_call_response" and waiting:
                found = next((n for n, (name, _) in enumerate(waiting) if name == part.get("name")), 0)
                told = {**part, "id": waiting.pop(found)[1]}
            parts.append(told)
        out.append({**message, "parts": parts} if isinstance(message.get("parts"), list | tuple) else message)
    return out


def at(told: Told, number: int) -> tuple[Step, Span]:
    """The step of that number. Raises Refused (404)."""
    if not 1 <= number <= len(told):
        raise Refused(
            "unknown_step",
            f"The run has {len(told)} steps.",
            fix="`tenure runs steps TRACE` lists them with their numbers.",
            status=404,
        )
    return told[number - 1]


def text_of(message: JsonObject) -> str:
    """What a message says in words."""
    parts = [part for part in _parts(message) if part.get("type") == "text"]
    return "\n".join(str(part.get("content") or "") for part in parts)


def calls_of(message: JsonObject) -> list[JsonObject]:
    """The tool calls of a message, as parts."""
    return [part for part in _parts(message) if part.get("type") == "tool_call"]


def _parts(message: JsonObject) -> list[JsonObject]:
    found = message.get("parts")
    return [part for part in found if isinstance(part, Mapping)] if isinstance(found, list | tuple) else []


def _messages(value: Json) -> list[JsonObject]:
    found = loaded(value)
    return with_ids([one for one in found if isinstance(one, Mapping)]) if isinstance(found, list | tuple) else []


def _messages_or_parts(value: Json) -> JsonArray:
    found = loaded(value)
    return found if isinstance(found, list | tuple) else []


def _chats(told: Told, agent: str | None) -> Iterator[list[JsonObject]]:
    for step, span in told:
        if step.kind == "chat" and span.agent == agent:
            yield _messages(span.attributes.get(INPUT))


def _begins_with(longer: Sequence[JsonObject], shorter: Sequence[JsonObject]) -> bool:
    return len(longer) >= len(shorter) and list(longer[: len(shorter)]) == list(shorter)


def _calls(messages: Sequence[JsonObject]) -> Iterator[Answer]:
    """Tool calls that the conversation has the answers of. Ids of calls may come again: the last call of an id is the
    one that is answered."""
    waiting: dict[str, JsonObject] = {}
    for message in messages:
        for part in _parts(message):
            if part.get("type") == "tool_call":
                waiting[str(part.get("id"))] = part
            elif part.get("type") == "tool_call_response" and str(part.get("id")) in waiting:
                call = waiting.pop(str(part.get("id")))
                yield Answer(str(call.get("name") or ""), call.get("arguments"), part.get("response"))


def _with_spans(calls: Sequence[Answer], spans: Sequence[Span]) -> list[Answer]:
    """The answers of a conversation with the spans that tell of the calls, then those that are told by spans alone."""
    waiting: dict[tuple[str, bytes], deque[Span]] = {}
    for span in spans:
        waiting.setdefault(key_of(_name(span), _given(span)), deque()).append(span)
    found = []
    for call in calls:
        queue = waiting.get(call.key)
        found.append(Answer(call.name, call.arguments, call.response, queue.popleft() if queue else None))
    left = {id(span) for queue in waiting.values() for span in queue}
    return found + [
        Answer(bare_tool(_name(span)), _given(span), span.attributes.get("gen_ai.tool.call.result"), span)
        for span in spans
        if id(span) in left and span.attributes.get("gen_ai.tool.call.result") is not None
    ]


def _name(span: Span) -> str:
    return str(span.attributes.get("tenure.resource") or span.attributes.get("gen_ai.tool.name") or span.name)


def _given(span: Span) -> Json:
    return span.attributes.get("gen_ai.tool.call.arguments") or {}


def _said(messages: Sequence[JsonObject], since: int) -> Iterator[Said]:
    """What people said from a place on, each with the answer that it was said to."""
    to = ""
    for place, message in enumerate(messages):
        role = message.get("role")
        if role == "assistant":
            to = text_of(message)
        elif role == "user" and place >= since and text_of(message):
            yield Said(to, message)


def changed(course: Course, system: str | None, prompt: str | None) -> Course:
    """The same beginning with other instructions, or other last words of the person."""
    messages, instructions = list(course.messages), course.instructions
    if system is not None:
        text = {"type": "text", "content": system}
        first = messages[0].get("role") if messages else ""
        if first in ("system", "developer"):
            messages[0] = {**messages[0], "parts": [text]}
        elif instructions:
            instructions = [text]
        else:
            messages.insert(0, {"role": "system", "parts": [text]})
    if prompt is not None:
        last = max((n for n, one in enumerate(messages) if one.get("role") == "user" and text_of(one)), default=None)
        words: dict[str, Any] = {"role": "user", "parts": [{"type": "text", "content": prompt}]}
        if last is None:
            messages.append(words)
        else:
            messages[last] = words
    return replace(course, instructions=instructions, messages=tuple(messages))
