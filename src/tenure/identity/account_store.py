"""How people prove who they are, as the database keeps it: password hashes, public keys of passkeys, one-time
challenges, browsers that have logged in before. Each row is of the person's home workspace."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.identity import store
from tenure.identity.model import Passkey, Person
from tenure.kernel.json import JsonObject

password_table = sa.Table(
    "identity_password",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("email", sa.String(191), primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("changed_at", UtcTime, nullable=False),
)

passkey_table = sa.Table(
    "identity_passkey",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("email", sa.String(191), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("last_used_at", UtcTime),
)

challenge_table = sa.Table(
    "identity_challenge",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
)

device_table = sa.Table(
    "identity_device",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("email", sa.String(191), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
)

subject_table = sa.Table(
    "identity_subject",
    metadata,
    sa.Column("subject", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("email", sa.String(191), nullable=False),
    sa.Column("vouched_until", UtcTime, nullable=False, server_default="0"),
    sa.UniqueConstraint("workspace", "email", name="uq_identity_subject_email"),
)

_k = passkey_table.c


def password(connection: Connection, home: str, email: str) -> str | None:
    """The hash of a person's password."""
    t = password_table.c
    return connection.execute(sa.select(t.hash).where(t.workspace == home, t.email == email)).scalar()


def put_password(connection: Connection, home: str, email: str, hashed: str, now: datetime) -> None:
    """Sets a person's password."""
    connection.execute(
        insert(connection, password_table)
        .values(workspace=home, email=email, hash=hashed, changed_at=now)
        .on_conflict_do_update(index_elements=["workspace", "email"], set_={"hash": hashed, "changed_at": now})
    )


def _passkey(row: Row[Any]) -> Passkey:
    return Passkey(**row._mapping)


def add_passkey(connection: Connection, passkey: Passkey) -> bool:
    """Remembers a passkey; False when it is known."""
    values = {name: getattr(passkey, name) for name in Passkey.__slots__}
    statement = insert(connection, passkey_table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(_k.id)).first() is not None


def passkey(connection: Connection, ident: str) -> Passkey | None:
    """One passkey."""
    row = connection.execute(sa.select(passkey_table).where(_k.id == ident)).first()
    return None if row is None else _passkey(row)


def passkeys(connection: Connection, home: str, email: str) -> list[Passkey]:
    """A person's passkeys, oldest first."""
    query = sa.select(passkey_table).where(_k.workspace == home, _k.email == email).order_by(_k.created_at, _k.id)
    return [_passkey(row) for row in connection.execute(query)]


def used_passkey(connection: Connection, ident: str, sign_count: int, now: datetime) -> None:
    """Notes a use of a passkey."""
    connection.execute(sa.update(passkey_table).where(_k.id == ident).values(sign_count=sign_count, last_used_at=now))


def drop_passkey(connection: Connection, home: str, email: str, ident: str) -> bool:
    """Forgets a person's passkey; whether there was one."""
    done = connection.execute(sa.delete(passkey_table).where(_k.workspace == home, _k.email == email, _k.id == ident))
    return done.rowcount > 0


def add_challenge(
    connection: Connection, hashed: str, home: str, *, kind: str, data: JsonObject, now: datetime, life: timedelta
) -> None:
    """Remembers what was asked of a browser, and forgets what was asked too long ago."""
    connection.execute(sa.delete(challenge_table).where(challenge_table.c.expires_at <= now))
    text = msgspec.json.encode(data).decode()
    connection.execute(
        sa.insert(challenge_table).values(hash=hashed, workspace=home, kind=kind, data=text, expires_at=now + life)
    )


def was_asked(connection: Connection, hashed: str) -> bool:
    """Whether this is remembered."""
    query = sa.select(challenge_table.c.hash).where(challenge_table.c.hash == hashed)
    return connection.execute(query).first() is not None


def take_challenge(connection: Connection, hashed: str, kind: str, now: datetime) -> JsonObject | None:
    """What was asked, once: of two that answer one gets it. Forgets those whose time is over."""
    t = challenge_table.c
    connection.execute(sa.delete(challenge_table).where(t.expires_at <= now))
    found = connection.execute(
        sa.delete(challenge_table).where(t.hash == hashed, t.kind == kind).returning(t.data)
    ).scalar()
    return None if found is None else msgspec.json.decode(found)


def add_device(connection: Connection, hashed: str, home: str, email: str, *, now: datetime, until: datetime) -> None:
    """Remembers a browser from which a person logged in."""
    t = device_table.c
    connection.execute(sa.delete(device_table).where(t.expires_at <= now))
    connection.execute(sa.insert(device_table).values(hash=hashed, workspace=home, email=email, expires_at=until))


def knows_device(connection: Connection, hashed: str, home: str, email: str, now: datetime) -> bool:
    """Whether the person logged in from this browser before."""
    t = device_table.c
    query = sa.select(t.hash).where(t.hash == hashed, t.workspace == home, t.email == email, t.expires_at > now)
    return connection.execute(query).first() is not None


def bind_subject(connection: Connection, subject: str, home: str, email: str, until: datetime) -> bool:
    """Binds an issuer's subject to an address of a workspace, and believes the issuer ``until`` then; False when either
    is bound to another."""
    t = subject_table.c
    values = {"subject": subject, "workspace": home, "email": email, "vouched_until": until}
    connection.execute(insert(connection, subject_table).values(values).on_conflict_do_nothing())
    own = (t.subject == subject, t.workspace == home, t.email == email)
    return connection.execute(sa.update(subject_table).where(*own).values(vouched_until=until)).rowcount == 1


def unvouch(connection: Connection, subject: str, home: str, now: datetime) -> None:
    """Believes the issuer no longer: what there is of the person is good for nothing until it says otherwise."""
    t = subject_table.c
    ended = sa.update(subject_table).where(t.subject == subject, t.workspace == home, t.vouched_until > now)
    connection.execute(ended.values(vouched_until=now))


def vouched_until(connection: Connection, home: str, email: str) -> datetime | None:
    """Until when an issuer is believed about a person; None for one that no issuer speaks for."""
    t = subject_table.c
    found = sa.select(t.vouched_until).where(t.workspace == home, t.email == email)
    return connection.execute(found).scalar()


def counts(connection: Connection, place: Person, now: datetime) -> bool:
    """Whether a person's place is good for anything now: the workspace that says who this is still knows them, and so
    does the issuer, if one speaks for them."""
    if place.home != place.workspace and store.person(connection, place.home, place.email) is None:
        return False
    until = vouched_until(connection, place.home, place.email)
    return until is None or until > now


def forget(connection: Connection, home: str, email: str) -> None:
    """Forgets every way in of a person."""
    for table in (password_table, passkey_table, device_table, subject_table):
        connection.execute(sa.delete(table).where(table.c.workspace == home, table.c.email == email))
