"""The control database: one engine for SQLite (embedded) and PostgreSQL (beyond one machine).

Tables are declared by the slice that owns them, on the shared ``metadata``; migrations under ``base/migrations``
create them. A verb of a service is one ``begin()``: it commits as a whole or leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.types import TypeDecorator

from tenure.kernel.errors import Failed, Refused

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime as integer microseconds since 1970, the same on every database, sortable and exact."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 (SQLAlchemy's signature)
        """To microseconds. A naive datetime is our own bug."""
        if value is None:
            return None
        assert value.tzinfo is not None, "naive datetime"  # noqa: S101 (an assertion is for our own bugs)
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (SQLAlchemy's signature)
        """From microseconds, in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=int(value))


def insert(connection: Connection, table: sa.Table) -> Any:
    """An INSERT of the connection's own dialect: the kind that has ``on_conflict_do_nothing`` and ``_do_update``, which
    SQLite and PostgreSQL spell alike and SQLAlchemy's common one lacks."""
    if connection.dialect.name == "postgresql":
        # Here, since it takes two megabytes, and with SQLite nobody needs it.
        from sqlalchemy.dialects.postgresql import insert as insert_there  # noqa: PLC0415 (see above)

        return insert_there(table)
    return sqlite.insert(table)


class Database:
    """An engine with this project's settings. ``url`` as SQLAlchemy writes it: ``sqlite:////path/tenure.db`` or
    ``postgresql+psycopg://...``. Raises Refused for a URL that names no database it can speak to."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        # One process writes through one lock: waiting in line beats SQLite's polling, and nobody starves.
        self._writer: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()
        self._watcher: PoolProxiedConnection | None = None
        self._watching = threading.Lock()
        try:
            self.engine: Engine = _sqlite_engine(url) if self.is_sqlite else sa.create_engine(url, pool_pre_ping=True)
        except (sa.exc.ArgumentError, ImportError) as error:  # the URL may hold a password: it is not repeated
            raise Refused(
                "bad_setting",
                "TENURE_DATABASE_URL is not the address of a database that Tenure knows.",
                fix="Unset it for SQLite in the data folder, or give postgresql+psycopg://user@host/database.",
            ) from error

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction. On SQLite it takes the write lock at once (BEGIN IMMEDIATE), so that a verb never
        reads, decides and then finds that it may not write. Raises Failed when the database cannot be reached."""
        try:
            with self._writer, self.engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise Failed(
                "database_unavailable", f"The control database does not answer: {error.orig}", retry=True
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read of one consistent state. Raises Failed when the database cannot be reached."""
        try:
            with self.engine.connect().execution_options(tenure_readonly=True) as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise Failed(
                "database_unavailable", f"The control database does not answer: {error.orig}", retry=True
            ) from error

    def version(self) -> Hashable:
        """Differs from what it was if anybody, here or in another process, has committed a write since; it may differ
        without one as well. Asking costs next to nothing and writes nothing. Raises Failed when the database cannot be
        reached."""
        try:
            if not self.is_sqlite:  # what is under way and what is done, of transactions that write: readers have none
                with self.read() as connection:
                    return str(connection.execute(sa.text("SELECT pg_current_snapshot()::text")).scalar_one())
            with self._watching:  # the number is of one connection, which must commit nothing itself
                if self._watcher is None:
                    self._watcher = self.engine.raw_connection()
                    self._watcher.detach()
                return int(self._watcher.cursor().execute("PRAGMA data_version").fetchone()[0])
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            raise Failed(
                "database_unavailable", f"The control database does not answer: {error}", retry=True
            ) from error

    def close(self) -> None:
        """Returns every connection."""
        with self._watching:
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
        self.engine.dispose()


def _sqlite_engine(url: str) -> Engine:
    # The connection that was used last is used next: it has the pages and statements that are asked for all the time.
    engine = sa.create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, pool_use_lifo=True)

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own; "begin" below does
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        readonly = connection.get_execution_options().get("tenure_readonly", False)
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine
