"""The table of marks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, metadata
from tenure.revocation.model import Kind, Mark

mark_table = sa.Table(
    "revocation",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(254), nullable=False),
    sa.Column("before", UtcTime, nullable=False),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("until", UtcTime),
    sa.Column("actor", sa.String(254), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_revocation_of", "workspace", "kind", "subject"),
)
_t = mark_table.c


def _mark(row: Row[Any]) -> Mark:
    return Mark(**{**row._mapping, "kind": Kind(row.kind)})


def add(connection: Connection, mark: Mark) -> None:
    """Records a mark."""
    values = {column.name: getattr(mark, column.name) for column in mark_table.columns}
    connection.execute(sa.insert(mark_table).values(values | {"kind": str(mark.kind)}))


def in_force(connection: Connection, now: datetime, workspace: str | None = None) -> list[Mark]:
    """The marks that somebody must know now, of one workspace or of all."""
    query = sa.select(mark_table).where(_t.since <= now, sa.or_(_t.until.is_(None), _t.until > now))
    if workspace is not None:
        query = query.where(_t.workspace == workspace)
    return [_mark(row) for row in connection.execute(query)]


def of(connection: Connection, workspace: str, kinds: list[Kind], subject: str) -> list[Mark]:
    """The marks of one subject, whether in force yet or not, the newest first."""
    query = sa.select(mark_table).where(
        _t.workspace == workspace, _t.kind.in_([str(kind) for kind in kinds]), _t.subject == subject
    )
    return [_mark(row) for row in connection.execute(query.order_by(_t.before.desc(), _t.id.desc()))]


def newest(connection: Connection, workspace: str, limit: int = 200) -> list[Mark]:
    """The marks of a workspace but for single tokens', the newest first."""
    query = sa.select(mark_table).where(_t.workspace == workspace, _t.kind != Kind.TOKEN)
    query = query.order_by(_t.before.desc(), _t.id.desc()).limit(limit)
    return [_mark(row) for row in connection.execute(query)]


def forgettable(connection: Connection, now: datetime) -> bool:
    """Whether there are marks of tokens that have expired."""
    query = sa.select(_t.id).where(_t.kind == Kind.TOKEN, _t.until < now)
    return connection.execute(query.limit(1)).first() is not None


def forget(connection: Connection, now: datetime, limit: int = 5000) -> int:
    """Drops marks of tokens that have expired; how many."""
    old = sa.select(_t.id).where(_t.kind == Kind.TOKEN, _t.until < now).limit(limit)
    return connection.execute(sa.delete(mark_table).where(_t.id.in_(old))).rowcount


def came_due(connection: Connection, after: datetime, now: datetime) -> list[Mark]:
    """The marks that are in force since some moment after ``after``."""
    return [_mark(row) for row in connection.execute(sa.select(mark_table).where(_t.since > after, _t.since <= now))]
