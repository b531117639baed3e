"""Identity's tables. Of every secret only a hash is here; private keys are files in the data folder."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.identity.model import Person, SigningKey, Workspace
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Role

key_table = sa.Table(
    "identity_key",
    metadata,
    sa.Column("kid", sa.String(128), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("public", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("retires_at", UtcTime),
    sa.Column("retired", sa.Boolean, nullable=False),
    sa.Column("signs_at", UtcTime),
)

workspace_table = sa.Table(
    "identity_workspace",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(254), nullable=False),
)

person_table = sa.Table(
    "identity_person",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("email", sa.String(191), primary_key=True),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("home", sa.String(63), nullable=False, server_default=""),
)

code_table = sa.Table(
    "identity_login_code",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("email", sa.String(191), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("used_at", UtcTime),
)


def alone(connection: Connection, table: sa.Table) -> None:
    """Until the transaction ends, no other one changes ``table``. SQLite has one writer at a time by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f'LOCK TABLE "{table.name}" IN SHARE ROW EXCLUSIVE MODE'))


# -- keys -----------------------------------------------------------------------------------------------------------


def add_key(connection: Connection, workspace: str, key: SigningKey, public: JsonObject) -> None:
    """Publishes a key."""
    connection.execute(
        sa.insert(key_table).values(
            kid=key.kid,
            workspace=workspace,
            public=msgspec.json.encode(public).decode(),
            created_at=key.created_at,
            retires_at=key.retires_at,
            signs_at=key.signs_at,
            retired=False,
        )
    )


def public_keys(connection: Connection) -> dict[str, JsonObject]:
    """Every key whose tokens are believed, the newest first."""
    rows = connection.execute(
        sa.select(key_table.c.kid, key_table.c.public)
        .where(key_table.c.retired.is_(False))
        .order_by(key_table.c.created_at.desc(), key_table.c.kid)
    )
    return {row.kid: msgspec.json.decode(row.public) for row in rows}


def living_keys(connection: Connection) -> list[SigningKey]:
    """Every key whose tokens are believed, and when it has its turn; the newest first, and of two that were made at
    once the one that comes next."""
    rows = connection.execute(
        sa.select(key_table)
        .where(key_table.c.retired.is_(False))
        .order_by(key_table.c.created_at.desc(), key_table.c.signs_at.is_not(None), key_table.c.kid)
    )
    return [SigningKey(row.kid, row.created_at, row.signs_at, row.retires_at) for row in rows]


def put_turn(connection: Connection, key: SigningKey) -> None:
    """Since when a key signs, and until when it is believed."""
    statement = sa.update(key_table).where(key_table.c.kid == key.kid)
    connection.execute(statement.values(signs_at=key.signs_at, retires_at=key.retires_at))


def replaced_keys(connection: Connection, _now: datetime) -> list[str]:
    """Keys that were replaced, or will be at a time that is set, and are still believed."""
    query = sa.select(key_table.c.kid).where(key_table.c.retired.is_(False), key_table.c.retires_at.is_not(None))
    return list(connection.execute(query).scalars())


def retire_key(connection: Connection, kid: str, now: datetime) -> str | None:
    """Stops believing a key that is due; its workspace, or None when it was not due."""
    return connection.execute(
        sa.update(key_table)
        .where(key_table.c.kid == kid, key_table.c.retired.is_(False), key_table.c.retires_at <= now)
        .values(retired=True)
        .returning(key_table.c.workspace)
    ).scalar()


def end_key(connection: Connection, workspace: str, kid: str) -> bool:
    """Stops believing a key, due or not; whether it was believed."""
    done = connection.execute(
        sa.update(key_table)
        .where(key_table.c.kid == kid, key_table.c.workspace == workspace, key_table.c.retired.is_(False))
        .values(retired=True)
    )
    return done.rowcount > 0


# -- people ---------------------------------------------------------------------------------------------------------


def as_person(row: Row[Any]) -> Person:
    """A row of ``person_table``."""
    roles = frozenset(Role(name) for name in msgspec.json.decode(row.roles))
    return Person(row.workspace, row.email, roles, row.created_at, row.home or row.workspace)


