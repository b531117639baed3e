"""A DuckDB file of an older schema, copied piece by piece into a new one beside it, which takes its place in the end.

A new file and not the old one changed: what lay in it in clear would stay in blocks that nobody uses any more. Until
the new one has taken its place the old one is not touched, so that the Tenure that wrote it can go on with it at any
time. Each piece moves the cursor of the new file in its own transaction; whatever is killed when, it goes on there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from tenure.base.subjects import Keyring
from tenure.telemetry.traces import sums
from tenure.telemetry.traces.renewing import Renewal, renewed
from tenure.telemetry.traces.rows import COLUMNS, SCHEMA_VERSION

PIECE = 5_000
"""Numbers of Events that are gone through in one transaction."""
_GROUP = 30_720
"""Rows that lie together in the file. Each time the log beside it is folded into it, the last of these pieces is
written anew: at the 122,880 that are usual, most of what a fold writes was written before."""
_UNPACKED = frozenset({"content", "words"})
"""Columns of bytes as good as random: to try what packs them best takes half of a fold, and nothing does."""


def _table(name: str, columns: Mapping[str, str]) -> str:
    packed = {column: " USING COMPRESSION uncompressed" if column in _UNPACKED else "" for column in columns}
    pieces = [f"{column} {kind}{packed[column]}" for column, kind in columns.items()]
    return f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(pieces)})"


TABLES = (
    "CREATE TABLE IF NOT EXISTS store (version INTEGER NOT NULL, cursor BIGINT NOT NULL)",
    "ALTER TABLE store ADD COLUMN IF NOT EXISTS summed BIGINT DEFAULT 0",
    "ALTER TABLE store ADD COLUMN IF NOT EXISTS floor_us BIGINT DEFAULT 0",
    _table("event", COLUMNS),
    *(_table(table.name, table.columns()) for table in sums.TABLES),
)
"""What makes the tables of this version, also beside the rows of one whose rows are the same."""


def connect(path: Path, settings: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
    """The file as the store has it, made where it is not there. Raises duckdb.Error for one that cannot be read."""
    spilt = {"temp_directory": f"{path}.tmp"}  # of a database in memory it would lie where the process was started
    connection = duckdb.connect(":memory:", config=dict(settings) | spilt)
    try:
        quoted = str(path).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS kept (ROW_GROUP_SIZE {_GROUP})")
        connection.execute("USE kept")
    except BaseException:
        connection.close()
        raise
    return connection


def another(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """One more connection to what ``connect`` opened."""
    cursor = connection.cursor()
    cursor.execute("USE kept")
    return cursor


def version_of(path: Path, settings: Mapping[str, Any]) -> int | None:
    """The schema that a file was written in; None for no file, or one that nothing was written to. Opened with the
    ``settings`` of who goes on with it, and to be written: what a kill left in the log beside it is taken in once, not
    again by the next who opens. Raises duckdb.Error for a file that cannot be read."""
    if not path.exists():
        return None
    with connect(path, settings) as connection:
        there = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'store'").fetchall()
        found = connection.execute("SELECT version FROM store").fetchall() if there[0][0] else []
    return int(found[0][0]) if found else None


def append(connection: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Adds rows of Events, in the transaction that has begun."""
    appender = connection.appender("event")  # 84,000 rows/s where executemany takes 1,700
    try:
        appender.append_rows(rows)
        appender.flush()
    except BaseException:
        appender.clear()
        raise


class Older:
    """The old file, and the new one as far as it has come. Raises duckdb.Error where DuckDB does."""

    def __init__(self, path: Path, version: int, keyring: Keyring, settings: Mapping[str, Any]) -> None:
        self._path, self._next = path, path.with_name(f"{path.name}.next")
        self._version = version
        self._keyring = keyring
        self._settings = dict(settings)
        if _log_of(path).exists():  # of a process that was killed: into the file with it, only read from now on
            connect(path, settings).close()
        self._open()

    def _open(self) -> None:
        self.root = connect(self._next, self._settings)
        if not self._is_of_this_file():
            self.root.close()
            for file in (self._next, _log_of(self._next)):
                file.unlink(missing_ok=True)
            self.root = connect(self._next, self._settings)
            self._begin()
        quoted = str(self._path).replace("'", "''")
        self.root.execute(f"ATTACH '{quoted}' AS old (READ_ONLY)")
        self.cursor = int(self.root.execute("SELECT cursor FROM old.store").fetchall()[0][0])
        [(self._total,)] = self.root.execute("SELECT count(*) FROM old.event").fetchall()
        [(self._reached,)] = self.root.execute("SELECT cursor FROM store").fetchall()
        [(self._done,)] = self.root.execute("SELECT count(*) FROM event").fetchall()

    def _is_of_this_file(self) -> bool:
        """Whether what was begun is of the old file as it is now: the Tenure that wrote it may have gone on with it."""
        tables = self.root.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'renewal'").fetchall()
        if not tables[0][0]:
            return False
        return self.root.execute("SELECT * FROM renewal").fetchall() == [(SCHEMA_VERSION, *self._mark())]

    def _mark(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_size, found.st_mtime_ns

    def _begin(self) -> None:
        self.root.begin()
        for table in TABLES:
            self.root.execute(table)
        self.root.execute("INSERT INTO store (version, cursor) VALUES (?, 0)", [SCHEMA_VERSION])
        self.root.execute("CREATE TABLE renewal (version INTEGER, size BIGINT, mtime_ns BIGINT)")
        self.root.execute("INSERT INTO renewal VALUES (?, ?, ?)", [SCHEMA_VERSION, *self._mark()])
        self.root.commit()

    @property
    def renewal(self) -> Renewal:
        """How far it is."""
        return Renewal(self._version, self._done, self._total)

    def known(self, reader: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> set[str]:
        """Those of ``ids`` that are in the old file."""
        sql = "SELECT id FROM old.event WHERE id IN (SELECT unnest(?::VARCHAR[]))"
        return {row[0] for row in reader.execute(sql, [list(ids)]).fetchall()}

    def step(self) -> bool:
        """Copies the next piece; False when there is none left."""
        [(first,)] = self.root.execute("SELECT min(seq) FROM old.event WHERE seq > ?", [self._reached]).fetchall()
        if first is None:
            return False
        upto = first - 1 + PIECE
        found = self.root.execute("SELECT * FROM old.event WHERE seq >= ? AND seq <= ? ORDER BY seq", [first, upto])
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        fresh = renewed(rows, self._keyring)
        self.root.begin()
        try:
            append(self.root, fresh)
            self.root.execute("UPDATE store SET cursor = ?", [upto]).fetchall()
            self.root.commit()
        except BaseException:
            with suppress(duckdb.Error):  # a commit that failed has ended the transaction itself
                self.root.rollback()
            raise
        self._reached, self._done = upto, self._done + len(fresh)
        return True

    def finish(self) -> None:
        """The new file takes the place of the old one. Nobody may read either. Both are closed, also when it failed."""
        self.root.execute("UPDATE store SET cursor = ?", [self.cursor]).fetchall()
        self.root.execute("DETACH old")
        self.root.close()  # writes what is in its log into the file
        if _log_of(self._next).exists():
            raise duckdb.IOException(f"{self._next} could not be written whole")
        self._next.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")
