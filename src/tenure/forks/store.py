"""Forks as the database keeps them: facts and policies, never what was said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, metadata
from tenure.forks.model import Fork, State

fork_table = sa.Table(
    "fork",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("trace_id", sa.String(64), nullable=False),
    sa.Column("of", sa.String(64), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("changed", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("go_on", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Column("by", sa.String(254), nullable=False),
    sa.Column("asked_at", UtcTime, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    sa.Index("ix_fork_of", "workspace", "of"),
    sa.Index("ix_fork_state", "state"),
)
_F = fork_table.c


def add(connection: Connection, item: Fork) -> None:
    """Keeps a new one."""
    values: dict[str, Any] = {column.name: getattr(item, column.name) for column in _F}
    values |= {"state": item.state.value, "changed": json.dumps(item.changed), "policy": json.dumps(item.policy)}
    connection.execute(sa.insert(fork_table).values(**values))


def _read(row: Any) -> Fork:
    values = dict(row._mapping)
    files = tuple((name, text) for name, text in json.loads(values["policy"]))
    return Fork(**values | {"state": State(row.state), "changed": tuple(json.loads(row.changed)), "policy": files})


def get(connection: Connection, ident: str, workspace: str | None = None) -> Fork | None:
    """One, of whatever workspace unless told."""
    query = sa.select(fork_table).where(_F.id == ident)
    if workspace is not None:
        query = query.where(_F.workspace == workspace)
    row = connection.execute(query).first()
    return None if row is None else _read(row)


def find(connection: Connection, workspace: str, of: str | None, limit: int) -> list[Fork]:
    """Forks of a workspace, of one run or of all, the newest first."""
    query = sa.select(fork_table).where(_F.workspace == workspace)
    if of is not None:
        query = query.where(sa.or_(_F.of == of, _F.trace_id == of))
    return [_read(row) for row in connection.execute(query.order_by(_F.asked_at.desc(), _F.id).limit(limit))]


def running(connection: Connection, workspace: str | None = None) -> Sequence[str]:
    """The ids of those that run, of one workspace or of all."""
    query = sa.select(_F.id).where(_F.state == State.RUNNING.value)
    if workspace is not None:
        query = query.where(_F.workspace == workspace)
    return list(connection.execute(query.order_by(_F.asked_at, _F.id)).scalars())


def begin_turn(connection: Connection, item: Fork, now: datetime) -> bool:
    """Notes that the model is called once more; False when somebody else has noted it, or it is over."""
    same = (_F.id == item.id, _F.turns == item.turns, _F.state == State.RUNNING.value)
    return connection.execute(sa.update(fork_table).where(*same).values(turns=item.turns + 1, at=now)).rowcount == 1


def end(connection: Connection, ident: str, state: State, detail: str, now: datetime) -> bool:
    """Notes what it came to, unless that is noted already; whether it was not."""
    running_one = (_F.id == ident, _F.state == State.RUNNING.value)
    values = {"state": state.value, "detail": detail.replace("\x00", ""), "ended_at": now, "policy": "[]"}
    return connection.execute(sa.update(fork_table).where(*running_one).values(**values)).rowcount == 1
