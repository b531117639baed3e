"""What the database keeps: the edges that traffic drew, each with its calls by day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.graph.model import Edge

edge_table = sa.Table(
    "graph_edge",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("source", sa.String(220), primary_key=True),
    sa.Column("target", sa.String(220), primary_key=True),
    sa.Column("first_seen", UtcTime, nullable=False),
    sa.Column("last_seen", UtcTime, nullable=False),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("days", sa.JSON, nullable=False),
    sa.Index("ix_graph_edge_last_seen", "last_seen"),
)

_e = edge_table.c


def _edge(row: Row[Any]) -> Edge:
    facts = {name: value for name, value in row._mapping.items() if name != "workspace"}
    return Edge(**facts | {"days": {int(day): count for day, count in facts["days"].items()}})


def edges(connection: Connection, workspace: str, sources: Iterable[str] | None = None) -> list[Edge]:
    """The edges of a workspace that were seen: all, or those from ``sources``."""
    query = sa.select(edge_table).where(_e.workspace == workspace).order_by(_e.source, _e.target)
    query = query if sources is None else query.where(_e.source.in_(sorted(set(sources))))
    return [_edge(row) for row in connection.execute(query)]


def count(connection: Connection, workspace: str) -> int:
    """How many edges of a workspace were seen."""
    query = sa.select(sa.func.count()).select_from(edge_table).where(_e.workspace == workspace)
    return int(connection.execute(query).scalar_one())


def forget_node(connection: Connection, workspace: str, node: str) -> int:
    """Forgets every edge of a node; how many there were."""
    mine = sa.or_(_e.source == node, _e.target == node)
    return connection.execute(sa.delete(edge_table).where(_e.workspace == workspace, mine)).rowcount


def put(connection: Connection, workspace: str, changed: Iterable[Edge]) -> None:
    """Adds edges, or writes what they have come to."""
    names = ("source", "target", "first_seen", "last_seen", "calls", "errors")
    for one in changed:
        values: dict[str, Any] = {name: getattr(one, name) for name in names} | {"workspace": workspace}
        values["days"] = {str(day): count for day, count in sorted(one.days.items())}
        statement = insert(connection, edge_table).values(**values)
        places = ["workspace", "source", "target"]
        connection.execute(statement.on_conflict_do_update(index_elements=places, set_=values))


def forget(connection: Connection, before: datetime) -> None:
    """Forgets edges that nobody has used since."""
    connection.execute(sa.delete(edge_table).where(_e.last_seen < before))
