"""Values of telemetry and the pure rules that make them of Events.

Attribute names and the shape of messages are those of the OpenTelemetry GenAI semantic conventions, 1.38
(``gen_ai.input.messages``, ``gen_ai.output.messages``); names under ``tenure.`` are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tenure.kernel.ids import moment_span, stable_id
from tenure.kernel.json import JsonArray, JsonObject
from tenure.kernel.values import Event, Status
from tenure.telemetry.altered import Altered
from tenure.telemetry.measured import (
    SIGNALS,
    Act,
    AgentStats,
    Cause,
    Changed,
    Measured,
    Reasoned,
    Signal,
    ToolShare,
    ToolUse,
    Walked,
)
from tenure.telemetry.seen import Heard, Introduced, Spoken, Stranger, UnknownPeer, Used

GATEWAY_TYPES = frozenset(
    {"call.completed", "call.refused", "request.refused", "approval.requested", "approval.claimed", "client.seen"}
    | {"breaker.tripped", "breaker.trial", "tool.seen", "secret.used", "gateway.dropped", "limits.asked"}
    | {"draft.claimed", "sequence.asked", "sequence.step", "sequence.late", "fork.called", "fork.refused"}
)
"""The event types that a gateway may send."""
IMPORT_TYPES = frozenset({"import.call", "import.message", "import.outcome"})
"""The event types that a person may import."""
JOINED = "tenure.joined"
"""The attribute that says, of a moment that belongs to no trace and is shown in one, what it concerns there:
``request``, ``agent``, ``tool``, ``release``, ``chain`` or ``workspace``."""
CALL_TYPES = frozenset({"call.completed", "call.refused", "import.call"})
"""The event types that are one Call each."""
STEP_TYPES = CALL_TYPES | {"fork.called", "fork.refused", "fork.answered"}
"""Those and what a run that is played again tells of each Call: shown as calls, and counted as none."""

__all__ = [
    "CALL_TYPES",
    "GATEWAY_TYPES",
    "IMPORT_TYPES",
    "JOINED",
    "SIGNALS",
    "Act",
    "AgentStats",
    "Cause",
    "Changed",
    "FeedItem",
    "Heard",
    "Introduced",
    "Measured",
    "Outcome",
    "Placed",
    "Reasoned",
    "Session",
    "Signal",
    "Span",
    "Spoken",
    "Stranger",
    "ToolShare",
    "ToolUse",
    "Trace",
    "TraceSummary",
    "UnknownPeer",
    "Used",
    "Walked",
    "decision_span",
    "message_data",
    "outcome_data",
    "outcome_of",
    "reason_of",
    "span_name",
    "span_of",
    "status_of",
    "trace_of",
    "uses_tokens",
]


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call that a gateway decided on. ``data``: the attributes of its Event as JSON text, for readers that want a few
    of them out of many calls."""

    seq: int
    id: str
    time: datetime
    agent: str
    session: str
    data: str
    release: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended, as somebody judged it. ``reward`` is what the source gave (1.0 = solved), ``success``
    whether that counts as solved. ``task`` names what was attempted and ``trial`` which attempt it was, from 0."""

    source: str
    task: str
    trial: int
    reward: float
    success: bool
    agent: str | None = None
    session: str | None = None
    trace_id: str | None = None
    time: datetime | None = None
    detail: JsonObject = field(default_factory=dict)


def outcome_data(
    source: str, task: str, trial: int, *, reward: float, success: bool, detail: JsonObject | None = None
) -> JsonObject:
    """The ``data`` of an ``import.outcome`` Event; ``outcome_of`` reads it back."""
    facts: dict[str, Any] = {"tenure.source": source, "tenure.task": task, "tenure.trial": trial}
    facts |= {"tenure.outcome.reward": reward, "tenure.outcome.success": success}
    return facts | ({"tenure.outcome.detail": detail} if detail else {})


def outcome_of(event: Event) -> Outcome | None:
    """The Outcome that an ``import.outcome`` Event tells; None for any other Event."""
    if event.type != "import.outcome":
        return None
    data = event.data
    return Outcome(
        source=str(data.get("tenure.source", "")),
        task=str(data.get("tenure.task", "")),
        trial=int(data.get("tenure.trial", 0)),
        reward=float(data.get("tenure.outcome.reward", 0.0)),
        success=bool(data.get("tenure.outcome.success", False)),
        agent=event.agent,
        session=event.session,
        trace_id=event.trace_id,
        time=event.time,
        detail=data.get("tenure.outcome.detail") or {},
    )


def message_data(source: str, step: int, message: JsonObject, recipient: str | None = None) -> JsonObject:
    """The ``data`` of an ``import.message`` Event: who said what to whom at which step. ``message`` is
    ``{role, parts, name?}`` as ``messages_from_openai`` makes them; ``name`` is the speaker."""
    facts: dict[str, Any] = {"tenure.source": source, "tenure.step": step, "tenure.message": message}
    return facts | ({"tenure.recipient": recipient} if recipient else {})


# --- spans ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """One OpenTelemetry span. ``kind`` is client, internal, server, producer or consumer; ``status`` is
    unset, ok or error; ``duration_us`` 0 for a moment. ``event`` is the Event it was made of, ``type`` that Event's
    type."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    start: datetime
    duration_us: int
    status: str = "unset"
    status_message: str = ""
    attributes: JsonObject = field(default_factory=dict)
    event: str = ""
    type: str = ""
    feed_status: Status = Status.ALLOWED
    workspace: str = ""
    agent: str | None = None
    session: str | None = None
    release: str | None = None
    instance: str | None = None
    actor: str = ""
    policy_version: str | None = None
    memory_snapshot: str | None = None
    events: JsonArray = ()
    links: JsonArray = ()

    @property
    def end(self) -> datetime:
        """When it ended."""
        return self.start + timedelta(microseconds=self.duration_us)


