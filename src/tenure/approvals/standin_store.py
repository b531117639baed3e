"""Stand-ins as the database keeps them: for ever, since who could answer when is a question for auditors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.approvals.standins import StandIn
from tenure.base.db import UtcTime, metadata

stand_in = sa.Table(
    "approval_stand_in",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("person", sa.String(254), nullable=False),
    sa.Column("stand_in", sa.String(254), nullable=False),
    sa.Column("agents", sa.Text, nullable=False),
    sa.Column("tools", sa.Text, nullable=False),
    sa.Column("begins_at", UtcTime, nullable=False),
    sa.Column("ends_at", UtcTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("made_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    sa.Column("ended_by", sa.String(254), nullable=False),
    sa.Index("ix_approval_stand_in_ends_at", "workspace", "ends_at"),
)
_C = stand_in.c


def _read(row: Any) -> StandIn:
    lists = {name: tuple(json.loads(getattr(row, name))) for name in ("agents", "tools")}
    return StandIn(**(dict(row._mapping) | lists))


def insert(connection: Connection, item: StandIn) -> None:
    """Adds one."""
    values = {column.name: getattr(item, column.name) for column in _C}
    values |= {name: json.dumps(list(values[name])) for name in ("agents", "tools")}
    connection.execute(sa.insert(stand_in).values(**values))


def get(connection: Connection, workspace: str, ident: str) -> StandIn | None:
    """One of a workspace."""
    row = connection.execute(sa.select(stand_in).where(_C.workspace == workspace, _C.id == ident)).first()
    return None if row is None else _read(row)


def find(connection: Connection, workspace: str, ending_after: datetime | None, limit: int) -> list[StandIn]:
    """Those of a workspace, the newest first; with ``ending_after`` only those that are not over then."""
    query = sa.select(stand_in).where(_C.workspace == workspace)
    if ending_after is not None:
        query = query.where(_C.ended_at.is_(None), _C.ends_at > ending_after)
    return [_read(row) for row in connection.execute(query.order_by(_C.made_at.desc(), _C.id).limit(limit))]


def over(connection: Connection, now: datetime) -> Sequence[str]:
    """Ids (with the workspace before them) of those whose time is over and that nobody has noted as ended."""
    rows = connection.execute(sa.select(_C.workspace, _C.id).where(_C.ended_at.is_(None), _C.ends_at <= now).limit(500))
    return [f"{row.workspace}/{row.id}" for row in rows]


def end(connection: Connection, ident: str, at: datetime, by: str) -> bool:
    """Ends one; False when it was over already."""
    which = sa.update(stand_in).where(_C.id == ident, _C.ended_at.is_(None))
    return connection.execute(which.values(ended_at=at, ended_by=by)).rowcount == 1
