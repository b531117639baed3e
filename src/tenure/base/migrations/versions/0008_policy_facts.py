"""What was known of agents when their calls were decided, so that a decision can be made again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tenure.base.db import UtcTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Creates the table; calls of before name no facts."""
    op.create_table(
        "policy_fact",
        sa.Column("workspace", sa.String(63), primary_key=True),
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("fact", sa.Text, nullable=False),
        sa.Column("at", UtcTime, nullable=False),
    )
