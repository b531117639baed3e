"""What the database keeps of secrets: the bounds and the version of each, and every version under its seal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.bounds import Bounds
from tenure.base.db import UtcTime, metadata
from tenure.secrets.model import Sealed, Secret

secret_table = sa.Table(
    "secret",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("hosts", sa.JSON, nullable=False),
    sa.Column("programs", sa.JSON, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(254), nullable=False),
    sa.Column("changed_at", UtcTime, nullable=False),
    sa.Column("changed_by", sa.String(254), nullable=False),
    sa.Column("last_used_at", UtcTime),
)

version_table = sa.Table(
    "secret_version",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(340), primary_key=True),  # or of a person's token: connector, address, kind
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kek", sa.String(254), nullable=False),
    sa.Column("wrapped", sa.Text, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    sa.Column("until", UtcTime),
)

_V = version_table.c


def alone(connection: Connection) -> None:
    """Until the end of the transaction nobody else writes secrets."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE secret IN SHARE ROW EXCLUSIVE MODE"))


def _secret(row: Any) -> Secret:
    return Secret(
        workspace=row.workspace,
        name=row.name,
        bounds=Bounds(tuple(row.hosts), tuple(row.programs)),
        version=row.version,
        created_at=row.created_at,
        created_by=row.created_by,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
        until=row.until,
        used_at=row.last_used_at,
    )


def find(connection: Connection, workspace: str | None = None, name: str | None = None) -> list[Secret]:
    """Secrets by workspace and name; of all workspaces unless told otherwise."""
    before = (
        sa.select(_V.workspace, _V.name, sa.func.max(_V.until).label("until"))
        .group_by(_V.workspace, _V.name)
        .subquery("before")
    )
    same = (before.c.workspace == secret_table.c.workspace) & (before.c.name == secret_table.c.name)
    query = (
        sa.select(secret_table, before.c.until)
        .select_from(secret_table.outerjoin(before, same))
        .order_by(secret_table.c.workspace, secret_table.c.name)
    )
    if workspace is not None:
        query = query.where(secret_table.c.workspace == workspace)
    if name is not None:
        query = query.where(secret_table.c.name == name)
    return [_secret(row) for row in connection.execute(query)]


def add(connection: Connection, secret: Secret) -> None:
    """Keeps a new secret, without a version yet."""
    connection.execute(sa.insert(secret_table).values(**_columns(secret)))


def change(connection: Connection, secret: Secret) -> None:
    """Keeps what changed of one that is there."""
    values = _columns(secret)
    connection.execute(
        sa.update(secret_table)
        .where(secret_table.c.workspace == secret.workspace, secret_table.c.name == secret.name)
        .values({name: values[name] for name in ("hosts", "programs", "version", "changed_at", "changed_by")})
    )


def _columns(secret: Secret) -> dict[str, Any]:
    return {
        "workspace": secret.workspace,
        "name": secret.name,
        "hosts": list(secret.bounds.hosts),
        "programs": list(secret.bounds.programs),
        "version": secret.version,
        "created_at": secret.created_at,
        "created_by": secret.created_by,
        "changed_at": secret.changed_at,
        "changed_by": secret.changed_by,
        "last_used_at": secret.used_at,
    }


def add_version(connection: Connection, workspace: str, name: str, version: int, sealed: Sealed) -> None:
    """Keeps a version under its seal."""
    connection.execute(
        sa.insert(version_table).values(
            workspace=workspace,
            name=name,
            version=version,
            kek=sealed.kek,
            wrapped=sealed.wrapped,
            nonce=sealed.nonce,
            ciphertext=sealed.ciphertext,
        )
    )


def outdate(connection: Connection, workspace: str, name: str, current: int, until: datetime) -> None:
    """Bounds the life of the version before ``current``; all before that one are gone at once."""
    mine = (_V.workspace == workspace, _V.name == name)
    connection.execute(sa.delete(version_table).where(*mine, _V.version < current - 1))
    connection.execute(sa.update(version_table).where(*mine, _V.version == current - 1).values(until=until))


def has_outdated(connection: Connection, now: datetime) -> bool:
    """Whether there are versions whose time is over."""
    return connection.execute(sa.select(_V.version).where(_V.until <= now).limit(1)).first() is not None


def drop_outdated(connection: Connection, now: datetime) -> list[tuple[str, str, int]]:
    """Forgets versions whose time is over; returns them."""
    rows = connection.execute(
        sa.delete(version_table).where(_V.until <= now).returning(_V.workspace, _V.name, _V.version)
    )
    return [tuple(row) for row in rows]


def remove(connection: Connection, workspace: str, name: str) -> None:
    """Forgets a secret and every version of it."""
    for table in (version_table, secret_table):
        connection.execute(sa.delete(table).where(table.c.workspace == workspace, table.c.name == name))


def versions(connection: Connection, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str, int], Sealed]:
    """Every version of the secrets with these workspaces and names."""
    found = {}
    for workspace, name in names:
        rows = connection.execute(sa.select(version_table).where(_V.workspace == workspace, _V.name == name))
        for row in rows:
            found[workspace, name, row.version] = Sealed(row.kek, row.wrapped, row.nonce, row.ciphertext)
    return found


def under_other(connection: Connection, kek: str, limit: int) -> list[tuple[str, str, int, str, str]]:
    """(workspace, name, version, kek, wrapped) of versions that another key than ``kek`` wraps."""
    rows = connection.execute(
        sa.select(_V.workspace, _V.name, _V.version, _V.kek, _V.wrapped)
        .where(_V.kek != kek)
        .order_by(_V.workspace, _V.name, _V.version)
        .limit(limit)
    )
    return [tuple(row) for row in rows]


def rewrap(connection: Connection, at: tuple[str, str, int], before: str, kek: str, wrapped: str) -> bool:
    """Puts another wrapping of the same data key in place of ``before``; False when that is not there any more."""
    workspace, name, version = at
    done = connection.execute(
        sa.update(version_table)
        .where(_V.workspace == workspace, _V.name == name, _V.version == version, _V.wrapped == before)
        .values(kek=kek, wrapped=wrapped)
    )
    return done.rowcount > 0


def keks(connection: Connection) -> dict[str, int]:
    """How many versions each key wraps."""
    rows = connection.execute(sa.select(_V.kek, sa.func.count()).group_by(_V.kek))
    return {row[0]: int(row[1]) for row in rows}


def used(connection: Connection, workspace: str, name: str, at: datetime) -> None:
    """Remembers when a secret was last sent."""
    mine = (secret_table.c.workspace == workspace, secret_table.c.name == name)
    later = sa.or_(secret_table.c.last_used_at.is_(None), secret_table.c.last_used_at < at)
    connection.execute(sa.update(secret_table).where(*mine, later).values(last_used_at=at))
