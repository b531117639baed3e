"""Schema versions of the control database: Alembic, run by the control plane when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tenure.base.db import Database, metadata
from tenure.kernel.errors import Failed, Refused

_HERE = Path(__file__).parent / "migrations"


def _script() -> ScriptDirectory:
    config = AlembicConfig()
    config.set_main_option("script_location", str(_HERE))
    return ScriptDirectory.from_config(config)


def check(database: Database) -> str | None:
    """The schema version the database has, None when it is empty. Raises Refused for one that a newer Tenure wrote, and
    Failed when the database cannot be opened."""
    try:
        with database.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    except (sa.exc.OperationalError, sa.exc.DatabaseError) as error:
        raise Failed("database_unavailable", f"The control database cannot be opened: {error.orig}") from error
    if current is not None and current not in {revision.revision for revision in _script().walk_revisions()}:
        raise Refused(
            "newer_data",
            f"The data was written by a newer Tenure (schema {current}). Start that version, or another data folder.",
        )
    return current


def upgrade(database: Database) -> None:
    """Brings the database to the newest schema, in one transaction."""
    check(database)
    config = AlembicConfig()
    config.set_main_option("script_location", str(_HERE))
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)  # what alembic.command.upgrade does; it has no public name

    with EnvironmentContext(config, script, fn=steps) as environment, database.begin() as connection:
        environment.configure(connection=connection, target_metadata=metadata)
        environment.run_migrations()
