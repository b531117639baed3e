"""Until when an issuer is believed about a person: the statement beside this file, one for each database."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Adds the column."""
    connection = op.get_bind()
    connection.exec_driver_sql(Path(__file__).with_suffix(f".{connection.dialect.name}.sql").read_text("utf-8"))
