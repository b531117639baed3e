"""What was revoked."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0017"
down_revision = "0016"

END_OF_STATEMENT = "\n;;\n"  # triggers hold semicolons of their own


def upgrade() -> None:
    """Runs the statements beside this file."""
    connection = op.get_bind()
    statements = Path(__file__).with_suffix(f".{connection.dialect.name}.sql").read_text("utf-8")
    for statement in statements.split(END_OF_STATEMENT):
        if statement.strip():
            connection.exec_driver_sql(
                statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement
            )
