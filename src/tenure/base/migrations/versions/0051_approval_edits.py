"""Held calls whose arguments a person may change, and to what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0051"
down_revision = "0050"


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("approval", sa.Column("editable", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("approval", sa.Column("edited", sa.Text))
