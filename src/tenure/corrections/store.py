"""Corrections as the database keeps them: added, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, metadata
from tenure.base.db import insert as dialect_insert
from tenure.corrections.model import Correction, Kind

correction = sa.Table(
    "correction",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("by", sa.String(255), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("session", sa.Text),
    sa.Column("trace_id", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("given", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sa.Index("ix_correction_at", "workspace", "at"),
)
_JSON = ("given", "before", "after")


def insert(connection: Connection, item: Correction) -> None:
    """Adds it unless its id is known."""
    values: dict[str, Any] = {column.name: getattr(item, column.name) for column in correction.columns}
    values |= {name: json.dumps(values[name]).replace("\\u0000", "") for name in _JSON}
    values |= {"kind": item.kind.value, "reason": item.reason.replace("\x00", "")}
    statement = dialect_insert(connection, correction).values(**values)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))


def find(
    connection: Connection, workspace: str, only: Mapping[str, str], since: datetime | None, limit: int
) -> list[Correction]:
    """Newest first; ``only``: by column what it must be."""
    query = sa.select(correction).where(correction.c.workspace == workspace)
    for name, value in only.items():
        query = query.where(correction.c[name] == value)
    if since is not None:
        query = query.where(correction.c.at >= since)
    rows = connection.execute(query.order_by(correction.c.at.desc(), correction.c.id).limit(limit))
    return [_read(row) for row in rows]


def _read(row: Any) -> Correction:
    values = dict(row._mapping)
    return Correction(**values | {name: json.loads(values[name]) for name in _JSON} | {"kind": Kind(row.kind)})


def about(connection: Connection, workspace: str) -> list[str]:
    """The Events that corrections are about which still tell what was said."""
    of = correction.c
    said = sa.or_(of.given != "{}", of.before != "{}", of.after != "{}")
    return list(connection.execute(sa.select(of.event).where(of.workspace == workspace, said).distinct()).scalars())


def forget_content(connection: Connection, workspace: str, events: Sequence[str]) -> int:
    """Forgets what was said, and what would have been right, in corrections about these Events; how many there were."""
    mine = (correction.c.workspace == workspace, correction.c.event.in_(list(events)))
    bare = dict.fromkeys(_JSON, "{}")
    return connection.execute(sa.update(correction).where(*mine).values(**bare)).rowcount
