"""Whether the person for whom a held call is made could approve it alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"


def upgrade() -> None:
    """Adds the column."""
    op.add_column("approval", sa.Column("invited", sa.Boolean, nullable=False, server_default=sa.false()))
