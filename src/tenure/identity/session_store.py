"""Sessions of browsers, and failed logins, as the database keeps them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.identity.model import OpenSession, Person
from tenure.identity.store import as_person, person_table

session_table = sa.Table(
    "identity_session",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("email", sa.String(191), nullable=False),
    sa.Column("home", sa.String(63), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("seen_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("browser", sa.String(191), nullable=False),
    sa.Column("subject", sa.String(64), nullable=False, server_default=""),
    sa.Column("sid", sa.String(64), nullable=False, server_default=""),
)

attempt_table = sa.Table(
    "identity_login_attempt",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("source", sa.String(191), primary_key=True),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
)

_t = session_table.c


def _session(row: Row[Any]) -> OpenSession:
    values = dict(row._mapping)
    values.pop("hash")
    return OpenSession(**values)


def add_session(connection: Connection, hashed: str, session: OpenSession) -> None:
    """Remembers a session, and forgets those that are over."""
    connection.execute(sa.delete(session_table).where(_t.expires_at <= session.created_at))
    values = {name: getattr(session, name) for name in OpenSession.__slots__}
    connection.execute(sa.insert(session_table).values(hash=hashed, **values))


def drop_session(connection: Connection, hashed: str) -> OpenSession | None:
    """Ends a session; the one that was ended."""
    row = connection.execute(sa.delete(session_table).where(_t.hash == hashed).returning(session_table)).first()
    return None if row is None else _session(row)


def drop_sessions(connection: Connection, workspace: str, email: str) -> None:
    """Ends every session of a person in a workspace."""
    connection.execute(sa.delete(session_table).where(_t.workspace == workspace, _t.email == email))


def drop_others(connection: Connection, home: str, email: str, keep: str) -> int:
    """Ends every session of a person but one, in all workspaces; how many."""
    done = connection.execute(sa.delete(session_table).where(_t.home == home, _t.email == email, _t.id != keep))
    return done.rowcount


def drop_one(connection: Connection, home: str, email: str, ident: str) -> bool:
    """Ends one session of a person; whether there was one."""
    done = connection.execute(sa.delete(session_table).where(_t.home == home, _t.email == email, _t.id == ident))
    return done.rowcount > 0


def drop_told(connection: Connection, home: str, subject: str, sid: str) -> list[OpenSession]:
    """Ends the sessions that began with an issuer's word of this subject and of this session of its own; either may be
    empty for any. Those that were ended."""
    known = [column == value for column, value in ((_t.subject, subject), (_t.sid, sid)) if value]
    assert known  # noqa: S101 (an assertion is for our own bugs: this would end every session)
    rows = connection.execute(sa.delete(session_table).where(_t.home == home, *known).returning(session_table))
    return [_session(row) for row in rows]


def sessions(connection: Connection, home: str, email: str, now: datetime, idle: timedelta) -> list[OpenSession]:
    """The living sessions of a person, in all workspaces, the last used first."""
    rows = connection.execute(
        sa.select(session_table)
        .where(_t.home == home, _t.email == email, _t.expires_at > now, _t.seen_at > now - idle)
        .order_by(_t.seen_at.desc(), _t.id)
    )
    return [_session(row) for row in rows]


def found(connection: Connection, hashed: str, now: datetime, idle: timedelta) -> tuple[OpenSession, Person] | None:
    """The living session of this cookie, and whose it is with the roles the person has now."""
    row = connection.execute(
        sa.select(session_table).where(_t.hash == hashed, _t.expires_at > now, _t.seen_at > now - idle)
    ).first()
    if row is None:
        return None
    session = _session(row)
    place = connection.execute(
        sa.select(person_table).where(
            person_table.c.workspace == session.workspace, person_table.c.email == session.email
        )
    ).first()
    if place is None:
        return None
    person = as_person(place)
    return (session, person) if person.home == session.home else None


def touch(connection: Connection, ident: str, now: datetime) -> None:
    """Notes that a session was used."""
    connection.execute(sa.update(session_table).where(_t.id == ident).values(seen_at=now))


def failures(connection: Connection, workspace: str, source: str, since: datetime) -> int:
    """Failed logins from one place."""
    count = connection.execute(
        sa.select(attempt_table.c.failures).where(
            attempt_table.c.workspace == workspace, attempt_table.c.source == source, attempt_table.c.since >= since
        )
    ).scalar()
    return int(count or 0)


def add_failure(connection: Connection, workspace: str, source: str, now: datetime, window: timedelta) -> None:
    """Counts a failed login, and forgets the counts whose window is over."""
    connection.execute(sa.delete(attempt_table).where(attempt_table.c.since < now - window))
    connection.execute(
        insert(connection, attempt_table)
        .values(workspace=workspace, source=source, since=now, failures=1)
        .on_conflict_do_update(index_elements=["workspace", "source"], set_={"failures": attempt_table.c.failures + 1})
    )
