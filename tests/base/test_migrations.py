"""What the migrations build is what the code declares, on both databases: tables, columns, indexes and triggers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from tenure.base import migrate, schema
from tenure.base.db import Database, metadata

TRIGGERS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
    "postgresql": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with nothing in it; for PostgreSQL a schema of its own in the test run's server."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'migrated.db'}")
        yield database
        database.close()
        return
    server = request.getfixturevalue("_postgres")
    owner = Database(server)
    with owner.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS migrated")
        connection.exec_driver_sql("CREATE DATABASE migrated")
    owner.close()
    database = Database(str(sa.make_url(server).set(database="migrated").render_as_string(hide_password=False)))
    yield database
    database.close()


def _triggers(database: Database) -> list[tuple[str, ...]]:
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql(TRIGGERS[connection.dialect.name])
        return [tuple(" ".join(str(part).split()) for part in row) for row in rows]


def test_the_migrations_build_what_the_code_declares(empty: Database, database: Database) -> None:
    migrate.upgrade(empty)
    with empty.engine.connect() as connection:
        assert schema.check(empty) == schema.known()[-1]
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    if empty.is_sqlite == database.is_sqlite:
        assert _triggers(empty) == _triggers(database)
        assert _triggers(empty), "no trigger at all: the database would hold nothing"
