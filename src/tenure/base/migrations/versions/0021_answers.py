"""Approvals say which of them were decided by one answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Adds the column."""
    op.add_column("approval", sa.Column("answer", sa.String(32)))
