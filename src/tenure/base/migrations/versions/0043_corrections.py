"""Where people decided otherwise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tenure.base.db import UtcTime

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "correction",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("workspace", sa.String(63), nullable=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("agent", sa.String(63), nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("trace_id", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("given", sa.Text, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
    )
    op.create_index("ix_correction_at", "correction", ["workspace", "at"])
