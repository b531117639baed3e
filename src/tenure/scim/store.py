"""What directories said, as the database keeps it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.scim.model import User

user_table = sa.Table(
    "scim_user",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("user_name", sa.String(1000), nullable=False),
    sa.Column("external_id", sa.String(1000)),
    sa.Column("email", sa.String(191), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("attributes", sa.JSON, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("modified_at", UtcTime, nullable=False),
    sa.Index("ix_scim_user_email", "workspace", "email", unique=True),
    sa.Index("ix_scim_user_name", "workspace", "user_name"),
)
_t = user_table.c


def _user(row: Row[Any]) -> User:
    return User(**row._mapping)


def alone(connection: Connection) -> None:
    """Nobody else changes a user before this transaction ends. On SQLite that is so from its beginning."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE scim_user IN SHARE ROW EXCLUSIVE MODE"))


def save(connection: Connection, user: User) -> None:
    """Adds a user, or writes what is said of them now."""
    values = {column.name: getattr(user, column.name) for column in user_table.columns}
    statement = insert(connection, user_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "id"], set_=values))


def drop(connection: Connection, user: User) -> None:
    """Forgets a user."""
    connection.execute(sa.delete(user_table).where(_t.workspace == user.workspace, _t.id == user.id))


def get(connection: Connection, workspace: str, ident: str) -> User | None:
    """One user."""
    row = connection.execute(sa.select(user_table).where(_t.workspace == workspace, _t.id == ident)).first()
    return None if row is None else _user(row)


def find(
    connection: Connection, workspace: str, match: tuple[str, str] | None = None, *, start: int = 1, count: int = 200
) -> tuple[list[User], int]:
    """(a page of the users for whom a field has a value, how many there are of them), in the order they came."""
    where = [_t.workspace == workspace]
    if match is not None:
        field, value = match
        exact = field in ("id", "external_id")
        where.append(_t[field] == value if exact else sa.func.lower(_t[field]) == value.lower())
    total = int(connection.execute(sa.select(sa.func.count()).select_from(user_table).where(*where)).scalar_one())
    query = sa.select(user_table).where(*where).order_by(_t.created_at, _t.id).offset(start - 1).limit(count)
    return [_user(row) for row in connection.execute(query)], total
