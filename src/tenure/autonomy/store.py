"""What the database keeps of oversight: the floors of workspaces, and what people were not told yet."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.autonomy.model import Floor, Notice
from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.values import Autonomy

floor = sa.Table(
    "autonomy_floor",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("level", sa.String(16), nullable=False),
    sa.Column("by", sa.String(254), nullable=False),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

notice = sa.Table(
    "autonomy_notice",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("resource", sa.String(400), primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("first_at", UtcTime, nullable=False),
    sa.Column("last_at", UtcTime, nullable=False),
    sa.Column("call_id", sa.String(64), nullable=False),
    sa.Column("trace_id", sa.String(64)),
)


def floors(connection: Connection, workspace: str | None = None) -> dict[str, Floor]:
    """Those that were set, by workspace."""
    query = sa.select(floor)
    if workspace is not None:
        query = query.where(floor.c.workspace == workspace)
    found = (dict(row._mapping) for row in connection.execute(query))
    return {row["workspace"]: Floor(**row | {"level": Autonomy(row["level"])}) for row in found}


def save_floor(connection: Connection, item: Floor) -> None:
    """Sets it, in place of the one before."""
    values = {"level": item.level.value, "by": item.by, "since": item.since, "reason": item.reason}
    statement = insert(connection, floor).values(workspace=item.workspace, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace"], set_=values))


def add_notice(connection: Connection, item: Notice) -> None:
    """Adds calls to what people are to be told of the same agent and tool."""
    row = {column.name: getattr(item, column.name) for column in notice.columns}
    statement = insert(connection, notice).values(**row)
    later: dict[str, Any] = {
        "calls": notice.c.calls + item.calls,
        "last_at": item.last_at,
        "call_id": item.call_id,
        "trace_id": item.trace_id,
    }
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "agent", "resource"], set_=later))


def notices(connection: Connection, workspace: str) -> list[Notice]:
    """What people are to be told, the newest first."""
    query = sa.select(notice).where(notice.c.workspace == workspace).order_by(notice.c.last_at.desc(), notice.c.agent)
    return [Notice(**dict(row._mapping)) for row in connection.execute(query)]


def drop_notice(connection: Connection, workspace: str, agent: str, resource: str, upto: datetime) -> bool:
    """Forgets what was told of one tool of an agent; False when nothing is kept, or more happened after ``upto``."""
    which = (notice.c.workspace == workspace, notice.c.agent == agent, notice.c.resource == resource)
    return connection.execute(sa.delete(notice).where(*which, notice.c.last_at <= upto)).rowcount == 1
