"""Identity's tables. Of every secret only a hash is here; private keys are files in the data folder."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.identity.model import ApiToken, Person
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Role

key_table = sa.Table(
    "identity_key",
    metadata,
    sa.Column("kid", sa.String(128), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("public", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("retires_at", UtcTime),
    sa.Column("retired", sa.Boolean, nullable=False),
)

person_table = sa.Table(
    "identity_person",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("email", sa.String(191), primary_key=True),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
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

session_table = sa.Table(
    "identity_session",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("email", sa.String(191), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
)

# A row without an e-mail address is a gateway's: Tenure itself.
token_table = sa.Table(
    "identity_api_token",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("email", sa.String(191)),
    sa.Column("name", sa.String(191), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime),
)

attempt_table = sa.Table(
    "identity_login_attempt",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
)


def alone(connection: Connection, table: sa.Table) -> None:
    """Until the transaction ends, no other one changes ``table``. SQLite has one writer at a time by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f'LOCK TABLE "{table.name}" IN SHARE ROW EXCLUSIVE MODE'))


# -- keys -----------------------------------------------------------------------------------------------------------


def add_key(connection: Connection, workspace: str, public: JsonObject, now: datetime) -> None:
    """Publishes a public key."""
    connection.execute(
        sa.insert(key_table).values(
            kid=public["kid"],
            workspace=workspace,
            public=msgspec.json.encode(public).decode(),
            created_at=now,
            retires_at=None,
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


def signing_kids(connection: Connection) -> list[str]:
    """The keys that new tokens may be signed with, the newest first."""
    return list(
        connection.execute(
            sa.select(key_table.c.kid)
            .where(key_table.c.retired.is_(False), key_table.c.retires_at.is_(None))
            .order_by(key_table.c.created_at.desc(), key_table.c.kid)
        ).scalars()
    )


def schedule_retirement(connection: Connection, kids: list[str], at: datetime) -> None:
    """From now on these sign nothing; from ``at`` on they are not believed either."""
    connection.execute(sa.update(key_table).where(key_table.c.kid.in_(kids)).values(retires_at=at))


def keys_due(connection: Connection, now: datetime) -> list[str]:
    """Keys whose time is over and that are still believed."""
    return list(
        connection.execute(
            sa.select(key_table.c.kid).where(key_table.c.retired.is_(False), key_table.c.retires_at <= now)
        ).scalars()
    )


def retire_key(connection: Connection, kid: str, now: datetime) -> str | None:
    """Stops believing a key that is due; its workspace, or None when it was not due."""
    return connection.execute(
        sa.update(key_table)
        .where(key_table.c.kid == kid, key_table.c.retired.is_(False), key_table.c.retires_at <= now)
        .values(retired=True)
        .returning(key_table.c.workspace)
    ).scalar()


# -- people ---------------------------------------------------------------------------------------------------------


def _person(row: Row[Any]) -> Person:
    roles = frozenset(Role(name) for name in msgspec.json.decode(row.roles))
    return Person(row.workspace, row.email, roles, row.created_at)


def person(connection: Connection, workspace: str, email: str) -> Person | None:
    """The person with this address."""
    row = connection.execute(
        sa.select(person_table).where(person_table.c.workspace == workspace, person_table.c.email == email)
    ).first()
    return None if row is None else _person(row)


def people(connection: Connection, workspace: str) -> list[Person]:
    """Everybody, in the order they came."""
    rows = connection.execute(
        sa.select(person_table)
        .where(person_table.c.workspace == workspace)
        .order_by(person_table.c.created_at, person_table.c.email)
    )
    return [_person(row) for row in rows]


def put_person(connection: Connection, person: Person) -> None:
    """Adds a person, or gives one other roles."""
    roles = msgspec.json.encode(sorted(person.roles)).decode()
    connection.execute(
        insert(connection, person_table)
        .values(workspace=person.workspace, email=person.email, roles=roles, created_at=person.created_at)
        .on_conflict_do_update(index_elements=["workspace", "email"], set_={"roles": roles})
    )


# -- login codes and sessions ---------------------------------------------------------------------------------------


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


def claim_code(connection: Connection, hashed: str, now: datetime) -> Person | None:
    """Uses a code up and says whose it is; None when it is unknown, used or expired. Of two that try, one gets it."""
    row = connection.execute(
        sa.update(code_table)
        .where(code_table.c.hash == hashed, code_table.c.used_at.is_(None), code_table.c.expires_at > now)
        .values(used_at=now)
        .returning(code_table.c.workspace, code_table.c.email)
    ).first()
    return None if row is None else person(connection, row.workspace, row.email)


def failures(connection: Connection, workspace: str, source: str, since: datetime) -> int:
    """Failed logins from one place."""
    found = connection.execute(
        sa.select(attempt_table.c.failures).where(
            attempt_table.c.workspace == workspace, attempt_table.c.source == source, attempt_table.c.since >= since
        )
    ).scalar()
    return int(found or 0)


def add_failure(connection: Connection, workspace: str, source: str, now: datetime, window: timedelta) -> None:
    """Counts a failed login, and forgets the counts whose window is over."""
    connection.execute(sa.delete(attempt_table).where(attempt_table.c.since < now - window))
    connection.execute(
        insert(connection, attempt_table)
        .values(workspace=workspace, source=source, since=now, failures=1)
        .on_conflict_do_update(index_elements=["workspace", "source"], set_={"failures": attempt_table.c.failures + 1})
    )


def add_session(connection: Connection, hashed: str, person: Person, now: datetime, expires_at: datetime) -> None:
    """Remembers a session, and forgets those that are over."""
    connection.execute(sa.delete(session_table).where(session_table.c.expires_at <= now))
    connection.execute(
        sa.insert(session_table).values(
            hash=hashed, workspace=person.workspace, email=person.email, expires_at=expires_at
        )
    )


def drop_session(connection: Connection, hashed: str) -> None:
    """Ends a session."""
    connection.execute(sa.delete(session_table).where(session_table.c.hash == hashed))


def actor_of_session(connection: Connection, hashed: str, now: datetime) -> Actor | None:
    """Whose session this is, with the roles the person has now."""
    row = connection.execute(
        sa.select(person_table)
        .join(
            session_table,
            (session_table.c.workspace == person_table.c.workspace) & (session_table.c.email == person_table.c.email),
        )
        .where(session_table.c.hash == hashed, session_table.c.expires_at > now)
    ).first()
    return None if row is None else _person(row).actor


# -- API tokens -----------------------------------------------------------------------------------------------------


def add_token(
    connection: Connection,
    *,
    id: str,  # noqa: A002 (the column's name)
    hashed: str,
    workspace: str,
    email: str | None,
    name: str,
    now: datetime,
    expires_at: datetime | None,
) -> None:
    """Remembers a token of a person, or of a gateway when there is no address. Twice the same is once."""
    connection.execute(
        insert(connection, token_table)
        .values(id=id, hash=hashed, workspace=workspace, email=email, name=name, created_at=now, expires_at=expires_at)
        .on_conflict_do_nothing()
    )


def drop_tokens_named(connection: Connection, workspace: str, name: str) -> None:
    """Forgets the tokens of this name."""
    connection.execute(sa.delete(token_table).where(token_table.c.workspace == workspace, token_table.c.name == name))


def drop_token(connection: Connection, workspace: str, email: str, id: str) -> bool:  # noqa: A002 (the column's name)
    """Forgets one token of a person; whether there was one."""
    done = connection.execute(
        sa.delete(token_table).where(
            token_table.c.workspace == workspace, token_table.c.email == email, token_table.c.id == id
        )
    )
    return done.rowcount > 0


def tokens(connection: Connection, workspace: str, email: str) -> list[ApiToken]:
    """A person's tokens, the newest first."""
    rows = connection.execute(
        sa.select(token_table)
        .where(token_table.c.workspace == workspace, token_table.c.email == email)
        .order_by(token_table.c.created_at.desc(), token_table.c.id.desc())
    )
    return [ApiToken(row.id, row.email, row.name, row.created_at, row.expires_at) for row in rows]


def actor_of_token(connection: Connection, hashed: str, now: datetime) -> Actor | None:
    """Whose token this is: a person with the roles it has now, or a gateway."""
    row = connection.execute(
        sa.select(token_table.c.workspace, token_table.c.email).where(
            token_table.c.hash == hashed,
            sa.or_(token_table.c.expires_at.is_(None), token_table.c.expires_at > now),
        )
    ).first()
    if row is None:
        return None
    if row.email is None:
        return Actor(row.workspace, "gateway:local", frozenset({Role.GATEWAY}))
    found = person(connection, row.workspace, row.email)
    return None if found is None else found.actor
