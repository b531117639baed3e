"""Tokens and instances that the authorization server ended are marks like all others: the statements beside this."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0027"
down_revision = "0026"

END_OF_STATEMENT = "\n;;\n"


def upgrade() -> None:
    """Moves the rows."""
    connection = op.get_bind()
    statements = Path(__file__).with_suffix(f".{connection.dialect.name}.sql").read_text("utf-8")
    for statement in statements.split(END_OF_STATEMENT):
        connection.exec_driver_sql(statement)
