"""What the trace store's queries answer, as values. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tenure.kernel.values import Status
from tenure.telemetry import spent
from tenure.telemetry.model import AgentStats, Outcome, Session, TraceSummary

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


def stats_of(row: tuple[Any, ...]) -> AgentStats:
    """A row of ``TraceStore.stats``."""
    workspace, agent, calls, allowed, flagged, violation, anomaly, errors, latency, *used, tools, last = row
    p50, p95 = latency or (None, None)
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
        p50_us=p50,
        p95_us=p95,
        **spent.figures(used),
        tools=tools,
        last=time_of(last),
    )
