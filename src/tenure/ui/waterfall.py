"""A trace as rows: each call with the decision before it, the wait for a person, and the breaker, in causal order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import Status
from tenure.ui.model import duration, moment, person

WIDTH = 1000.0  # of the drawing's view box


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a row's bar: ``kind`` is call, wait or mark; ``x`` and ``width`` in the view box."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the waterfall. ``kind`` is llm, tool, span, approval, breaker or lifecycle; ``depth`` its indent."""

    kind: str
    name: str
    status: str
    time: str
    duration: str
    depth: int
    agent: str
    pieces: tuple[Piece, ...]
    note: str = ""
    decision: JsonObject = field(default_factory=dict)
    decide: str = ""
    arguments: Json = None
    result: Json = None
    messages: tuple[Message, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    span_id: str = ""
    approval_id: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message: ``kind`` is text, call, result or other."""

    kind: str
    text: Json
    name: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a conversation."""

    role: str
    parts: tuple[Part, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace, ready to draw."""

    trace_id: str
    agents: tuple[str, ...]
    session: str
    start: str
    duration: str
    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    conversation: tuple[Message, ...]
    calls: int
    input_tokens: int
    output_tokens: int
    worst: str


@dataclass(frozen=True, slots=True)
class _Item:
    start: datetime
    end: datetime
    raw: JsonObject
    kind: str


def _attributes(raw: JsonObject) -> JsonObject:
    for name in ("attributes", "data"):
        found = raw.get(name)
        if isinstance(found, Mapping):
            return found
    return {}


def _load(value: Json) -> Json:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def messages(value: Json) -> tuple[Message, ...]:
    """Messages in the shape of the OpenTelemetry GenAI conventions (``gen_ai.input.messages``), also as JSON text."""
    loaded = _load(value)
    if not isinstance(loaded, Sequence) or isinstance(loaded, str):
        return ()
    return tuple(_message(entry) for entry in loaded if isinstance(entry, Mapping))


def _message(entry: JsonObject) -> Message:
    parts: list[Part] = []
    for part in entry.get("parts") or ():
        match part.get("type"):
            case "text":
                parts.append(Part("text", str(part.get("content") or "")))
            case "tool_call":
                parts.append(Part("call", _load(part.get("arguments")), str(part.get("name") or "")))
            case "tool_call_response":
                answer = part.get("response", part.get("result"))
                parts.append(Part("result", _load(answer), str(part.get("name") or "")))
            case _:
                parts.append(Part("other", dict(part)))
    if not parts and entry.get("content"):
        parts.append(Part("text", str(entry["content"])))
    return Message(str(entry.get("role") or "unknown"), tuple(parts), str(entry.get("name") or ""))


def _span(placed: JsonObject) -> _Item | None:
    raw: JsonObject = placed["span"] if isinstance(placed.get("span"), Mapping) else placed
    start = moment(raw.get("start") or raw.get("time") or raw.get("start_time"))
    if start is None:
        return None
    length = raw.get("duration_us")
    end = moment(raw.get("end") or raw.get("end_time"))
    if end is None:
        end = start + timedelta(microseconds=length if isinstance(length, int | float) else 0)
    operation = str(_attributes(raw).get("gen_ai.operation.name") or "")
    family = str(raw.get("type") or "").partition(".")[0]
    if family in ("approval", "breaker", "agent", "decision"):
        return _Item(start, end, raw, family)
    kind = {"chat": "llm", "text_completion": "llm", "execute_tool": "tool"}.get(operation, "span")
    return _Item(start, end, raw, kind)


def _approval(raw: JsonObject) -> _Item | None:
    start = moment(raw.get("requested_at") or raw.get("created_at"))
    if start is None:
        return None
    return _Item(start, moment(raw.get("decided_at")) or start, raw, "approval")


def _depths(items: Iterable[_Item]) -> dict[str, int]:
    parents = {str(item.raw.get("span_id")): str(item.raw.get("parent_span_id") or "") for item in items}

    def depth(span: str) -> int:
        seen: set[str] = set()
        while (parent := parents.get(span)) and parent in parents and parent not in seen and len(seen) < 12:
            seen.add(parent)
            span = parent
        return len(seen)

    return {span: depth(span) for span in parents}


class _Scale:
    def __init__(self, items: Sequence[_Item]) -> None:
        self.zero = min(item.start for item in items)
        self.length = max((max(item.end for item in items) - self.zero).total_seconds(), 1e-3)

    def at(self, time: datetime) -> float:
        return round(min(max((time - self.zero).total_seconds() / self.length, 0.0), 1.0) * WIDTH, 2)

    def piece(self, kind: str, start: datetime, end: datetime) -> Piece:
        x = min(self.at(start), WIDTH - 3)
        return Piece(kind, x, max(self.at(end) - x, 3.0))

    def ticks(self) -> tuple[tuple[float, str], ...]:
        return tuple((part / 4 * WIDTH, duration(self.length * 1e6 * part / 4) if part else "0") for part in range(5))


def _facts(raw: JsonObject, data: JsonObject) -> tuple[tuple[str, str], ...]:
    wanted = (
        ("Model asked for", "gen_ai.request.model"),
        ("Model that answered", "gen_ai.response.model"),
        ("Finish", "gen_ai.response.finish_reasons"),
        ("Input tokens", "gen_ai.usage.input_tokens"),
        ("Output tokens", "gen_ai.usage.output_tokens"),
        ("First chunk after", "gen_ai.response.time_to_first_chunk"),
        ("Upstream", "server.address"),
        ("HTTP status", "http.response.status_code"),
        ("MCP server", "mcp.server.name"),
        ("Error", "error.type"),
    )
    out = []
    for word, name in wanted:
        value = data.get(name)
        if value is None or value == "":
            continue
        if name.endswith("first_chunk"):
            value = duration(float(value) * 1e6)
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        elif isinstance(value, int) and "tokens" in name:
            value = f"{value:,}"
        out.append((word, str(value)))
    out += [
        (word, str(raw[name])) for word, name in (("Release", "release"), ("Instance", "instance")) if raw.get(name)
    ]
    return (*out, ("Span", str(raw.get("span_id") or "")))


def _call_row(item: _Item, scale: _Scale, depth: int, waited: tuple[datetime, datetime] | None) -> Row:
    raw, data = item.raw, _attributes(item.raw)
    decision = data.get("tenure.decision")
    decision = _load(decision) if not isinstance(decision, Mapping) else decision
    decision = decision if isinstance(decision, Mapping) else {}
    pieces = []
    begin = item.start
    if waited:
        pieces.append(scale.piece("wait", waited[0], waited[1]))
        begin = max(begin, min(waited[1], item.end))
    if decision.get("effect") != "deny":
        pieces.append(scale.piece("call", begin, item.end))
    if decision:
        pieces.append(Piece("mark", min(scale.at(item.start), WIDTH - 3), 3.0))
    talk = (
        *messages(data.get("gen_ai.input.messages") or raw.get("input_messages")),
        *messages(data.get("gen_ai.output.messages") or raw.get("output_messages")),
    )
    took = (item.end - item.start).total_seconds() * 1e6
    return Row(
        kind=item.kind,
        name=str(raw.get("name") or data.get("tenure.resource") or item.kind),
        status=str(raw.get("status") or Status.ALLOWED),
        time=item.start.isoformat(),
        duration=duration(took) if took else "",
        depth=depth,
        agent=str(raw.get("agent") or ""),
        pieces=tuple(pieces),
        note=str(decision.get("reason") or "") if decision.get("effect") != "allow" else "",
        decision=decision,
        decide=duration(data.get("tenure.decide_us")),
        arguments=_load(data.get("gen_ai.tool.call.arguments")),
        result=_load(data.get("gen_ai.tool.call.result")),
        messages=talk if item.kind == "llm" else (),
        facts=_facts(raw, data),
        span_id=str(raw.get("span_id") or ""),
        approval_id=str(data.get("tenure.approval.id") or ""),
    )


def _approval_row(item: _Item, scale: _Scale, depth: int) -> Row:
    raw = item.raw
    state = str(raw.get("state") or "pending")
    by = person(raw.get("decided_by"))
    resource = str(raw.get("resource") or "call")
    word = {"granted": "approved", "claimed": "approved"}.get(state, state)
    return Row(
        kind="approval",
        name=f"{resource} {word} by {by}" if by else f"{resource}: approval {word}",
        status=Status.VIOLATION if state == "rejected" else Status.FLAGGED,
        time=item.start.isoformat(),
        duration=duration((item.end - item.start).total_seconds() * 1e6) if item.end > item.start else "",
        depth=depth,
        agent=str(raw.get("agent") or ""),
        pieces=(scale.piece("wait", item.start, item.end),),
        note=str(raw.get("reason") or raw.get("why") or ""),
        facts=tuple(
            (label, str(raw[key]))
            for label, key in (("Digest", "digest"), ("Policy version", "policy_version"), ("Decided", "decided_at"))
            if raw.get(key)
        ),
        approval_id=str(raw.get("id") or ""),
    )


def _happening_row(item: _Item, scale: _Scale) -> Row:
    data = _attributes(item.raw)
    kind = str(item.raw.get("type") or "")
    name = kind.replace(".", " ")
    if kind == "agent.transitioned":
        name = f"{data.get('from', '')} → {data.get('to', '')}"
    return Row(
        kind=item.kind,
        name=f"{name} by {person(item.raw['actor'])}" if item.raw.get("actor") else name,
        status=str(item.raw.get("status") or Status.ALLOWED),
        time=item.start.isoformat(),
        duration="",
        depth=0,
        agent=str(item.raw.get("agent") or ""),
        pieces=(Piece("mark", min(scale.at(item.start), WIDTH - 3), 3.0),),
        note=str(data.get("reason") or ""),
        facts=tuple((key.replace("_", " ").capitalize(), str(value)) for key, value in data.items() if key != "reason"),
    )


def _conversation(spans: Sequence[_Item]) -> tuple[Message, ...]:
    """The last model call that was answered holds the whole talk before it; its answer is the last word."""
    best: tuple[Message, ...] = ()
    for item in spans:
        data = _attributes(item.raw)
        talk = (
            *messages(data.get("gen_ai.input.messages") or item.raw.get("input_messages")),
            *messages(data.get("gen_ai.output.messages") or item.raw.get("output_messages")),
        )
        if len(talk) >= len(best):
            best = talk
    return best


def _tokens(spans: Iterable[_Item], name: str) -> int:
    return sum(int(_attributes(item.raw).get(name) or 0) for item in spans)


def draw(
    trace_id: str,
    spans: Iterable[JsonObject],
    approvals: Iterable[JsonObject] = (),
) -> Trace | None:
    """The rows of a trace, or None for one without a span. ``spans``: as the API gives them, the moments of approvals,
    of the breaker and of the lifecycle among them; ``approvals``: those that its calls waited for."""
    everything = sorted((item for item in map(_span, spans) if item), key=lambda item: item.start)
    if not everything:
        return None
    calls = [item for item in everything if item.kind in ("llm", "tool", "span")]
    waits = {str(item.raw.get("id")): item for item in map(_approval, approvals) if item}
    # A decision is told with its call and an approval by its own record, which knows both ends of the wait.
    told = ("decision", "approval") if waits else ("decision",)
    others = [item for item in everything if item.kind not in ("llm", "tool", "span", *told)]
    scale = _Scale([*calls, *waits.values(), *others])
    depths = _depths(calls)
    timed: list[tuple[datetime, int, Row]] = []
    shown: set[str] = set()
    for item in calls:
        depth = depths[str(item.raw.get("span_id"))]
        wait = waits.get(str(_attributes(item.raw).get("tenure.approval.id") or ""))
        inside = (wait.start, wait.end) if wait and wait.start >= item.start - timedelta(seconds=1) else None
        timed.append((item.start, 0, _call_row(item, scale, depth, inside)))
        if wait and str(wait.raw.get("id")) not in shown:
            shown.add(str(wait.raw.get("id")))
            timed.append((wait.start, 1, _approval_row(wait, scale, depth + 1)))
    # A call that still waits, or never went on, has no span of its own: its approval stands for it.
    timed += [(wait.start, 1, _approval_row(wait, scale, 0)) for ident, wait in waits.items() if ident not in shown]
    timed += [(item.start, 2, _happening_row(item, scale)) for item in others]
    rows = tuple(row for _, _, row in sorted(timed, key=lambda entry: (entry[0], entry[1])))
    order = (Status.ALLOWED, Status.FLAGGED, Status.ANOMALY, Status.VIOLATION)
    statuses = [row.status for row in rows if row.status in order]
    return Trace(
        trace_id=trace_id,
        agents=tuple(dict.fromkeys(row.agent for row in rows if row.agent)),
        session=next((str(item.raw["session"]) for item in calls if item.raw.get("session")), ""),
        start=scale.zero.isoformat(),
        duration=duration(scale.length * 1e6),
        rows=rows,
        ticks=scale.ticks(),
        conversation=_conversation([item for item in calls if item.kind == "llm"]),
        calls=len(calls),
        input_tokens=_tokens(calls, "gen_ai.usage.input_tokens"),
        output_tokens=_tokens(calls, "gen_ai.usage.output_tokens"),
        worst=max(statuses, key=lambda status: order.index(Status(status)), default=Status.ALLOWED),
    )


def approval_ids(spans: Iterable[JsonObject]) -> list[str]:
    """The approvals that the calls of a trace waited for."""
    found: list[Any] = []
    for placed in spans:
        data = _attributes(placed["span"] if isinstance(placed.get("span"), Mapping) else placed)
        found.append(data.get("tenure.approval.id") or data.get("approval_id"))
    return list(dict.fromkeys(str(ident) for ident in found if ident))
