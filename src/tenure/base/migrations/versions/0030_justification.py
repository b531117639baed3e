"""What the agent says that a held call is for: the statement beside this file."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Adds the column."""
    connection = op.get_bind()
    connection.exec_driver_sql(Path(__file__).with_suffix(f".{connection.dialect.name}.sql").read_text("utf-8"))
