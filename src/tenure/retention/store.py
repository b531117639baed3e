"""Erasures as the database keeps them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, metadata
from tenure.retention.model import Erasure

erasure = sa.Table(
    "erasure",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("asked_by", sa.String(254), nullable=False),
    sa.Column("asked_at", UtcTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("upto", sa.BigInteger, nullable=False),
    sa.Column("done_at", UtcTime),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("approvals", sa.Integer, nullable=False),
    sa.Index("ix_erasure_done_at", "done_at"),
)
_E = erasure.c


def _read(row: Any) -> Erasure:
    values = dict(row._mapping)
    del values["upto"]
    return Erasure(**values)


def add(connection: Connection, asked: Erasure, upto: int) -> None:
    """Keeps an erasure that was asked for; ``upto``: the number of the newest Event then."""
    connection.execute(
        sa.insert(erasure).values(upto=upto, **{name: getattr(asked, name) for name in Erasure.__dataclass_fields__})
    )


def find(connection: Connection, workspace: str, limit: int) -> list[Erasure]:
    """The newest erasures of a workspace."""
    rows = connection.execute(
        sa.select(erasure).where(_E.workspace == workspace).order_by(_E.asked_at.desc(), _E.id).limit(limit)
    )
    return [_read(row) for row in rows]


def waiting(connection: Connection) -> list[str]:
    """The ids of erasures that are not done."""
    return list(connection.execute(sa.select(_E.id).where(_E.done_at.is_(None)).order_by(_E.asked_at)).scalars())


def one(connection: Connection, ident: str) -> tuple[Erasure, int] | None:
    """An erasure that is not done, and the number of the newest Event when it was asked for."""
    row = connection.execute(sa.select(erasure).where(_E.id == ident, _E.done_at.is_(None)).with_for_update()).first()
    return (_read(row), row.upto) if row else None


def done(connection: Connection, ident: str, at: datetime, events: int, approvals: int) -> None:
    """Forgets the name of the subject and keeps that it was done."""
    connection.execute(
        sa.update(erasure).where(_E.id == ident).values(subject="", done_at=at, events=events, approvals=approvals)
    )