@dataclass(frozen=True, slots=True)
class Placed:
    """A span at its place in the waterfall: ``depth`` 0 for a root, ``offset_us`` after the trace's first start."""

    span: Span
    depth: int
    offset_us: int


@dataclass(frozen=True, slots=True)
class Trace:
    """All spans of one trace in causal order: parents before children, children by the time they began."""

    trace_id: str
    spans: tuple[Placed, ...] = ()
    withheld: str = ""  # why something that was said in it is not shown, and whom to ask
    altered: Mapping[str, tuple[Altered, ...]] = field(default_factory=dict)  # by the id of the Event, ``altering.py``

    @property
    def duration_us(self) -> int:
        """From the first start to the last end."""
        ends = (one.offset_us + one.span.duration_us for one in self.spans if JOINED not in one.span.attributes)
        return max(ends, default=0)


_APART = frozenset({"otlp.events", "otlp.links"})


def span_of(event: Event) -> Span:
    """The Event as an OpenTelemetry span.

    A Call (and a span that came over OTLP) keeps its own span id. Anything else that happened in a trace is a moment:
    its span id is made of the Event's id, its parent is the span it tells about.
    """
    data = event.data
    is_span = event.type in STEP_TYPES or event.type == "otlp.span"
    span_id, parent = event.span_id, event.parent_span_id
    if not is_span or not span_id:
        span_id, parent = moment_span(event.id), event.span_id or event.parent_span_id
    status, message = status_of(event)
    return Span(
        trace_id=event.trace_id or "",
        span_id=span_id,
        parent_span_id=parent,
        name=span_name(event),
        kind=_span_kind(event),
        start=event.time,
        duration_us=event.duration_us or 0,
        status=status,
        status_message=message,
        attributes={k: v for k, v in data.items() if k not in _APART} if _APART & data.keys() else data,
        event=event.id,
        type=event.type,
        feed_status=event.status,
        workspace=event.workspace,
        agent=event.agent,
        session=event.session,
        release=event.release,
        instance=event.instance,
        actor=event.actor,
        policy_version=event.policy_version,
        memory_snapshot=event.memory_snapshot,
        events=data.get("otlp.events") or (),
        links=data.get("otlp.links") or (),
    )


def decision_span(span: Span) -> Span | None:
    """The policy decision inside a Call's span, as a child that began with it; None for a span that holds none."""
    decision = span.attributes.get("tenure.decision")
    if span.type not in STEP_TYPES or not isinstance(decision, Mapping):
        return None
    effect = str(decision.get("effect", ""))
    return Span(
        trace_id=span.trace_id,
        span_id=stable_id("decision", span.event)[:16],
        parent_span_id=span.span_id,
        name=f"decide {effect}",
        kind="internal",
        start=span.start,
        duration_us=int(span.attributes.get("tenure.decide_us") or 0),
        status="error" if effect == "deny" else "ok",
        status_message=str(decision.get("reason", "")) if effect == "deny" else "",
        attributes={f"tenure.decision.{key}": value for key, value in decision.items()},
        event=span.event,
        type="decision",
        feed_status=span.feed_status,
        workspace=span.workspace,
        agent=span.agent,
        session=span.session,
        release=span.release,
        policy_version=span.policy_version,
        memory_snapshot=span.memory_snapshot,
    )


