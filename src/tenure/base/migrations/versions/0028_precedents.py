"""Rules made from approvals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tenure.base.db import UtcTime

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "precedent",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("workspace", sa.String(63), nullable=False),
        sa.Column("approval", sa.String(64), nullable=False),
        sa.Column("agent", sa.String(63), nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("cedar", sa.Text, nullable=False),
        sa.Column("tests", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("proposed_by", sa.String(255), nullable=False),
        sa.Column("proposed_at", UtcTime, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
        sa.Column("decided_by", sa.String(255)),
        sa.Column("decided_at", UtcTime),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
    )
    op.create_index("ix_precedent_state", "precedent", ["state", "workspace", "expires_at"])
