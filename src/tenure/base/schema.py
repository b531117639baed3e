"""Which schema the control database has, and bringing it to the newest.

Migrations run in a process of their own (``base.migrate``): what they need is loaded for the seconds that they take, a
few times a year, and does not lie in the control plane's memory for ever.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

from tenure.base.db import Database
from tenure.kernel.errors import Failed, Refused

MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))


def known() -> list[str]:
    """The versions there are, oldest first: how the names of the migrations begin."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def check(database: Database) -> str | None:
    """The schema version the database has, None when it is empty. Raises Refused for one that a newer Tenure wrote, and
    Failed when the database cannot be opened."""
    try:
        with database.engine.connect() as connection:
            has = sa.inspect(connection).has_table(_VERSION.name)
            current = connection.execute(sa.select(_VERSION.c.version_num)).scalar() if has else None
    except (sa.exc.OperationalError, sa.exc.DatabaseError) as error:
        raise Failed("database_unavailable", f"The control database cannot be opened: {error.orig}") from error
    if current is not None and current not in known():
        raise Refused(
            "newer_data",
            f"The data was written by a newer Tenure (schema {current}). Start that version, or another data folder.",
        )
    return current


def bring_up(database: Database) -> None:
    """Brings the database to the newest schema, if it has another. Raises as ``check`` does, and Failed when a
    migration fails: then nothing was changed, and standard error says why."""
    if check(database) == known()[-1]:
        return
    # The address goes over standard input: it may hold a password, and everybody reads the process list.
    done = subprocess.run((sys.executable, "-m", "tenure.base.migrate"), input=database.url, text=True, check=False)
    if done.returncode:
        raise Failed("not_migrated", "The control database could not be brought to the newest schema; see above.")
