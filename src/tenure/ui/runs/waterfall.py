"""A trace as rows: each call with the decision before it, the wait for a person, and the breaker, in causal order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate
from typing import Any

from tenure.kernel.json import JsonObject
from tenure.kernel.money import dollars
from tenure.kernel.values import Status
from tenure.ui.model import duration, moment
from tenure.ui.runs.altered import altered
from tenure.ui.runs.axis import Axis, Interval, axis
from tenure.ui.runs.details import facts, findings
from tenure.ui.runs.held import Steps, approval_of, approval_rows, steps_of
from tenure.ui.runs.lazily import Lazily
from tenure.ui.runs.memory import remembered
from tenure.ui.runs.moments import began_it, kind_of, told_of
from tenure.ui.runs.rows import Item, Row, Trace, mark, piece
from tenure.ui.runs.spent import Spent, own, sums
from tenure.ui.runs.talk import attributes, conversation, gist, load, said

_CALLS = ("llm", "tool", "memory", "span")
_OF_MODELS = frozenset({"chat", "text_completion", "generate_content", "embeddings", "count_tokens", "pass_through"})


def _span(placed: JsonObject) -> Item | None:
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
        return Item(start, end, raw, moment_kind, data)
    step = data.get("otlp.step")
    kind = "tool" if operation == "execute_tool" or step == "tool" else "memory" if step == "memory" else "span"
    kind = "llm" if operation in _OF_MODELS or step == "llm" else kind
    kind = "memory" if raw.get("memory") else kind
    return Item(start, end, raw, kind, data)


def _depths(items: Iterable[Item]) -> dict[str, int]:
    parents = {str(item.raw.get("span_id")): str(item.raw.get("parent_span_id") or "") for item in items}

    def depth(span: str) -> int:
        seen: set[str] = set()
        while (parent := parents.get(span)) and parent in parents and parent not in seen and len(seen) < 12:
            seen.add(parent)
            span = parent
        return len(seen)

    return {span: depth(span) for span in parents}


def _own(item: Item, parents: frozenset[str], wait: Item | None) -> list[Interval]:
    """When a call itself was at work: not while it waited for a person, nor, when it has calls of its own, between
    them."""
    if str(item.raw.get("span_id")) in parents:
        return [(item.start, item.start), (item.end, item.end)]
    if wait is None or wait.start < item.start - timedelta(seconds=1):
        return [(item.start, item.end)]
    return [(item.start, max(item.start, wait.start)), (min(item.end, wait.end), item.end)]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a call stands in its trace. ``calls``: all of them, by their spans; ``spent``: what it and the calls inside
    it used, where there are any."""

    depth: int
    waited: Interval | None
    calls: Mapping[str, JsonObject]
    spent: Spent | None


def _call_row(item: Item, drawn: Axis, place: _Place) -> Row:
    raw, data, waited = item.raw, item.data, place.waited
    talk = said(raw) if item.kind == "llm" or data.get("tenure.kind") == "agent" or "tenure.message" in data else ()
    decision = data.get("tenure.decision")
    decision = load(decision) if not isinstance(decision, Mapping) else decision
    decision = decision if isinstance(decision, Mapping) else {}
    pieces = []
    begin = item.start
    if waited:
        pieces.append(piece(drawn, "wait", *waited))
        begin = max(begin, min(waited[1], item.end))
    pieces.append(piece(drawn, "call", begin, item.end))
    if decision:
        pieces.append(mark(drawn, item.start))
    told = remembered(raw)
    held_back = str(decision.get("reason") or "") if decision.get("effect") != "allow" else ""
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
        note=held_back or gist(talk) or told.words,
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
        altered=altered(raw, place.calls),
        memory=told.facts,
        records=load(data.get("gen_ai.memory.records")),
        gone=str(data.get("tenure.content") or ""),
    )


def _happening_row(item: Item, drawn: Axis, depth: int) -> Row:
    told = told_of(item.raw)
    return Row(
        kind=item.kind,
        name=told.name,
        status=str(item.raw.get("status") or Status.ALLOWED),
        time=item.start.isoformat(),
        duration="",
        depth=depth,
        agent=str(item.raw.get("agent") or ""),
        pieces=(mark(drawn, item.start),),
        note=told.note,
        facts=told.facts,
        joined=told.joined,
    )


def _idle_rows(drawn: Axis, calls: Sequence[Item], waits: Iterable[Item]) -> list[tuple[datetime, Row]]:
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


def _rows(
    calls: Sequence[Item],
    waits: Mapping[str, Item],
    others: Sequence[Item],
    steps: Steps,
    drawn: Axis,
    *,
    spent: Mapping[str, Spent],
) -> Lazily[Row]:
    """All rows by time, and with each call what belongs to it: its approval, the trip it caused."""
    depths = _depths([*(item for item in others if began_it(item.raw)), *calls])
    every = {str(item.raw.get("span_id")): item.raw for item in calls}
    numbers = {str(item.raw.get("span_id")): number for number, item in enumerate(calls)}
    timed: list[tuple[datetime, int, int, Row | partial[Row]]] = []
    shown: set[str] = set()
    for number, item in enumerate(calls):
        depth = depths[str(item.raw.get("span_id"))]
        ident = str(item.data.get("tenure.approval.id") or "")
        wait = waits.get(ident)
        inside = (wait.start, wait.end) if wait and wait.start >= item.start - timedelta(seconds=1) else None
        span = str(item.raw.get("span_id"))
        place = _Place(depth, inside, every, spent.get(span))
        timed.append((item.start, number, 0, partial(_call_row, item, drawn, place)))
        if wait and ident not in shown:
            shown.add(ident)
            told = approval_rows(wait, drawn, depth + 1, steps)
            timed += [(item.start, number, step, row) for step, row in enumerate(told, 1)]
    # A call that still waits, or never went on, has no span of its own: its approval stands for it.
    for ident, wait in waits.items():
        if ident not in shown:
            told = approval_rows(wait, drawn, 0, steps)
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
    waits = {str(item.raw.get("id")): item for item in map(approval_of, approvals) if item}
    # A decision is told with its call and an approval by its own record, which knows both ends of the wait.
    told = ("decision", "approval") if waits else ("decision",)
    others = [item for item in everything if item.kind not in (*_CALLS, *told)]
    steps = steps_of(everything)
    parents = frozenset(str(item.raw.get("parent_span_id") or "") for item in calls)
    busy = [
        interval
        for item in calls
        for interval in _own(item, parents, waits.get(str(item.data.get("tenure.approval.id") or "")))
    ]
    moments = [end for item in waits.values() for end in (item.start, item.end)]
    moments += [
        *(item.start for item in others if not began_it(item.raw)),
        *(time for ident, time in steps.claims.items() if ident in waits),
    ]
    busy += [(time, time) for time in moments]
    drawn = axis(busy, min(start for start, _ in busy), max(end for _, end in busy))
    total, spent = sums([(item.raw, item.data) for item in calls])
    rows = _rows(calls, waits, others, steps, drawn, spent=spent)
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
