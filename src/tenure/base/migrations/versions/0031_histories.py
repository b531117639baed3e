"""What sessions did before, as sequence rules see it, and which gateway keeps it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tenure.base.db import UtcTime

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "sequence_history",
        sa.Column("workspace", sa.String(63), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("history", sa.Text, nullable=False),
        sa.Column("lease", sa.String(64), nullable=False),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("gateway", sa.String(64), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("until", UtcTime, nullable=False),
        sa.Column("waiting", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("given", sa.Text, nullable=False),
        sa.Column("late", sa.Text, nullable=False),
        sa.Column("lost", sa.Text, nullable=False),
        sa.Column("touched", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id", name="pk_sequence_history"),
    )
    op.create_index("ix_sequence_history_until", "sequence_history", ["until"])
    op.create_index("ix_sequence_history_touched", "sequence_history", ["touched"])
