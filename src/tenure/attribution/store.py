"""What judges were asked, as the database keeps it: facts; what they said is content, and in the trace store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.attribution.model import Asked, State
from tenure.base.db import UtcTime, metadata

blame_ask = sa.Table(
    "blame_ask",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("trace_id", sa.String(64), nullable=False),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("prompt", sa.String(32), nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("by", sa.String(254), nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index("ix_blame_ask_trace", "workspace", "trace_id"),
    sa.Index("ix_blame_ask_at", "workspace", "at"),
)
_A = blame_ask.c


def alone(connection: Connection) -> None:
    """Until the end of the transaction nobody else asks: nothing is paid twice, and no bound is passed."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE blame_ask IN SHARE ROW EXCLUSIVE MODE"))


def of_trace(connection: Connection, workspace: str, trace_id: str) -> list[Asked]:
    """What was asked about a run, the newest first."""
    query = sa.select(blame_ask).where(_A.workspace == workspace, _A.trace_id == trace_id)
    return [_read(row) for row in connection.execute(query.order_by(_A.at.desc(), _A.id))]


def lately(connection: Connection, workspace: str, since: datetime) -> list[Asked]:
    """What was asked in a workspace since a time."""
    query = sa.select(blame_ask).where(_A.workspace == workspace, _A.at > since)
    return [_read(row) for row in connection.execute(query)]


def add(connection: Connection, item: Asked) -> None:
    """Keeps a new one."""
    values: dict[str, Any] = {column.name: getattr(item, column.name) for column in _A}
    connection.execute(sa.insert(blame_ask).values(**values | {"state": item.state.value}))


def end(connection: Connection, ident: str, state: State, detail: str) -> None:
    """Notes what came of it."""
    values = {"state": state.value, "detail": detail.replace("\x00", "")}
    connection.execute(sa.update(blame_ask).where(_A.id == ident).values(**values))


def drop_before(connection: Connection, workspace: str, before: datetime) -> None:
    """Forgets what was asked so long ago that what was said is not kept either."""
    connection.execute(sa.delete(blame_ask).where(_A.workspace == workspace, _A.at < before))


def _read(row: Any) -> Asked:
    return Asked(**dict(row._mapping) | {"state": State(row.state)})