def person(connection: Connection, workspace: str, email: str) -> Person | None:
    """The person with this address."""
    row = connection.execute(
        sa.select(person_table).where(person_table.c.workspace == workspace, person_table.c.email == email)
    ).first()
    return None if row is None else as_person(row)


def people(connection: Connection, workspace: str) -> list[Person]:
    """Everybody, in the order they came."""
    rows = connection.execute(
        sa.select(person_table)
        .where(person_table.c.workspace == workspace)
        .order_by(person_table.c.created_at, person_table.c.email)
    )
    return [as_person(row) for row in rows]


def put_person(connection: Connection, person: Person) -> None:
    """Adds a person, or gives one other roles."""
    roles = msgspec.json.encode(sorted(person.roles)).decode()
    values = {name: getattr(person, name) for name in ("workspace", "email", "created_at", "home")}
    connection.execute(
        insert(connection, person_table)
        .values(**values, roles=roles)
        .on_conflict_do_update(index_elements=["workspace", "email"], set_={"roles": roles, "home": person.home})
    )


def places(connection: Connection, home: str, email: str) -> list[Person]:
    """Every place of one person, by the workspace's name."""
    rows = connection.execute(
        sa.select(person_table)
        .where(
            person_table.c.email == email,
            sa.or_(person_table.c.home == home, sa.and_(person_table.c.home == "", person_table.c.workspace == home)),
        )
        .order_by(person_table.c.workspace)
    )
    return [as_person(row) for row in rows]


def drop_person(connection: Connection, workspace: str, email: str) -> None:
    """Takes a person's place away, with the codes for it."""
    for table in (person_table, code_table):
        connection.execute(sa.delete(table).where(table.c.workspace == workspace, table.c.email == email))


# -- workspaces -----------------------------------------------------------------------------------------------------


def add_workspace(connection: Connection, workspace: Workspace) -> bool:
    """Makes a workspace; False when there is one of this name."""
    values = {"workspace": workspace.name, "created_at": workspace.created_at, "created_by": workspace.created_by}
    statement = insert(connection, workspace_table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(workspace_table.c.workspace)).first() is not None


def workspaces(connection: Connection) -> list[Workspace]:
    """Every workspace of the installation, by name. For what serves all of them; nobody is shown this list."""
    rows = connection.execute(sa.select(workspace_table).order_by(workspace_table.c.workspace))
    return [Workspace(row.workspace, row.created_at, row.created_by) for row in rows]


# -- login codes ----------------------------------------------------------------------------------------------------


def add_code(connection: Connection, hashed: str, person: Person, now: datetime, expires_at: datetime) -> None:
    """Remembers a login code, and forgets those that are a day old."""
    connection.execute(sa.delete(code_table).where(code_table.c.expires_at < now - timedelta(days=1)))
    connection.execute(
        sa.insert(code_table).values(
            hash=hashed, workspace=person.workspace, email=person.email, created_at=now, expires_at=expires_at
        )
    )


def codes_since(connection: Connection, workspace: str, email: str, since: datetime) -> int:
    """How many codes were made for a person."""
    return int(
        connection.execute(
            sa.select(sa.func.count())
            .select_from(code_table)
            .where(code_table.c.workspace == workspace, code_table.c.email == email, code_table.c.created_at >= since)
        ).scalar_one()
    )


def drop_codes(connection: Connection, workspace: str, email: str) -> None:
    """Forgets the login codes for a person's place."""
    connection.execute(sa.delete(code_table).where(code_table.c.workspace == workspace, code_table.c.email == email))


def claim_code(connection: Connection, hashed: str, now: datetime) -> Person | None:
    """Uses a code up and says whose it is; None when it is unknown, used or expired. Of two that try, one gets it."""
    row = connection.execute(
        sa.update(code_table)
        .where(code_table.c.hash == hashed, code_table.c.used_at.is_(None), code_table.c.expires_at > now)
        .values(used_at=now)
        .returning(code_table.c.workspace, code_table.c.email)
    ).first()
    return None if row is None else person(connection, row.workspace, row.email)
