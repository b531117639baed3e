"""What the database keeps of the authorization server: public keys of agents, and what was used once."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.oauth.model import ClientKey

key_table = sa.Table(
    "oauth_key",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("thumbprint", sa.String(43), primary_key=True),
    sa.Column("kid", sa.String(128), nullable=False),
    sa.Column("alg", sa.String(16), nullable=False),
    sa.Column("public", sa.JSON, nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("instance", sa.String(32), nullable=False),
    sa.Column("added_at", UtcTime, nullable=False),
    sa.Column("added_by", sa.String(254), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("revoked_at", UtcTime),
    sa.Column("revoked_by", sa.String(254)),
    sa.Column("last_used_at", UtcTime),
)

used_table = sa.Table(
    "oauth_used",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("what", sa.String(64), primary_key=True),
    sa.Column("until", UtcTime, nullable=False),
    sa.Index("ix_oauth_used_until", "until"),
)
_k = key_table.c


def _key(row: Row[Any]) -> ClientKey:
    return ClientKey(**row._mapping)


def add_key(connection: Connection, key: ClientKey) -> bool:
    """Keeps a key; False when the agent has, or had, that very key already."""
    values = {column.name: getattr(key, column.name) for column in key_table.columns}
    statement = insert(connection, key_table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(_k.thumbprint)).first() is not None


def keys(connection: Connection, workspace: str, agent: str) -> list[ClientKey]:
    """An agent's keys, the newest first, those that prove nothing any more included."""
    query = sa.select(key_table).where(_k.workspace == workspace, _k.agent == agent)
    return [_key(row) for row in connection.execute(query.order_by(_k.added_at.desc(), _k.thumbprint))]


def key(connection: Connection, workspace: str, agent: str, thumbprint: str) -> ClientKey | None:
    """One key."""
    query = sa.select(key_table).where(_k.workspace == workspace, _k.agent == agent, _k.thumbprint == thumbprint)
    row = connection.execute(query).first()
    return None if row is None else _key(row)


def revoke_key(connection: Connection, key: ClientKey, at: datetime, by: str) -> bool:
    """Ends a key; False when it had ended."""
    statement = (
        sa.update(key_table)
        .where(_k.workspace == key.workspace, _k.agent == key.agent, _k.thumbprint == key.thumbprint)
        .where(_k.revoked_at.is_(None))
        .values(revoked_at=at, revoked_by=by)
    )
    return connection.execute(statement).rowcount > 0


def key_used(connection: Connection, key: ClientKey, at: datetime) -> None:
    """Notes when a key was last used."""
    connection.execute(
        sa.update(key_table)
        .where(_k.workspace == key.workspace, _k.agent == key.agent, _k.thumbprint == key.thumbprint)
        .values(last_used_at=at)
    )


def once(kind: str, *parts: str) -> str:
    """What stands for something that is good for once."""
    return hashlib.sha256("\x1f".join((kind, *parts)).encode("utf-8", "replace")).hexdigest()


def use(connection: Connection, workspace: str, what: str, until: datetime) -> bool:
    """Uses up what is good for once; False when it was used before. ``until``: when it would be refused anyway."""
    statement = insert(connection, used_table).values(workspace=workspace, what=what, until=until)
    statement = statement.on_conflict_do_nothing().returning(used_table.c.what)
    return connection.execute(statement).first() is not None


def forget(connection: Connection, before: datetime, limit: int = 5000) -> int:
    """Drops what is refused anyway by now; how much there was."""
    old = sa.select(used_table.c.workspace, used_table.c.what).where(used_table.c.until < before).limit(limit)
    gone = sa.delete(used_table).where(sa.tuple_(used_table.c.workspace, used_table.c.what).in_(old))
    return connection.execute(gone).rowcount


def forgettable(connection: Connection, before: datetime) -> bool:
    """Whether there is anything to drop."""
    query = sa.select(used_table.c.what).where(used_table.c.until < before)
    return connection.execute(query.limit(1)).first() is not None
