"""Destinations as the database keeps them, each with its cursor into the event log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.exports.model import Destination, Kind

destination_table = sa.Table(
    "export_destination",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.String(63), nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("content", sa.Boolean, nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("dropped", sa.BigInteger, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("next_at", UtcTime),
    sa.Column("last_at", UtcTime),
    sa.Column("set_at", UtcTime, nullable=False),
    sa.Column("set_by", sa.String(254), nullable=False),
)
_D = destination_table.c


def _destination(row: Any) -> Destination:
    return Destination(**(dict(row._mapping) | {"kind": Kind(row.kind)}))


def destinations(connection: Connection, workspace: str, name: str | None = None) -> list[Destination]:
    """Those of a workspace by name, or the one of that name."""
    query = sa.select(destination_table).where(_D.workspace == workspace).order_by(_D.name)
    if name is not None:
        query = query.where(_D.name == name)
    return [_destination(row) for row in connection.execute(query)]


def save(connection: Connection, item: Destination) -> None:
    """Sets one, in place of another of the same name."""
    values = {column.name: getattr(item, column.name) for column in _D} | {"kind": item.kind.value}
    fresh = {name: value for name, value in values.items() if name not in ("workspace", "name")}
    statement = insert(connection, destination_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_=fresh))


def remove(connection: Connection, workspace: str, name: str) -> None:
    """Forgets one."""
    connection.execute(sa.delete(destination_table).where(_D.workspace == workspace, _D.name == name))


def due(connection: Connection, newest: int, now: datetime) -> list[str]:
    """``workspace/name`` of those that have Events before them and need not wait."""
    query = sa.select(_D.workspace, _D.name).where(_D.cursor < newest, sa.or_(_D.next_at.is_(None), _D.next_at <= now))
    return [f"{row.workspace}/{row.name}" for row in connection.execute(query)]


def change(connection: Connection, item: Destination, **values: Any) -> None:
    """Notes what became of a batch, unless the destination was set anew meanwhile."""
    same = (_D.workspace == item.workspace, _D.name == item.name, _D.cursor == item.cursor, _D.set_at == item.set_at)
    connection.execute(sa.update(destination_table).where(*same).values(**values))
