"""A trace as rows: each call with the decision before it, the wait for a person, and the breaker, in causal order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate
from typing import Any

from tenure.base.scan.rules import kinds_of
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.money import dollars
from tenure.kernel.values import Status
from tenure.ui.model import duration, moment, person
from tenure.ui.runs.axis import WIDTH, Axis, Fold, Interval, axis
from tenure.ui.runs.details import facts, findings
from tenure.ui.runs.lazily import Lazily
from tenure.ui.runs.moments import began_it, kind_of, told_of
from tenure.ui.runs.retries import Changed, changed, retried
from tenure.ui.runs.spent import Spent, own, sums
from tenure.ui.runs.talk import Message, attributes, conversation, gist, load, said

LEAST = 8.0  # the width of the shortest call: with its outline at least 3 pixels on any screen
MARK = 3.0
_SAME = Changed()
MOST_MARKED = 60  # folded gaps that are marked in every row; more of them are only told by their own rows


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a row's bar: ``kind`` is call, wait or mark; ``x`` and ``width`` in the view box."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the waterfall. ``kind`` is llm, tool, span, approval, breaker, agent or idle (a gap that the axis
    folds, with its length as ``name``); ``depth`` its indent."""

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
    call: str = ""
    """The id of the call, where one was decided on."""
    approval_id: str = ""
    findings: tuple[tuple[str, str, int], ...] = ()
    """What was found in it: rule, place and how often."""
    used: str = ""
    inside: str = ""
    """What it and the calls inside it used, where there are any."""
    changed: Changed = _SAME
    """Against the arguments of the call that this one tries again."""
    joined: bool = False
    """It is of no trace, and has its place in this one."""
    gone: str = ""
    """Why what was said is not in it."""

    @property
    def found(self) -> list[str]:
        """The classes of what was found."""
        return kinds_of(rule for rule, _, _ in self.findings)


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace, ready to draw."""

    trace_id: str
    agents: tuple[str, ...]
    session: str
    start: str
    duration: str
    active: str
    rows: Lazily[Row]
    folds: tuple[Fold, ...]
    ticks: tuple[tuple[float, str], ...]
    conversation: tuple[Message, ...]
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: str
    worst: str
    withheld: str = ""  # why something that was said is not shown, and whom to ask

    @property
    def marked(self) -> tuple[Fold, ...]:
        """The folded gaps to mark in each row."""
        return self.folds if len(self.folds) <= MOST_MARKED else ()


_CALLS = ("llm", "tool", "memory", "span")
_OF_MODELS = frozenset({"chat", "text_completion", "generate_content", "embeddings", "count_tokens", "pass_through"})


@dataclass(frozen=True, slots=True)
class _Item:
    start: datetime
    end: datetime
    raw: JsonObject
    kind: str
    data: JsonObject = field(default_factory=dict)


def _span(placed: JsonObject) -> _Item | None:
    raw: JsonObject = placed["span"] if isinstance(placed.get("span"), Mapping) else placed
    start = moment(raw.get("start") or raw.get("time") or raw.get("start_time"))
    if start is None:
        return None
    length, data = raw.get("duration_us"), attributes(raw)
    if isinstance(length, int | float):
        end = start + timedelta(microseconds=length)
    else:
        end = moment(raw.get("end") or raw.get("end_time")) or start
    operation = str(data.get("gen_ai.operation.name") or "")
    if moment_kind := kind_of(raw):
        return _Item(start, end, raw, moment_kind, data)
    step = data.get("otlp.step")
    kind = "tool" if operation == "execute_tool" or step == "tool" else "memory" if step == "memory" else "span"
    kind = "llm" if operation in _OF_MODELS or step == "llm" else kind
    return _Item(start, end, raw, kind, data)


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


def _piece(drawn: Axis, kind: str, start: datetime, end: datetime) -> Piece:
    x = min(drawn.at(start), WIDTH - LEAST)
    return Piece(kind, x, round(max(drawn.at(end) - x, LEAST), 2))


def _mark(drawn: Axis, time: datetime) -> Piece:
    return Piece("mark", min(drawn.at(time), WIDTH - MARK), MARK)


def _own(item: _Item, parents: frozenset[str], wait: _Item | None) -> list[Interval]:
    """When a call itself was at work: not while it waited for a person, nor, when it has calls of its own, between
    them."""
    if str(item.raw.get("span_id")) in parents:
        return [(item.start, item.start), (item.end, item.end)]
    if wait is None or wait.start < item.start - timedelta(seconds=1):
        return [(item.start, item.end)]
    return [(item.start, max(item.start, wait.start)), (min(item.end, wait.end), item.end)]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a call stands in its trace. ``before``: the call that it tries again; ``spent``: what it and the calls
    inside it used, where there are any."""

    depth: int
    waited: Interval | None
    before: JsonObject | None
    spent: Spent | None


