"""Rows of the trace store: what is made of an Event, and what queries answer, as values. The same for every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenure.base.events import Logged
from tenure.base.subjects import Keyring, Seal, opened, sealed
from tenure.kernel.values import Event, Status
from tenure.telemetry.model import AgentStats, Outcome, Session, TraceSummary, span_name, status_of, uses_tokens
from tenure.telemetry.traces import content, spent
from tenure.telemetry.traces.terms import words_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Microseconds since 1970, as the store keeps times."""
    return (time - _EPOCH) // _MICROSECOND


def time_of(micros: int) -> datetime:
    """The time of so many microseconds since 1970."""
    return _EPOCH + micros * _MICROSECOND


def trace_summary_of(row: tuple[Any, ...]) -> TraceSummary:
    """A row of ``TraceStore.traces``."""
    trace_id, agent, session, start, length, events, calls, errors, violation, anomaly, flagged, name, seq = row
    worst = (violation, Status.VIOLATION), (anomaly, Status.ANOMALY), (flagged, Status.FLAGGED), (True, Status.ALLOWED)
    status = next(status for is_there, status in worst if is_there)
    return TraceSummary(
        trace_id, agent, session, name, time_of(start), int(length), events, calls, errors, status, last_seq=seq
    )


def session_of(row: tuple[Any, ...], outcome: Outcome | None) -> Session:
    """A row of ``TraceStore.sessions``."""
    workspace, name, agent, source, start, end, *counts, trace_id, seq = row
    events, calls, flagged, violations, errors, *used = counts
    return Session(
        workspace=workspace,
        session=name,
        agent=agent,
        source=source,
        started=time_of(start),
        ended=time_of(end),
        events=events,
        calls=calls,
        flagged=flagged,
        violations=violations,
        errors=errors,
        **spent.figures(used),
        trace_id=trace_id,
        outcome=outcome,
        last_seq=seq,
    )


def stats_of(workspace: str, row: tuple[Any, ...], took: tuple[int | None, int | None]) -> AgentStats:
    """A row of ``TraceStore.stats``, with the median and the 95th percentile of how long calls took."""
    agent, *counts, cost, unpriced, tools, last = row
    calls, allowed, flagged, violation, anomaly, errors, *tokens = map(int, counts)
    return AgentStats(
        workspace=workspace,
        agent=agent,
        calls=calls,
        allowed=allowed,
        flagged=flagged,
        violation=violation,
        anomaly=anomaly,
        errors=errors,
        error_rate=errors / calls,
        p50_us=took[0],
        p95_us=took[1],
        **spent.figures((*tokens, cost, int(unpriced))),
        tools=tools,
        last=time_of(last),
    )


# --- Events ---------------------------------------------------------------------------------------------------------

SCHEMA_VERSION = 5
"""Of a store, for every engine; it says in which it is."""
ROWS_SINCE = 4
"""The version since which rows are as they are now: what came since is made beside them."""
_BIGGEST = 2**63 - 1
COLUMNS: Mapping[str, str] = {
    "seq": "BIGINT NOT NULL",
    "id": "VARCHAR NOT NULL",
    "type": "VARCHAR NOT NULL",
    "time_us": "BIGINT NOT NULL",  # microseconds since 1970, UTC
    "workspace": "VARCHAR NOT NULL",
    "actor": "VARCHAR NOT NULL",
    "agent": "VARCHAR",
    "release": "VARCHAR",
    "instance": "VARCHAR",
    "session": "VARCHAR",
    "trace_id": "VARCHAR",
    "span_id": "VARCHAR",
    "parent_span_id": "VARCHAR",
    "status": "VARCHAR NOT NULL",
    "policy_version": "VARCHAR",
    "memory_snapshot": "VARCHAR",
    "duration_us": "BIGINT",
    "data": "VARCHAR NOT NULL",  # JSON: those of the Event's attributes that are facts
    "subject": "BIGINT",  # the number of the key that ``content`` is under
    "content": "BLOB",  # the other attributes, compressed and encrypted
    "gone": "VARCHAR",  # why there is no content any more: erased, expired or sampled
    "words": "VARCHAR",  # the marks of the words of the content, under the same key
    # What follows is taken out of the attributes for queries.
    "name": "VARCHAR NOT NULL",
    "resource": "VARCHAR",
    "model": "VARCHAR",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cached_tokens": "BIGINT",
    "reasoning_tokens": "BIGINT",
    "cost_usd": "DECIMAL(24, 12)",
    "error": "VARCHAR",
    "source": "VARCHAR",
    "task": "VARCHAR",
}
"""The columns of the trace store and their types."""
EVENT_COLUMNS = tuple(COLUMNS)[: tuple(COLUMNS).index("gone") + 1]
"""Those that an Event is read back from."""


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _BIGGEST else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


