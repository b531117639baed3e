"""From whom the work of a held call came, and what speaks against approving it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"


def upgrade() -> None:
    """Adds the columns."""
    op.add_column("approval", sa.Column("chain", sa.Text, nullable=False, server_default="[]"))
    op.add_column("approval", sa.Column("task", sa.Text))
    op.add_column("approval", sa.Column("against", sa.Text, nullable=False, server_default="[]"))
