"""Calls that agents prepared and did not make."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tenure.base.db import UtcTime

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "draft",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("workspace", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("agent", sa.String(63), nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("call_kind", sa.String(16), nullable=False),
        sa.Column("work", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("whole", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("justification", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("policy_version", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("trace_id", sa.Text),
        sa.Column("span_id", sa.Text),
        sa.Column("drafted_at", UtcTime, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("edited", sa.Text),
        sa.Column("decided_by", sa.String(255)),
        sa.Column("decided_at", UtcTime),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("claim", sa.String(64)),
        sa.Column("outcome", sa.Text),
        sa.Column("event", sa.String(64)),
    )
    op.create_index("ix_draft_state", "draft", ["state", "workspace", "agent"])
    op.create_index("ix_draft_workspace", "draft", ["workspace", "drafted_at"])
