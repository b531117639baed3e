"""Brings the control database to the newest schema with Alembic. ``python -m tenure.base.migrate`` reads its address
from standard input; ``base.schema`` runs it where that is wanted."""

from __future__ import annotations

import sys
from typing import Any

from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tenure.base import schema
from tenure.base.db import Database, metadata
from tenure.base.memory import keep_private


def upgrade(database: Database) -> None:
    """Brings the database to the newest schema, in one transaction. Raises as ``schema.check`` does."""
    schema.check(database)
    config = AlembicConfig()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)  # what alembic.command.upgrade does; it has no public name

    with EnvironmentContext(config, script, fn=steps) as environment, database.begin() as connection:
        environment.configure(connection=connection, target_metadata=metadata)
        environment.run_migrations()


if __name__ == "__main__":
    keep_private()
    upgrade(Database(sys.stdin.read()))
