"""Switches as the database keeps them: one row for each that is off."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.tools.model import Switch

tool_switch = sa.Table(
    "tool_switch",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("server", sa.String(63), primary_key=True),
    sa.Column("tool", sa.String(128), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.String(254), nullable=False),
    sa.Column("since", UtcTime, nullable=False),
)


def switches(connection: Connection, workspace: str | None = None) -> list[Switch]:
    """What is off, the newest first; in all workspaces unless told otherwise."""
    query = sa.select(tool_switch).order_by(tool_switch.c.since.desc(), tool_switch.c.server, tool_switch.c.tool)
    if workspace is not None:
        query = query.where(tool_switch.c.workspace == workspace)
    return [Switch(**row._mapping) for row in connection.execute(query)]


def switch_off(connection: Connection, switch: Switch) -> bool:
    """Keeps it unless the same is off already; says whether it was new."""
    values = {column.name: getattr(switch, column.name) for column in tool_switch.columns}
    keys = [column.name for column in tool_switch.primary_key]
    statement = insert(connection, tool_switch).values(**values).on_conflict_do_nothing(index_elements=keys)
    return connection.execute(statement.returning(tool_switch.c.tool)).first() is not None


def switch_on(connection: Connection, switch: Switch) -> bool:
    """Forgets it; False when it was not off."""
    keys = (getattr(tool_switch.c, name) == getattr(switch, name) for name in ("workspace", "server", "tool", "agent"))
    return connection.execute(sa.delete(tool_switch).where(*keys)).rowcount > 0
