"""Rules of trust, as the database keeps them."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.trust.model import Rule

trust_table = sa.Table(
    "trust_rule",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("issuer", sa.String(500), nullable=False),
    sa.Column("subject", sa.String(500), nullable=False),
    sa.Column("audience", sa.String(500), nullable=False),
    sa.Column("claims", sa.Text, nullable=False),
    sa.Column("keys", sa.Text, nullable=False),
    sa.Column("authorities", sa.Text, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(254), nullable=False),
    sa.Index("ix_trust_rule_agent", "workspace", "agent"),
)
_t = trust_table.c
_AS_JSON = ("claims", "keys", "authorities")


def _rule(row: Row[Any]) -> Rule:
    values = dict(row._mapping)
    values |= {name: msgspec.json.decode(values[name]) for name in _AS_JSON}
    values |= {"keys": tuple(values["keys"]), "authorities": tuple(values["authorities"])}
    return Rule(**values)


def rules(connection: Connection, workspace: str, agent: str | None = None) -> list[Rule]:
    """The rules of a workspace (about one agent), by name."""
    query = sa.select(trust_table).where(_t.workspace == workspace).order_by(_t.name)
    if agent is not None:
        query = query.where(_t.agent == agent)
    return [_rule(row) for row in connection.execute(query)]


def put(connection: Connection, rule: Rule) -> None:
    """Adds a rule, or puts it in the place of the one of its name."""
    values = {column.name: getattr(rule, column.name) for column in trust_table.columns}
    values |= {name: msgspec.json.encode(values[name]).decode() for name in _AS_JSON}
    statement = insert(connection, trust_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_=values))


def drop(connection: Connection, workspace: str, name: str) -> bool:
    """Takes a rule away; False when there is none of this name."""
    gone = sa.delete(trust_table).where(_t.workspace == workspace, _t.name == name)
    return connection.execute(gone.returning(_t.name)).first() is not None
