"""Models that were asked which step failed a run: the statements beside this file."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0052"
down_revision = "0051"

END_OF_STATEMENT = "\n;;\n"


def upgrade() -> None:
    """Creates the table."""
    connection = op.get_bind()
    statements = Path(__file__).with_suffix(f".{connection.dialect.name}.sql").read_text("utf-8")
    for statement in statements.split(END_OF_STATEMENT):
        connection.exec_driver_sql(statement)
