"""What telemetry keeps: which tools an agent has used (control database), and every Event as a row to query (DuckDB).

The trace store is one file that one process writes. Its cursor into the event log lies in the same file and moves in
the same transaction as the rows, so that an Event is in it exactly once, whatever is killed when.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.base.events import Logged
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.values import Event
from tenure.telemetry import content, spent
from tenure.telemetry.model import (
    CALL_TYPES,
    AgentStats,
    Outcome,
    RecordedCall,
    Session,
    ToolUse,
    TraceSummary,
    outcome_of,
)
from tenure.telemetry.rows import (
    COLUMNS,
    EVENT_COLUMNS,
    event_of,
    owner_of,
    row_of,
    session_of,
    stats_of,
    time_of,
    trace_summary_of,
    whole_of,
)

tool_use = sa.Table(
    "tool_use",
    metadata,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("first_event", sa.String(64), nullable=False),
    sa.Column("first_at", UtcTime, nullable=False),
)


def first_uses(connection: Connection, events: Sequence[Event]) -> set[str]:
    """The ids of those tool calls that are their agent's first use of the tool. Telling one again gives the same
    answer."""
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        resource = str(event.data["tenure.resource"])
        key = stable_id(event.workspace, event.agent or "", resource)
        fact = {"key": key, "workspace": event.workspace, "agent": event.agent, "resource": resource}
        rows.setdefault(key, {**fact, "first_event": event.id, "first_at": event.time})
    if not rows:
        return set()
    connection.execute(insert(connection, tool_use).on_conflict_do_nothing(index_elements=["key"]), list(rows.values()))
    found = connection.execute(sa.select(tool_use.c.first_event).where(tool_use.c.key.in_(list(rows))))
    return {row.first_event for row in found} & {event.id for event in events}


# --- the trace store ------------------------------------------------------------------------------------------------

SCHEMA_VERSION = 3


_SELECT = ", ".join(EVENT_COLUMNS)
_CALLS = "(" + ", ".join(f"'{kind}'" for kind in sorted(CALL_TYPES)) + ")"


class Where:
    """Conditions that are only there when their value is."""

    def __init__(self, **equal: Any) -> None:
        self.terms = [f"{column} = ?" for column, value in equal.items() if value is not None]
        self.values = [value for value in equal.values() if value is not None]

    def add(self, term: str, *values: Any) -> Where:
        """One more condition."""
        self.terms.append(term)
        self.values.extend(values)
        return self

    def __str__(self) -> str:
        return " AND ".join(self.terms) or "TRUE"


class TraceStore:
    """Every Event as a row of a DuckDB file. Opening it creates it, or recovers it after a kill. What of an Event is
    content lies in it under the key of its subject (``content``).

    ``memory_mb`` bounds what DuckDB takes; without a bound it takes gigabytes while ingesting. Raises Failed when the
    file is damaged or another process has it, Refused when a newer version of Tenure wrote it.
    """

    def __init__(self, path: Path, keyring: Keyring, *, memory_mb: int = 512, threads: int = 2) -> None:
        self.path = path
        self._keyring = keyring
        self.problem = ""  # why the newest batch could not be added
        self._lock = threading.Lock()
        self._room = threading.Condition()  # DuckDB refuses to close what is still read
        self._readers = 0
        self._shutting = False
        self._settings: dict[str, Any] = {"memory_limit": f"{memory_mb}MB", "threads": threads}
        self._dead = False
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except duckdb.Error as error:
            raise _cannot_open(path, error) from error

    def _open(self) -> None:
        self._root = duckdb.connect(str(self.path), config=self._settings)
        self._writer = self._root.cursor()
        self._prepare()

    def _reopen(self) -> None:
        """DuckDB serves nothing more after a write that broke off in the middle (a full disk), until it was closed and
        has recovered."""
        with suppress(duckdb.Error), self._no_reader():
            self._writer.close()
            self._root.close()
        self._open()
        self._dead = False

    def _prepare(self) -> None:
        self._writer.execute("CREATE TABLE IF NOT EXISTS store (version INTEGER NOT NULL, cursor BIGINT NOT NULL)")
        found = self._writer.execute("SELECT version FROM store").fetchall()  # all, or the connection stays busy
        if found and found[0][0] != SCHEMA_VERSION:
            self._writer.close()
            self._root.close()
            age = "a newer" if found[0][0] > SCHEMA_VERSION else "an older"
            raise Refused(
                "trace_store_newer" if age == "a newer" else "trace_store_older",
                f"{self.path} was written by {age} Tenure (version {found[0][0]}; this one knows {SCHEMA_VERSION}).",
                fix="Start the Tenure that wrote it, or move the file away to begin an empty one.",
                status=409,
            )
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        self._writer.begin()
        self._writer.execute(f"CREATE TABLE IF NOT EXISTS event ({columns})")
        if not found:
            self._writer.execute("INSERT INTO store VALUES (?, 0)", [SCHEMA_VERSION])
        self._writer.commit()
        self._cursor = int(self._writer.execute("SELECT cursor FROM store").fetchall()[0][0])

    def close(self) -> None:
        """Writes what is in memory to the file, and closes it."""
        with self._lock, self._no_reader():
            self._writer.close()
            self._root.close()

    @contextmanager
    def _no_reader(self) -> Iterator[None]:
        """Waits until nobody reads; who wants to waits meanwhile."""
        with self._room:
            self._shutting = True
            try:
                self._room.wait_for(lambda: not self._readers)
                yield
            finally:
                self._shutting = False
                self._room.notify_all()

    @contextmanager
    def _reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._room:
            self._room.wait_for(lambda: not self._shutting)
            reader = self._root.cursor()
            self._readers += 1
        try:
            with reader:
                yield reader
        finally:
            with self._room:
                self._readers -= 1
                self._room.notify_all()

    # -- writing

    @property
    def cursor(self) -> int:
        """The number of the newest Event that is in the store. Asked twice a second, so it is not read each time: no
        other process can have the file open."""
        return self._cursor

    def add(self, batch: Sequence[Logged]) -> None:
        """Adds Events and moves the cursor to the last of them, in one transaction. Those that the cursor has passed
        are not added again. Raises Failed when DuckDB cannot write."""
        with self._lock:
            try:
                with self._speaking():
                    self._add(batch)
            except Failed as error:
                self.problem = error.message
                raise
            self.problem = ""

    def _add(self, batch: Sequence[Logged]) -> None:
        if self._dead:
            self._reopen()
        new = [logged for logged in batch if logged.seq > self._cursor]
        if not new:
            return
        seals = self._keyring.seals({owner_of(one.event) for one in new if one.event.type.startswith(content.CARRIERS)})
        fresh = [row_of(logged, seals) for logged in new]
        self._writer.begin()
        try:
            self._append(fresh)
            self._writer.execute("UPDATE store SET cursor = ?", [fresh[-1][0]]).fetchall()
            self._writer.commit()
        except BaseException:
            with suppress(duckdb.Error):  # a commit that failed has ended the transaction itself
                self._writer.rollback()
            raise
        self._cursor = fresh[-1][0]

    def _append(self, rows: Sequence[tuple[Any, ...]]) -> None:
        appender = self._writer.appender("event")  # 84,000 rows/s where executemany takes 1,700
        try:
            appender.append_rows(rows)
            appender.flush()
        except BaseException:
            appender.clear()
            raise

    # -- letting content go

    def expire(self, why: str, where: Where, limit: int) -> int:
        """Forgets the content, and nothing else, of at most ``limit`` Events that meet ``where``; how many there were.
        ``why`` is what is said of them from then on."""
        seqs = f"SELECT seq FROM event WHERE content IS NOT NULL AND {where} LIMIT ?"  # noqa: S608 (only our own column names)
        return self._write(
            f"UPDATE event SET content = NULL, subject = NULL, gone = ? WHERE seq IN ({seqs})",  # noqa: S608 (as above)
            [why, *where.values, limit],
        )

    def drop(self, where: Where, limit: int) -> int:
        """Forgets at most ``limit`` Events that meet ``where``, whole; how many there were."""
        seqs = f"SELECT seq FROM event WHERE {where} LIMIT ?"  # noqa: S608 (only our own column names)
        return self._write(f"DELETE FROM event WHERE seq IN ({seqs})", [*where.values, limit])  # noqa: S608 (as above)

    def _write(self, sql: str, values: Sequence[Any]) -> int:
        with self._lock, self._speaking():
            if self._dead:
                self._reopen()
            return int(self._writer.execute(sql, list(values)).fetchall()[0][0])

    # -- reading

    def rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """What a query over ``event`` answers: for those that aggregate for one room only."""
        return self._all(sql, values)

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._speaking(), self._reader() as reader:
            return reader.execute(sql, list(values)).fetchall()

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            self._dead = self._dead or isinstance(error, duckdb.FatalException) or "invalidated" in str(error)
            raise Failed("trace_store_unavailable", f"The trace store: {_first_line(error)}", retry=True) from error

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of ``ids`` that are in the store."""
        if not ids:
            return set()
        return {row[0] for row in self._all("SELECT id FROM event WHERE id IN (SELECT unnest(?::VARCHAR[]))", [ids])}

    def _read(self, rows: Sequence[tuple[Any, ...]]) -> list[Logged]:
        found = [dict(zip(EVENT_COLUMNS, row, strict=True)) for row in rows]
        ciphers = self._keyring.opens({row["subject"] for row in found if row["subject"] is not None})
        return [event_of(row, ciphers) for row in found]

    def events(self, where: Where, limit: int) -> list[Logged]:
        """Events that meet ``where``, by number, at most ``limit``."""
        sql = f"SELECT {_SELECT} FROM event WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608 (only our own column names)
        return self._read(self._all(sql, [*where.values, limit]))

    def calls(self, where: Where, limit: int) -> list[RecordedCall]:
        """Decided calls that meet ``where``, by number, at most ``limit``; their attributes as the text they are."""
        sql = f"""SELECT seq, id, time_us, agent, session, release, data, subject, content, gone FROM event
            WHERE type IN ('call.completed', 'call.refused') AND {where} ORDER BY seq LIMIT ?"""  # noqa: S608 (only our own column names)
        rows = self._all(sql, [*where.values, limit])
        ciphers = self._keyring.opens({row[7] for row in rows if row[7] is not None})
        return [
            RecordedCall(
                seq, ident, time_of(at), agent or "", session or "", whole_of(ident, kept, ciphers), release or ""
            )
            for seq, ident, at, agent, session, release, *kept in rows
        ]

    def newest(self, where: Where, limit: int) -> list[Logged]:
        """The newest ``limit`` Events that meet ``where``, newest first."""
        sql = f"SELECT {_SELECT} FROM event WHERE {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608 (only our own column names)
        return self._read(self._all(sql, [*where.values, limit]))

    def traces(self, workspace: str, where: Where, before: int | None, limit: int) -> list[TraceSummary]:
        """Traces that have an Event which meets ``where``, the one with the newest Event first; ``before`` goes on
        after a trace whose newest Event has that number."""
        after = "HAVING max(seq) < ?" if before is not None else ""
        sql = f"""
            SELECT trace_id, min_by(agent, seq), min_by(session, seq), min(time_us),
                   max(time_us + coalesce(duration_us, 0)) - min(time_us), count(*),
                   count(*) FILTER (type IN {_CALLS}), count(error),
                   bool_or(status = 'violation'), bool_or(status = 'anomaly'), bool_or(status = 'flagged'),
                   min_by(name, seq), max(seq)
            FROM event
            WHERE workspace = ? AND trace_id IN (SELECT trace_id FROM event WHERE {where})
            GROUP BY trace_id {after} ORDER BY max(seq) DESC LIMIT ?"""  # noqa: S608 (only our own column names)
        values = [workspace, *where.values, *([] if before is None else [before]), limit]
        return [trace_summary_of(row) for row in self._all(sql, values)]

    def sessions(self, workspace: str, where: Where, before: int | None, limit: int) -> list[Session]:
        """Sessions that have an Event which meets ``where``, the one with the newest Event first, with their outcome;
        ``before`` as in ``traces``. A live session belongs to one agent: another that names it has one of its own. In
        imported ones several may speak."""
        after = "HAVING max(seq) < ?" if before is not None else ""
        sql = f"""
            SELECT workspace, session, min_by(agent, seq), max_by(source, seq), min(time_us),
                   max(time_us + coalesce(duration_us, 0)), count(*),
                   count(*) FILTER (type IN {_CALLS}), count(*) FILTER (status = 'flagged'),
                   count(*) FILTER (status = 'violation'), count(error),
                   {spent.SQL}, max_by(trace_id, seq), max(seq)
            FROM ({spent.ONCE.format(calls=_CALLS)}
                  FROM event WHERE workspace = ? AND session IN (SELECT session FROM event WHERE {where})))
            GROUP BY workspace, session,
                     CASE WHEN session IN (SELECT session FROM event WHERE source IS NOT NULL) THEN '' ELSE agent END
                     {after}
            ORDER BY max(seq) DESC LIMIT ?"""  # noqa: S608 (only our own column names)
        rows = self._all(sql, [workspace, *where.values, *([] if before is None else [before]), limit])
        names = [row[1] for row in rows]
        told = (
            self.outcomes(Where(workspace=workspace).add("session IN (SELECT unnest(?::VARCHAR[]))", names))
            if names
            else []
        )
        ends = {outcome.session: outcome for outcome in told}
        return [session_of(row, ends.get(row[1])) for row in rows]

    def outcomes(self, where: Where) -> list[Outcome]:
        """Every outcome that meets ``where``, in the order they were told. One session told twice keeps the later."""
        where.add("type = 'import.outcome'")
        sql = f"SELECT {_SELECT} FROM event WHERE {where} ORDER BY seq"  # noqa: S608 (only our own column names)
        found: dict[tuple[str, ...], Outcome] = {}
        for event in (logged.event for logged in self._read(self._all(sql, where.values))):
            outcome = outcome_of(event)
            if outcome is not None:
                found[event.workspace, outcome.source, outcome.session or event.id] = outcome
        return list(found.values())

    def content_under(self, numbers: Sequence[int]) -> dict[int, tuple[int, datetime]]:
        """How many Events have content under each of these keys, and the time of the oldest."""
        sql = """SELECT subject, count(*), min(time_us) FROM event WHERE subject IN (SELECT unnest(?::BIGINT[]))
            GROUP BY subject"""
        return {row[0]: (row[1], time_of(row[2])) for row in self._all(sql, [numbers])}

    def approvals_under(self, number: int) -> list[str]:
        """The ids of the approvals of calls that have content under this key."""
        sql = """SELECT DISTINCT coalesce(data ->> '$."approval_id"', data ->> '$."tenure.approval.id"') AS id
            FROM event WHERE subject = ? AND id IS NOT NULL"""
        return [row[0] for row in self._all(sql, [number]) if row[0]]

    def told_under(self, number: int, among: Sequence[str]) -> list[str]:
        """Those Events of ``among``, by id, that have content under this key."""
        sql = "SELECT id FROM event WHERE subject = ? AND id IN (SELECT unnest(?::VARCHAR[]))"
        return [row[0] for row in self._all(sql, [number, among])]

    def tool_uses(self, workspace: str, since_us: int, operation: str = "execute_tool") -> list[ToolUse]:
        """Every tool that every agent of a workspace has called, with how often since ``since_us``; or, by another
        ``operation``, whatever else they have."""
        sql = """
            SELECT agent, resource, count(*) FILTER (time_us >= ?), max(time_us) FROM event
            WHERE workspace = ? AND type = 'call.completed' AND agent IS NOT NULL AND resource IS NOT NULL
                  AND starts_with(name, ?)
            GROUP BY agent, resource"""
        rows = self._all(sql, [since_us, workspace, f"{operation} "])
        return [ToolUse(agent, resource, recent, time_of(last)) for agent, resource, recent, last in rows]

    def stats(self, where: Where) -> list[AgentStats]:
        """Each agent's calls that meet ``where``, in figures."""
        sql = f"""
            SELECT workspace, agent, count(*),
                   count(*) FILTER (status = 'allowed'), count(*) FILTER (status = 'flagged'),
                   count(*) FILTER (status = 'violation'), count(*) FILTER (status = 'anomaly'),
                   count(error) FILTER (type <> 'call.refused'),
                   quantile_disc(duration_us, [0.5, 0.95]) FILTER (type <> 'call.refused'),
                   {spent.SQL}, count(DISTINCT resource) FILTER (name LIKE 'execute_tool%'), max(time_us)
            FROM event WHERE type IN {_CALLS} AND agent IS NOT NULL AND {where}
            GROUP BY workspace, agent ORDER BY workspace, agent"""  # noqa: S608 (only our own column names)
        return [stats_of(row) for row in self._all(sql, where.values)]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _cannot_open(path: Path, error: duckdb.Error) -> Exception:
    text = _first_line(error)
    if "lock" in text.lower() and "held" in text.lower():
        return Failed("trace_store_locked", f"{path} is in use by another process: {text}")
    if "version" in text.lower():
        fix = "Start the Tenure that wrote it, or move the file away to begin an empty one."
        return Refused("trace_store_newer", f"{path} was written by another version: {text}", fix=fix, status=409)
    return Failed(
        "trace_store_damaged",
        f"{path} cannot be read: {text}. Restore it from a backup, or move it away to begin an empty one.",
    )
