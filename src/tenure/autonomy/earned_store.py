"""What the database keeps of earned autonomy: one row for each agent, tool and release."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.autonomy.earning import Record, State
from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.values import Autonomy

record = sa.Table(
    "autonomy_record",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("resource", sa.String(400), primary_key=True),
    sa.Column("release", sa.String(80), primary_key=True),
    sa.Column("declared", sa.String(16), nullable=False),
    sa.Column("good", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("overridden", sa.BigInteger, nullable=False),
    sa.Column("bad_since", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("since", UtcTime),
    sa.Column("by", sa.String(254), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
_KEY = ["workspace", "agent", "resource", "release"]


def find(
    connection: Connection,
    workspace: str | None = None,
    agent: str | None = None,
    resource: str | None = None,
    state: State | None = None,
) -> list[Record]:
    """Records, by agent and tool."""
    query = sa.select(record).order_by(record.c.workspace, record.c.agent, record.c.resource, record.c.release)
    for column, value in (
        (record.c.workspace, workspace),
        (record.c.agent, agent),
        (record.c.resource, resource),
        (record.c.state, state.value if state else None),
    ):
        query = query.where(column == value) if value is not None else query
    rows = (dict(row._mapping) for row in connection.execute(query))
    return [Record(**row | {"declared": Autonomy(row["declared"]), "state": State(row["state"])}) for row in rows]


def save(connection: Connection, item: Record) -> None:
    """Keeps it, in place of what was known."""
    row = {column.name: getattr(item, column.name) for column in record.columns}
    row |= {"declared": item.declared.value, "state": item.state.value}
    rest = {name: value for name, value in row.items() if name not in _KEY}
    statement = insert(connection, record).values(**row)
    connection.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=rest))
