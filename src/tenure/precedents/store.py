"""Precedents as the database keeps them. A change of state names the state it leaves, so that the first one wins."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, metadata
from tenure.precedents.model import Precedent, State

precedent = sa.Table(
    "precedent",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("approval", sa.String(64), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("terms", sa.Text, nullable=False),
    sa.Column("cedar", sa.Text, nullable=False),
    sa.Column("tests", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("proposed_by", sa.String(255), nullable=False),
    sa.Column("proposed_at", UtcTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("decided_by", sa.String(255)),
    sa.Column("decided_at", UtcTime),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Index("ix_precedent_state", "state", "workspace", "expires_at"),
)


def _read(row: Any) -> Precedent:
    return Precedent(**{**row._mapping, "terms": json.loads(row.terms), "state": State(row.state)})


def insert(connection: Connection, item: Precedent) -> None:
    """Keeps a new one."""
    values = {**asdict(item), "terms": json.dumps(item.terms), "state": item.state.value}
    connection.execute(precedent.insert().values(**values))


def get(connection: Connection, workspace: str, ident: str) -> Precedent | None:
    """One of a workspace."""
    query = sa.select(precedent).where(precedent.c.workspace == workspace, precedent.c.id == ident)
    row = connection.execute(query).first()
    return None if row is None else _read(row)


def find(connection: Connection, workspace: str, state: State | None = None) -> list[Precedent]:
    """Those of a workspace, the newest first."""
    query = sa.select(precedent).where(precedent.c.workspace == workspace)
    if state is not None:
        query = query.where(precedent.c.state == state.value)
    return [_read(row) for row in connection.execute(query.order_by(precedent.c.id.desc()))]


def ended(connection: Connection, now: datetime) -> list[tuple[str, str]]:
    """(workspace, id) of those in force whose end has come."""
    query = sa.select(precedent.c.workspace, precedent.c.id).where(
        precedent.c.state == State.PUBLISHED.value, precedent.c.expires_at <= now
    )
    return [(row.workspace, row.id) for row in connection.execute(query)]


def workspaces(connection: Connection) -> list[str]:
    """The workspaces that ever had one."""
    return list(connection.execute(sa.select(precedent.c.workspace).distinct()).scalars())


def change(connection: Connection, ident: str, before: State, after: State, **values: Any) -> bool:
    """Moves it from ``before`` to ``after``; False when it was not in ``before``."""
    result = connection.execute(
        sa.update(precedent)
        .where(precedent.c.id == ident, precedent.c.state == before.value)
        .values(state=after.value, **values)
    )
    return result.rowcount == 1
