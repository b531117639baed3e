"""Which version of the policies ran from when on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tenure.base.db import UtcTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Creates the table; it begins empty: what ran until now is in the Events."""
    op.create_table(
        "policy_load",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("workspace", sa.String(63), nullable=False),
        sa.Column("version", sa.String(71), nullable=False),
        sa.Column("before", sa.String(71)),
        sa.Column("how", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", UtcTime, nullable=False),
    )
    op.create_index("policy_load_newest", "policy_load", ["workspace", "id"])
