"""What is asked of the rows of a trace store, in SQL that every engine answers, and the answers as values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tenure.base.events import Logged
from tenure.base.subjects import Keyring
from tenure.telemetry.model import (
    CALL_TYPES,
    STEP_TYPES,
    Outcome,
    RecordedCall,
    Session,
    TraceSummary,
    outcome_of,
)
from tenure.telemetry.traces import spent
from tenure.telemetry.traces.acts import Acts
from tenure.telemetry.traces.counted import Counted
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.figures import Figures
from tenure.telemetry.traces.interface import Which
from tenure.telemetry.traces.rows import (
    EVENT_COLUMNS,
    event_of,
    micros,
    session_of,
    time_of,
    trace_summary_of,
    whole_of,
)
from tenure.telemetry.traces.walks import Walks

_LATELY, _MORE = 50_000, 8
"""Among so many of the newest Events the latest traces are looked for first, and by how much more then."""
_SELECT = ", ".join(EVENT_COLUMNS)
_CALLS = "(" + ", ".join(f"'{kind}'" for kind in sorted(CALL_TYPES)) + ")"
_STEPS = "(" + ", ".join(f"'{kind}'" for kind in sorted(STEP_TYPES)) + ")"


def condition(which: Which) -> tuple[str, list[Any]]:
    """``which`` as SQL, and its values."""
    terms = {
        "workspace = ?": which.workspace,
        "agent = ?": which.agent,
        "session = ?": which.session,
        "source = ?": which.source,
        "trace_id = ?": which.trace_id,
        "type = ?": which.type,
        "status = ?": which.status.value if which.status is not None else None,
        "id = ?": which.id,
        "seq > ?": which.after,
        "time_us >= ?": micros(which.since) if which.since is not None else None,
        "time_us <= ?": micros(which.until) if which.until is not None else None,
        "actor = ?": which.actor,
    }
    given = {term: [value] for term, value in terms.items() if value is not None}
    if which.types:
        given[f"type IN {_marks(which.types)}"] = [*which.types]
    if which.instances:
        given[f"instance IN {_marks(which.instances)}"] = [*which.instances]
    if which.about:
        given[f"(agent IS NULL OR agent IN {_marks(which.about)})"] = [*which.about]
    if which.untraced:
        given["trace_id IS NULL"] = []
    return " AND ".join(given) or "1 = 1", [value for values in given.values() for value in values]


def _marks(values: Sequence[str]) -> str:
    return f"({', '.join('?' * len(values))})"


def _lately(column: str, workspace: str, which: Which) -> tuple[str, list[Any]]:
    """The condition that what ``column`` names has an Event between two numbers, and one that is meant; and its values
    after those two."""
    where, values = condition(which)
    recent = f"{column} IN (SELECT {column} FROM event WHERE seq >= ? AND seq < ? AND workspace = ?)"  # noqa: S608 (only our own column names)
    meant = f"{column} IN (SELECT {column} FROM event WHERE {where})"  # noqa: S608 (as above)
    return f"{recent} AND {meant}", [workspace, *values]


class Questions(Acts, Counted, Figures, Walks):
    """Those of ``TraceStore`` that read; an engine adds its ``dialect`` and ``_all``."""

    dialect: Dialect
    _keyring: Keyring

    @abstractmethod
    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query answers. Raises Failed while the engine does not answer."""

    def _read(self, rows: Sequence[tuple[Any, ...]]) -> list[Logged]:
        found = [dict(zip(EVENT_COLUMNS, row, strict=True)) for row in rows]
        ciphers = self._keyring.opens({row["subject"] for row in found if row["subject"] is not None})
        return [event_of(row, ciphers) for row in found]

    # -- Events as they came

    def known(self, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        sql = f"SELECT id FROM event WHERE {self.dialect.among.format('id')}"  # noqa: S608 (only our own column names)
        return {row[0] for row in self._all(sql, [list(ids)])}

    def events(self, which: Which, limit: int) -> list[Logged]:
        return self._events(which, "seq", limit)

    def newest(self, which: Which, limit: int) -> list[Logged]:
        return self._events(which, "seq DESC", limit)

    def _events(self, which: Which, order: str, limit: int) -> list[Logged]:
        where, values = condition(which)
        sql = f"SELECT {_SELECT} FROM event WHERE {where} ORDER BY {order} LIMIT ?"  # noqa: S608 (only our own column names)
        return self._read(self._all(sql, [*values, limit]))

    def calls(self, which: Which, limit: int) -> list[RecordedCall]:
        where, values = condition(which)
        sql = f"""SELECT seq, id, time_us, agent, session, release, data, subject, content, gone FROM event
            WHERE type IN ('call.completed', 'call.refused') AND {where} ORDER BY seq LIMIT ?"""  # noqa: S608 (only our own column names)
        rows = self._all(sql, [*values, limit])
        ciphers = self._keyring.opens({row[7] for row in rows if row[7] is not None})
        return [
            RecordedCall(
                seq, ident, time_of(at), agent or "", session or "", whole_of(ident, kept, ciphers), release or ""
            )
            for seq, ident, at, agent, session, release, *kept in rows
        ]

    def outcomes(self, which: Which) -> list[Outcome]:
        where, values = condition(which)
        return self._outcomes(where, values)

    def _outcomes(self, where: str, values: Sequence[Any]) -> list[Outcome]:
        sql = f"SELECT {_SELECT} FROM event WHERE type = 'import.outcome' AND {where} ORDER BY seq"  # noqa: S608 (only our own column names)
        found: dict[tuple[str, ...], Outcome] = {}
        for event in (logged.event for logged in self._read(self._all(sql, values))):
            outcome = outcome_of(event)
            if outcome is not None:
                found[event.workspace, outcome.source, outcome.session or event.id] = outcome
        return list(found.values())

    # -- Events summed

    def traces(self, workspace: str, which: Which, before: int | None, limit: int) -> list[TraceSummary]:
        first = self.dialect.earliest
        among, bounds = _lately("trace_id", workspace, which)
        sql = f"""
            SELECT trace_id, {first.format("agent")}, {first.format("session")}, min(time_us),
                   max(time_us + coalesce(duration_us, 0)) - min(time_us), count(*),
                   count(*) FILTER (WHERE type IN {_STEPS}), count(error),
                   max(status = 'violation'), max(status = 'anomaly'), max(status = 'flagged'),
                   {first.format("name")}, max(seq)
            FROM event
            WHERE workspace = ? AND {among}
            GROUP BY trace_id HAVING max(seq) >= ? AND max(seq) < ? ORDER BY max(seq) DESC LIMIT ?"""  # noqa: S608 (only our own column names)
        return [trace_summary_of(row) for row in self._latest(sql, workspace, bounds, before, limit)]

    def _latest(
        self, sql: str, workspace: str, values: Sequence[Any], before: int | None, limit: int
    ) -> list[tuple[Any, ...]]:
        """What a query answers that looks at Events with numbers from a lower to an upper one: at few of them first, at
        more where those are not enough. To sum up everything in order to show the latest fifty takes half a minute
        where there are ten million."""
        [(newest,)] = self._all("SELECT max(seq) FROM event")
        upper = (newest or 0) + 1 if before is None else before
        size = _LATELY
        while True:
            lower = max(0, upper - size)
            rows = self._all(sql, [workspace, lower, upper, *values, lower, upper, limit])
            if len(rows) == limit or lower == 0:
                return rows
            size *= _MORE

    def sessions(self, workspace: str, which: Which, before: int | None, limit: int) -> list[Session]:
        among, bounds = _lately("session", workspace, which)
        first, last = self.dialect.earliest, self.dialect.latest
        sql = f"""
            SELECT workspace, session, {first.format("agent")}, {last.format("source")}, min(time_us),
                   max(time_us + coalesce(duration_us, 0)), count(*),
                   count(*) FILTER (WHERE type IN {_STEPS}), count(*) FILTER (WHERE status = 'flagged'),
                   count(*) FILTER (WHERE status = 'violation'), count(error),
                   {spent.SQL}, {last.format("trace_id")}, max(seq)
            FROM ({spent.ONCE.format(calls=_CALLS)}
                  FROM event WHERE workspace = ? AND {among}) AS mine)
                 AS once
            GROUP BY workspace, session,
                     CASE WHEN session IN (SELECT session FROM event WHERE source IS NOT NULL) THEN '' ELSE agent END
            HAVING max(seq) >= ? AND max(seq) < ? ORDER BY max(seq) DESC LIMIT ?"""  # noqa: S608 (only our own column names)
        rows = self._latest(sql, workspace, bounds, before, limit)
        names = [row[1] for row in rows]
        among = self.dialect.among.format("session")
        told = self._outcomes(f"workspace = ? AND {among}", [workspace, names]) if names else []
        ends = {outcome.session: outcome for outcome in told}
        return [session_of(row, ends.get(row[1])) for row in rows]

    # -- what lies under a key

    def content_under(self, numbers: Sequence[int]) -> dict[int, tuple[int, datetime]]:
        among = self.dialect.among_numbers.format("subject")
        sql = f"SELECT subject, count(*), min(time_us) FROM event WHERE {among} GROUP BY subject"  # noqa: S608 (only our own column names)
        return {row[0]: (row[1], time_of(row[2])) for row in self._all(sql, [list(numbers)])}

    def approvals_under(self, number: int) -> list[str]:
        asked, used = self.dialect.text.format("approval_id"), self.dialect.text.format("tenure.approval.id")
        sql = f"SELECT DISTINCT coalesce({asked}, {used}) FROM event WHERE subject = ?"  # noqa: S608 (only our own column names)
        return [row[0] for row in self._all(sql, [number]) if row[0]]

    def told_under(self, number: int, among: Sequence[str]) -> list[str]:
        sql = f"SELECT id FROM event WHERE subject = ? AND {self.dialect.among.format('id')}"  # noqa: S608 (only our own column names)
        return [row[0] for row in self._all(sql, [number, list(among)])]
