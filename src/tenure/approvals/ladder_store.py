"""Ladders as the database keeps them."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.approvals.ladders import AtDeadline, Ladder, Step
from tenure.base.db import UtcTime, insert, metadata

ladder = sa.Table(
    "approval_ladder",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("agents", sa.Text, nullable=False),
    sa.Column("tools", sa.Text, nullable=False),
    sa.Column("policies", sa.Text, nullable=False),
    sa.Column("steps", sa.Text, nullable=False),
    sa.Column("deadline_s", sa.Integer, nullable=False),
    sa.Column("at_deadline", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("set_at", UtcTime, nullable=False),
    sa.Column("set_by", sa.String(254), nullable=False),
)
_C = ladder.c
_LISTS = ("agents", "tools", "policies")


def _read(row: Any) -> Ladder:
    values = dict(row._mapping) | {name: tuple(json.loads(getattr(row, name))) for name in _LISTS}
    values["steps"] = tuple(Step(after, tuple(ask)) for after, ask in json.loads(row.steps))
    return Ladder(**(values | {"at_deadline": AtDeadline(row.at_deadline)}))


def find(connection: Connection, workspace: str) -> list[Ladder]:
    """Those of a workspace, by name."""
    return [
        _read(row) for row in connection.execute(sa.select(ladder).where(_C.workspace == workspace).order_by(_C.name))
    ]


def save(connection: Connection, item: Ladder) -> None:
    """Sets one, in place of another of the same name."""
    values = {column.name: getattr(item, column.name) for column in _C}
    values |= {name: json.dumps(list(values[name])) for name in _LISTS}
    values |= {"steps": json.dumps([[step.after_s, list(step.ask)] for step in item.steps])}
    values |= {"at_deadline": item.at_deadline.value}
    fresh = {name: value for name, value in values.items() if name not in ("workspace", "name")}
    statement = insert(connection, ladder).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_=fresh))


def remove(connection: Connection, workspace: str, name: str) -> bool:
    """Forgets one; False when there is none."""
    return connection.execute(sa.delete(ladder).where(_C.workspace == workspace, _C.name == name)).rowcount > 0