def trace_of(trace_id: str, spans: Sequence[Span], beside: Sequence[Span] = (), *, decisions: bool = True) -> Trace:
    """The waterfall of ``spans`` (of one trace, in any order), with every Call's decision added as its child. A span
    whose parent is not there is a root; a circle of parents, which only a broken client sends, is cut where it
    begins. ``beside``: moments that belong to no trace and have their place in this one (``beside.py``); those from
    before it began have an offset below zero, and the time it took is not theirs."""
    began = min((span.start for span in spans), default=None)
    known = {(span.span_id, span.event): span for span in (*spans, *beside)}
    made = map(decision_span, known.values()) if decisions else ()
    everything = [*known.values(), *(one for one in made if one is not None)]
    everything.sort(key=lambda span: (span.start, span.duration_us == 0, -span.duration_us, span.event))
    ids = {span.span_id for span in everything}
    children: dict[str | None, list[Span]] = {}
    for span in everything:
        children.setdefault(span.parent_span_id if span.parent_span_id in ids else None, []).append(span)
    if not everything:
        return Trace(trace_id)
    first = began or everything[0].start
    placed: list[Placed] = []
    seen: set[tuple[str, str]] = set()
    roots = children.pop(None, [])
    for root in [*roots, *everything]:  # the second part finds only what circles keep from the roots
        stack = [(root, 0)]
        while stack:
            span, depth = stack.pop()
            if (span.span_id, span.event) in seen:
                continue
            seen.add((span.span_id, span.event))
            placed.append(Placed(span, depth, (span.start - first) // timedelta(microseconds=1)))
            stack.extend((child, depth + 1) for child in reversed(children.get(span.span_id, ())))
    return Trace(trace_id, tuple(placed))


def span_name(event: Event) -> str:
    """``chat <model>``, ``execute_tool <server>/<tool>``, the name an OTLP client gave, or the event's type."""
    data = event.data
    if event.type in ("otlp.span", "otlp.event"):
        return str(data.get("otlp.name") or "span")
    operation = data.get("gen_ai.operation.name")
    if event.type in STEP_TYPES and operation:
        what = data.get("tenure.resource") or data.get("gen_ai.request.model") or data.get("gen_ai.tool.name") or ""
        return f"{operation} {what}".strip()
    if event.type == "import.message":
        message = data.get("tenure.message")
        speaker = message.get("name") or message.get("role") if isinstance(message, Mapping) else ""
        return f"message {speaker}".strip()
    return event.type


def _span_kind(event: Event) -> str:
    if event.type == "otlp.span":
        return str(event.data.get("otlp.kind") or "internal")
    data = event.data
    is_client = (
        data.get("gen_ai.operation.name") == "chat" or data.get("tenure.kind") == "llm" or "mcp.method.name" in data
    )
    return "client" if event.type in STEP_TYPES and is_client else "internal"


def status_of(event: Event) -> tuple[str, str]:
    """The status of the Event's span (unset, ok or error), and what it says of it."""
    data = event.data
    if event.type == "otlp.span":
        return str(data.get("otlp.status") or "unset"), str(data.get("otlp.status_message") or "")
    error = data.get("error.type")
    if event.type == "call.refused" and data.get("tenure.mode") in ("draft", "simulate"):
        return "unset", ""
    if event.type in ("call.refused", "fork.refused"):
        return "error", reason_of(event) or str(error or "refused")
    if error:
        return "error", str(error)
    return ("ok" if event.type in STEP_TYPES else "unset"), ""


def uses_tokens(event: Event) -> bool:
    """Whether the tokens that an Event tells are its own: spans of agents and workflows repeat those of the model calls
    inside them."""
    return event.type != "otlp.span" or event.data.get("otlp.step") in ("llm", "embedding")


def reason_of(event: Event) -> str:
    """Why a Call was decided as it was; empty when the Event holds no decision."""
    decision = event.data.get("tenure.decision")
    return str(decision.get("reason") or "") if isinstance(decision, Mapping) else ""


@dataclass(frozen=True, slots=True)
class Session:
    """One session of one agent: when it ran, what it took, how it ended. ``trace_id`` is that of its newest Event.
    ``cached_tokens`` are a part of the input, ``reasoning_tokens`` of the output. ``cost_usd`` is a decimal number, and
    ``unpriced`` how many calls used tokens of a model without a known price: they are not in it."""

    workspace: str
    session: str
    agent: str | None
    source: str | None
    started: datetime
    ended: datetime
    events: int
    calls: int
    flagged: int
    violations: int
    errors: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: str
    unpriced: int
    trace_id: str | None = None
    outcome: Outcome | None = None
    last_seq: int = 0


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A trace in a list. ``status`` is the worst among its Events, ``name`` its first span's; ``last_seq`` the number
    of its newest Event, which a list goes on after."""

    trace_id: str
    agent: str | None
    session: str | None
    name: str
    started: datetime
    duration_us: int
    events: int
    calls: int
    errors: int
    status: Status
    last_seq: int = 0


# --- the live feed --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One line of the live feed. ``title`` says in words what happened, ``detail`` what it was about."""

    seq: int
    time: datetime
    agent: str | None
    session: str | None
    trace_id: str | None
    type: str
    status: Status
    title: str
    detail: str
    duration_us: int | None = None
    id: str = ""
    actor: str = ""
    span_id: str | None = None