def _call_row(item: _Item, drawn: Axis, place: _Place) -> Row:
    raw, data, waited = item.raw, item.data, place.waited
    talk = said(raw) if item.kind == "llm" or data.get("tenure.kind") == "agent" or "tenure.message" in data else ()
    decision = data.get("tenure.decision")
    decision = load(decision) if not isinstance(decision, Mapping) else decision
    decision = decision if isinstance(decision, Mapping) else {}
    pieces = []
    begin = item.start
    if waited:
        pieces.append(_piece(drawn, "wait", *waited))
        begin = max(begin, min(waited[1], item.end))
    pieces.append(_piece(drawn, "call", begin, item.end))
    if decision:
        pieces.append(_mark(drawn, item.start))
    took = (item.end - item.start).total_seconds() * 1e6
    return Row(
        kind=item.kind,
        name=str(raw.get("name") or data.get("tenure.resource") or item.kind),
        status=str(raw.get("status") or Status.ALLOWED),
        time=item.start.isoformat(),
        duration=duration(took) if took else "",
        depth=place.depth,
        agent=str(raw.get("agent") or ""),
        pieces=tuple(pieces),
        note=(str(decision.get("reason") or "") if decision.get("effect") != "allow" else "") or gist(talk),
        decision=decision,
        decide=duration(data.get("tenure.decide_us")),
        arguments=load(data.get("gen_ai.tool.call.arguments")),
        result=load(data.get("gen_ai.tool.call.result")),
        messages=talk,
        facts=facts(raw, data),
        span_id=str(raw.get("span_id") or ""),
        call=str(raw.get("event") or "") if str(raw.get("type")).startswith("call.") else "",
        approval_id=str(data.get("tenure.approval.id") or ""),
        findings=findings(load(data.get("tenure.findings"))),
        used=str(own(data)),
        inside=str(place.spent or ""),
        changed=changed(place.before, raw) if place.before is not None else _SAME,
        gone=str(data.get("tenure.content") or ""),
    )


def _approval_rows(item: _Item, drawn: Axis, depth: int, claimed: datetime | None) -> list[Row]:
    """An approval's steps: asked for and why, decided by whom and why, used by the call."""
    raw = item.raw
    state, ident = str(raw.get("state") or "pending"), str(raw.get("id") or "")
    agent, resource = str(raw.get("agent") or ""), str(raw.get("resource") or "call")
    asked = Row(
        kind="approval",
        name=f"approval of {resource} requested",
        status=Status.FLAGGED,
        time=item.start.isoformat(),
        duration=duration((item.end - item.start).total_seconds() * 1e6) if item.end > item.start else "",
        depth=depth,
        agent=agent,
        pieces=(_piece(drawn, "wait", item.start, item.end),),
        note=str(raw.get("why") or ""),
        facts=tuple(
            (label, str(raw[key]))
            for label, key in (("Digest", "digest"), ("Policy version", "policy_version"))
            if raw.get(key)
        ),
        approval_id=ident,
    )
    if state == "pending":
        return [asked]
    word = {"granted": "approved", "claimed": "approved", "expired": "nobody answered in time"}.get(state, state)
    by = person(raw.get("decided_by"))
    rows = [asked, _moment_row(asked, item.end, f"{word} by {by}" if by else word, str(raw.get("reason") or ""), drawn)]
    if state == "rejected":
        rows[1] = replace(rows[1], status=Status.VIOLATION)
    if claimed:
        rows.append(_moment_row(asked, claimed, "approval used, once, by this call", "", drawn))
    return rows


