"""The embedded engine: DuckDB, one file that one process writes.

The cursor into the event log lies in the same file and moves in the same transaction as the rows, so that an Event is
in it exactly once, whatever is killed when.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from tenure.base.events import Logged
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed, Refused
from tenure.telemetry.traces import sums
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.duck_older import TABLES, Older, another, append, connect, version_of
from tenure.telemetry.traces.finding import Finding
from tenure.telemetry.traces.looks import Looks
from tenure.telemetry.traces.questions import Questions
from tenure.telemetry.traces.renewing import Renewal, newer
from tenure.telemetry.traces.rows import ROWS_SINCE, SCHEMA_VERSION, micros, rows_of
from tenure.telemetry.traces.sums import Bounds

AT_ONCE = 20_000
"""Events that are let go, or whose content is, in one transaction."""
_OF_AGENTS = "workspace || '/' || agent IN (SELECT unnest(?::VARCHAR[]))"

DIALECT = Dialect(
    among="{} IN (SELECT unnest(?::VARCHAR[]))",
    among_numbers="{} IN (SELECT unnest(?::BIGINT[]))",
    earliest="min_by({}, seq)",
    latest="max_by({}, seq)",
    text="""json_extract_string(data, '$."{}"')""",
    number="""try_cast(json_extract(data, '$."{}"') AS BIGINT)""",
    inner="""json_extract_string(data, '$."{}"."{}"')""",
    inner_number="""try_cast(json_extract(data, '$."{}"."{}"') AS BIGINT)""",
    matches="regexp_matches({}, '{}')",
    day="{} // 86400000000",
    mark="(md5_number_lower({}) >> 1)::BIGINT",
)


class DuckStore(Questions, Looks, Finding):
    """Every Event as a row of a DuckDB file. Opening it creates it, or recovers it after a kill.

    ``memory_mb`` bounds what DuckDB takes; without a bound it takes gigabytes while ingesting. Raises Failed when the
    file is damaged or another process has it, Refused when a newer version of Tenure wrote it.
    """

    dialect = DIALECT

    def __init__(self, path: Path, keyring: Keyring, *, memory_mb: int = 512, threads: int = 2) -> None:
        self.path = path
        self._keyring = keyring
        self.problem = ""
        self._lock = threading.Lock()
        self._room = threading.Condition()  # DuckDB refuses to close what is still read
        self._readers = 0
        self._shutting = False
        self._settings: dict[str, Any] = {"memory_limit": f"{memory_mb}MB", "threads": threads}
        self._dead = False
        self._older: Older | None = None
        self._reach = Bounds(0, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except duckdb.Error as error:
            raise _cannot_open(path, error) from error

    @property
    def place(self) -> str:
        return str(self.path)

    def _open(self) -> None:
        version = version_of(self.path, self._settings) or SCHEMA_VERSION
        if version > SCHEMA_VERSION:
            raise newer(str(self.path), version)
        if version < ROWS_SINCE:
            self._older = Older(self.path, version, self._keyring, self._settings)
            self._root, self._writer = self._older.root, another(self._older.root)
            self._cursor = self._older.cursor
            return
        self._root = connect(self.path, self._settings)
        # Each time the log beside the file is folded into it, the newest rows are written anew: at the 16 MB that are
        # usual, twice as often as needed. More than this takes seconds to read after a kill.
        self._root.execute("SET checkpoint_threshold = '64MB'")
        self._writer = another(self._root)
        self._prepare()

    def _reopen(self) -> None:
        """DuckDB serves nothing more after a write that broke off in the middle (a full disk), until it was closed and
        has recovered."""
        with suppress(duckdb.Error), self._no_reader():
            self._writer.close()
            self._root.close()
        self._older = None
        self._open()
        self._dead = False

    # -- from an older version

    @property
    def renewal(self) -> Renewal | None:
        older = self._older
        return older.renewal if older is not None else None

    def renew(self) -> bool:
        with self._lock:
            if self._older is None:
                return False
            try:
                with self._speaking():
                    if self._dead:
                        self._reopen()
                    self._renew()
            except Failed as error:
                self.problem = error.message
                raise
            self.problem = ""
            return True

    def _renew(self) -> None:
        if self._older is None or self._older.step():
            return
        with self._no_reader():
            self._dead = True  # until it is open again
            self._writer.close()
            self._older.finish()
            self._older = None
            self._open()
            self._dead = False

    def _prepare(self) -> None:
        self._writer.begin()
        for table in TABLES:
            self._writer.execute(table)
        if not self._writer.execute("SELECT version FROM store").fetchall():  # all, or the connection stays busy
            self._writer.execute("INSERT INTO store (version, cursor) VALUES (?, 0)", [SCHEMA_VERSION])
        self._writer.execute("UPDATE store SET version = $1 WHERE version < $1", [SCHEMA_VERSION])
        self._writer.execute("DROP TABLE IF EXISTS renewal")  # of a file that took an older one's place
        self._writer.commit()
        [(cursor, summed, floor)] = self._writer.execute("SELECT cursor, summed, floor_us FROM store").fetchall()
        self._cursor, self._reach = int(cursor), Bounds(int(summed), int(floor))

    def close(self) -> None:
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
            reader = another(self._root)
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
        """Asked twice a second, so it is not read each time: no other process can have the file open."""
        return self._cursor

    def add(self, batch: Sequence[Logged]) -> None:
        with self._lock:
            try:
                with self._speaking():
                    self._add(batch)
            except Failed as error:
                self.problem = error.message
                raise
            self.problem = ""

    def _add(self, batch: Sequence[Logged]) -> None:
        self._ready()
        new = [logged for logged in batch if logged.seq > self._cursor]
        if not new:
            return
        fresh = rows_of(new, self._keyring)
        with self._transaction():
            append(self._writer, fresh)
            self._writer.execute("UPDATE store SET cursor = ?", [fresh[-1][0]]).fetchall()
        self._cursor = fresh[-1][0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Of the writer: all of what is done in it, or nothing."""
        self._writer.begin()
        try:
            yield
            self._writer.commit()
        except BaseException:
            with suppress(duckdb.Error):  # a commit that failed has ended the transaction itself
                self._writer.rollback()
            raise

    def sum_up(self) -> bool:
        with self._lock, self._speaking():
            after, upto = self._reach.summed, self._reach.summed + sums.AT_ONCE
            if self._older is not None or self._cursor < upto:
                return False
            self._ready()
            with self._transaction():
                for table in sums.TABLES:
                    self._writer.execute(table.made(self.dialect), [upto, after, upto]).fetchall()
                self._writer.execute("UPDATE store SET summed = ?", [upto]).fetchall()
            self._reach = replace(self._reach, summed=upto)
            return True

    def _bounds(self) -> Bounds:
        return self._reach

    def _ready(self) -> None:
        if self._dead:
            self._reopen()
        if self._older is not None:
            raise self._older.renewal.refusal()

    # -- letting go

    def expire(self, before: datetime, agents: Collection[str]) -> int:
        return self._forget("expired", f"time_us < ? AND {_OF_AGENTS}", [micros(before), list(agents)])

    def expire_others(self, before: datetime, but: Collection[str]) -> int:
        return self._forget("expired", f"time_us < ? AND coalesce(NOT {_OF_AGENTS}, TRUE)", [micros(before), list(but)])

    def thin(self, since: datetime, until: datetime, share: int) -> int:
        where = """time_us >= ? AND trace_id IN (
            SELECT trace_id FROM event WHERE time_us >= ? AND trace_id IS NOT NULL GROUP BY trace_id
            HAVING max(time_us + coalesce(duration_us, 0)) < ? AND min(time_us) >= ?
               AND bool_and(status = 'allowed' AND error IS NULL AND source IS NULL)
               AND NOT bool_or(starts_with(type, 'approval.'))
               AND regexp_matches(trace_id, '^[0-9a-f]{32}$')
               AND ('0x' || right(trace_id, 6))::UINTEGER % 100 >= ?)"""
        first = micros(since)
        return self._forget("sampled", where, [first, first, micros(until), first, share])

    def _forget(self, why: str, where: str, values: Sequence[Any]) -> int:
        """Forgets the content of Events; ``why`` is what is said of them from then on."""
        seqs = f"SELECT seq FROM event WHERE content IS NOT NULL AND {where} LIMIT ?"  # noqa: S608 (only our own column names)
        return self._write(
            f"UPDATE event SET content = NULL, subject = NULL, words = NULL, gone = ? WHERE seq IN ({seqs})",  # noqa: S608 (as above)
            [why, *values, AT_ONCE],
        )

    def drop(self, before: datetime) -> int:
        seqs = "SELECT seq FROM event WHERE time_us < ? LIMIT ?"
        delete = f"DELETE FROM event WHERE seq IN ({seqs})"  # noqa: S608 (as above)
        with self._lock, self._speaking():
            self._ready()
            floor = max(micros(before), self._reach.floor)
            with self._transaction():
                [(count,)] = self._writer.execute(delete, [micros(before), AT_ONCE]).fetchall()
                self._writer.execute("UPDATE store SET floor_us = ?", [floor]).fetchall()
                for table in sums.TABLES:
                    self._writer.execute(f"DELETE FROM {table.name} WHERE on_day < ?", [floor // sums.DAY]).fetchall()  # noqa: S608 (as above)
            self._reach = replace(self._reach, floor=floor)
            return int(count)

    def _write(self, sql: str, values: Sequence[Any]) -> int:
        with self._lock, self._speaking():
            self._ready()
            return int(self._writer.execute(sql, list(values)).fetchall()[0][0])

    # -- reading

    def _beside(self, columns: Mapping[str, str]) -> str:
        return "SELECT " + ", ".join(f"unnest(?::{kind}[]) AS {name}" for name, kind in columns.items())

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._speaking(), self._reader() as reader:
            if self._older is not None:
                raise self._older.renewal.refusal()
            return reader.execute(sql, list(values)).fetchall()

    def known(self, ids: Sequence[str]) -> set[str]:
        """Answers also while the file is brought to this version: what comes in is compared with it."""
        with self._speaking(), self._reader() as reader:
            if self._older is not None:
                return self._older.known(reader, ids)
        return super().known(ids)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, OSError) as error:
            self._dead = self._dead or isinstance(error, duckdb.FatalException) or "invalidated" in str(error)
            raise Failed("trace_store_unavailable", f"The trace store: {_first_line(error)}", retry=True) from error


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
