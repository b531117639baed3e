"""The first schema."""

from __future__ import annotations

from alembic import op

from tenure.base.db import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates every table."""
    metadata.create_all(op.get_bind())