def _moment_row(like: Row, time: datetime, name: str, note: str, drawn: Axis) -> Row:
    facts: tuple[tuple[str, str], ...] = (("Reason", note),) if note else ()
    pieces = (_mark(drawn, time),)
    return replace(like, name=name, time=time.isoformat(), duration="", pieces=pieces, note=note, facts=facts)


def _happening_row(item: _Item, drawn: Axis, depth: int) -> Row:
    told = told_of(item.raw)
    return Row(
        kind=item.kind,
        name=told.name,
        status=str(item.raw.get("status") or Status.ALLOWED),
        time=item.start.isoformat(),
        duration="",
        depth=depth,
        agent=str(item.raw.get("agent") or ""),
        pieces=(_mark(drawn, item.start),),
        note=told.note,
        facts=told.facts,
        joined=told.joined,
    )


def _idle_rows(drawn: Axis, calls: Sequence[_Item], waits: Iterable[_Item]) -> list[tuple[datetime, Row]]:
    """The folded gaps, each with its end. The wait for a person is told by the approval's own row."""
    waits = tuple(waits)
    starts = [call.start for call in calls]
    ends = list(accumulate((call.end for call in calls), max))  # calls come by their start
    rows = []
    for fold in drawn.folds:
        if any(wait.start <= fold.start and wait.end >= fold.end for wait in waits):
            continue
        before = bisect_right(starts, fold.start)
        within = before > 0 and ends[before - 1] >= fold.end
        name = f"{fold.length} {'between calls' if within else 'idle'}"
        rows.append((fold.end, Row("idle", name, "", fold.end.isoformat(), fold.length, 0, "", ())))
    return rows


def _claims(items: Iterable[_Item]) -> dict[str, datetime]:
    """When each approval was used."""
    claims = (item for item in items if item.raw.get("type") == "approval.claimed")
    return {str(attributes(item.raw).get("approval_id")): item.start for item in claims}