_TOKENS = tuple(f"gen_ai.usage.{kind}_tokens" for kind in ("input", "output", "cache_read.input", "reasoning.output"))
_NO_TOKENS = (None,) * len(_TOKENS)


def owner_of(event: Event) -> tuple[str, str]:
    """The workspace of an Event and whom its content is about."""
    return event.workspace, content.subject_of(event)


_Kept = tuple[str, int | None, bytes | None, str | None, str | None]
"""The columns from ``data`` to ``words``."""


def rows_of(batch: Sequence[Logged], keyring: Keyring) -> list[tuple[Any, ...]]:
    """Events as rows, what is content in them sealed. Nonces are random: twice is never the same. Raises Failed while
    keys cannot be had."""
    kept = _kept([logged.event for logged in batch], keyring)
    return [_row(logged, columns) for logged, columns in zip(batch, kept, strict=True)]


def _kept(events: Sequence[Event], keyring: Keyring) -> list[_Kept]:
    """What is sealed is, all at once: one call for many costs a fraction of a call for each."""
    parts = [content.split(event) for event in events]
    gone = {at for at, (_, said) in enumerate(parts) if said.keys() == {content.GONE}}  # let go where it comes from
    owners = {at: owner_of(events[at]) for at, (_, said) in enumerate(parts) if said and at not in gone}
    seals = keyring.seals(set(owners.values()))
    found: list[_Kept] = [(facts, None, None, None, None) for facts, _ in parts]
    for at in gone:
        found[at] = (parts[at][0], None, None, str(parts[at][1][content.GONE]), None)
    under: list[tuple[int, Seal]] = []
    for at, owner in owners.items():
        seal = seals[owner]
        if seal.erased is not None and events[at].time <= seal.erased:
            found[at] = (parts[at][0], None, None, "erased", None)  # it was on its way when its subject was erased
        else:
            under.append((at, seal))
    packed = [content.packed(parts[at][1]) for at, _ in under]
    boxes = sealed([seal for _, seal in under], packed, [events[at].id for at, _ in under])
    for (at, seal), box in zip(under, boxes, strict=True):
        facts, said = parts[at]
        found[at] = (facts, seal.id, box, None, seal.blind.marks(words_of(said.values())))
    return found


def _row(logged: Logged, kept: _Kept) -> tuple[Any, ...]:
    event, data = logged.event, logged.event.data
    get = data.get
    counts = [_count(get(name)) for name in _TOKENS] if uses_tokens(event) else _NO_TOKENS
    return (
        logged.seq,
        event.id,
        event.type,
        micros(event.time),
        event.workspace,
        event.actor,
        event.agent,
        event.release,
        event.instance,
        event.session,
        event.trace_id,
        event.span_id,
        event.parent_span_id,
        event.status.value,
        event.policy_version,
        event.memory_snapshot,
        _count(event.duration_us),
        *kept,
        span_name(event),
        _text(get("tenure.resource")),
        _text(get("gen_ai.response.model") or get("gen_ai.request.model")),
        *counts,
        spent.money(get("tenure.cost_usd")),
        _text(get("error.type") or "error") if status_of(event)[0] == "error" else None,
        _text(get("tenure.source")),
        _text(get("tenure.task")),
    )


def whole_of(ident: str, kept: Sequence[Any], ciphers: Mapping[int, AESGCM]) -> str:
    """An Event's attributes as JSON text: all of them, or the facts and why there is nothing else. ``kept`` are the
    columns from ``data`` to ``gone``."""
    facts, subject, box, gone = kept
    if box is None:
        return content.without(facts, gone) if gone else str(facts)
    if subject not in ciphers:
        return content.without(facts, "erased")
    return content.joined(facts, opened(ciphers[subject], box, ident))


def event_of(row: dict[str, Any], ciphers: Mapping[int, AESGCM]) -> Logged:
    """The Event of a row, with its content as far as its key is among ``ciphers``."""
    kept = tuple(row.pop(name) for name in ("data", "subject", "content", "gone"))
    data = content.attributes(whole_of(row["id"], kept, ciphers))
    seq, time, status = row.pop("seq"), row.pop("time_us"), Status(row.pop("status"))
    return Logged(seq, Event(time=time_of(time), data=data, status=status, **row))