def _rows(
    calls: Sequence[_Item],
    waits: Mapping[str, _Item],
    others: Sequence[_Item],
    claims: Mapping[str, datetime],
    drawn: Axis,
    *,
    spent: Mapping[str, Spent],
) -> Lazily[Row]:
    """All rows by time, and with each call what belongs to it: its approval, the trip it caused."""
    depths = _depths([*(item for item in others if began_it(item.raw)), *calls])
    numbers = {str(item.raw.get("span_id")): number for number, item in enumerate(calls)}
    timed: list[tuple[datetime, int, int, Row | partial[Row]]] = []
    shown: set[str] = set()
    tried = retried(item.raw for item in calls)
    for number, item in enumerate(calls):
        depth = depths[str(item.raw.get("span_id"))]
        ident = str(item.data.get("tenure.approval.id") or "")
        wait = waits.get(ident)
        inside = (wait.start, wait.end) if wait and wait.start >= item.start - timedelta(seconds=1) else None
        span = str(item.raw.get("span_id"))
        place = _Place(depth, inside, tried.get(span), spent.get(span))
        timed.append((item.start, number, 0, partial(_call_row, item, drawn, place)))
        if wait and ident not in shown:
            shown.add(ident)
            told = _approval_rows(wait, drawn, depth + 1, claims.get(ident))
            timed += [(item.start, number, step, row) for step, row in enumerate(told, 1)]
    # A call that still waits, or never went on, has no span of its own: its approval stands for it.
    for ident, wait in waits.items():
        if ident not in shown:
            told = _approval_rows(wait, drawn, 0, claims.get(ident))
            timed += [(wait.start, len(calls), step, row) for step, row in enumerate(told)]
    for step, item in enumerate(others, 10):
        cause = str(item.raw.get("parent_span_id") or "")
        if cause in numbers:
            row, call = _happening_row(item, drawn, depths[cause] + 1), calls[numbers[cause]]
            # What was done after a call had ended comes after what had happened by then.
            late = row.joined and item.start > call.end
            timed.append((item.start, len(calls), step, row) if late else (call.start, numbers[cause], step, row))
        else:
            row = _happening_row(item, drawn, depths.get(str(item.raw.get("span_id")), 0))
            timed.append((item.start, -1 if began_it(item.raw) else len(calls), step, row))
    timed += [(end, -1, 0, row) for end, row in _idle_rows(drawn, calls, waits.values())]
    # A call, and what is beside it as it came.
    timed.sort(key=lambda entry: (*entry[:2], entry[3].time if isinstance(entry[3], Row) and entry[2] else ""))
    return Lazily([row for *_, row in timed], lambda part: isinstance(part, Row))


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
    calls = [item for item in everything if item.kind in _CALLS]
    waits = {str(item.raw.get("id")): item for item in map(_approval, approvals) if item}
    # A decision is told with its call and an approval by its own record, which knows both ends of the wait.
    told = ("decision", "approval") if waits else ("decision",)
    others = [item for item in everything if item.kind not in (*_CALLS, *told)]
    claims = _claims(everything)
    parents = frozenset(str(item.raw.get("parent_span_id") or "") for item in calls)
    busy = [
        interval
        for item in calls
        for interval in _own(item, parents, waits.get(str(item.data.get("tenure.approval.id") or "")))
    ]
    moments = [end for item in waits.values() for end in (item.start, item.end)]
    moments += [
        *(item.start for item in others if not began_it(item.raw)),
        *(time for ident, time in claims.items() if ident in waits),
    ]
    busy += [(time, time) for time in moments]
    drawn = axis(busy, min(start for start, _ in busy), max(end for _, end in busy))
    total, spent = sums([(item.raw, item.data) for item in calls])
    rows = _rows(calls, waits, others, claims, drawn, spent=spent)
    aside = [row for row in rows.made if not row.joined]
    order = (Status.ALLOWED, Status.FLAGGED, Status.ANOMALY, Status.VIOLATION)
    statuses = {str(item.raw.get("status") or Status.ALLOWED) for item in calls} | {row.status for row in aside}
    agents = [*(str(item.raw.get("agent") or "") for item in calls), *(row.agent for row in rows.made)]
    return Trace(
        trace_id=trace_id,
        agents=tuple(dict.fromkeys(agent for agent in agents if agent)),
        session=next((str(item.raw["session"]) for item in calls if item.raw.get("session")), ""),
        start=drawn.zero.isoformat(),
        duration=duration(drawn.length * 1e6),
        active=duration(drawn.active * 1e6) if drawn.folds else "",
        rows=rows,
        folds=drawn.folds,
        ticks=drawn.ticks(),
        conversation=conversation(item.raw for item in calls if item.kind == "llm"),
        calls=len(calls),
        input_tokens=total.input,
        output_tokens=total.output,
        cached_tokens=total.cached,
        reasoning_tokens=total.reasoning,
        cost="" if total.cost is None else dollars(total.cost),
        worst=max((one for one in order if one in statuses), key=order.index, default=Status.ALLOWED),
    )


def approval_ids(spans: Iterable[JsonObject]) -> list[str]:
    """The approvals that the calls of a trace waited for."""
    found: list[Any] = []
    for placed in spans:
        data = attributes(placed["span"] if isinstance(placed.get("span"), Mapping) else placed)
        found.append(data.get("tenure.approval.id") or data.get("approval_id"))
    return list(dict.fromkeys(str(ident) for ident in found if ident))


def _trips(spans: Iterable[JsonObject]) -> set[tuple[str, Any]]:
    trips = (span for span in spans if span.get("type") == "breaker.tripped")
    return {(str(span.get("agent")), attributes(span).get("epoch")) for span in trips}


def tripped_agents(spans: Iterable[JsonObject]) -> list[str]:
    """The agents whose breaker tripped in a trace."""
    return sorted({agent for agent, _ in _trips(spans)})


def resets_of(spans: Iterable[JsonObject], resets: Iterable[JsonObject]) -> list[JsonObject]:
    """Those of the Events ``resets`` that end a trip of this trace: a reset belongs to no trace, but it opens the epoch
    after the trip's."""
    ended = {(agent, epoch + 1) for agent, epoch in _trips(spans) if isinstance(epoch, int)}
    return [event for event in resets if (event.get("agent"), attributes(event).get("epoch")) in ended]


def judged_failure(spans: Iterable[JsonObject]) -> bool:
    """Whether somebody judged the run a failure."""
    ends = [attributes(span) for span in spans if span.get("type") == "import.outcome"]
    return any(end.get("tenure.outcome.success") is False for end in ends)
