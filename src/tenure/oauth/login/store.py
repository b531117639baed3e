"""What the database keeps of programs that log in: which there are, what people allowed, hashes of what they show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.oauth.login.model import Login, Program

program_table = sa.Table(
    "oauth_program",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("redirects", sa.JSON, nullable=False),
    sa.Column("how", sa.String(16), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(254), nullable=False),
)

login_table = sa.Table(
    "oauth_login",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("email", sa.String(191), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("program", sa.String(500), nullable=False),
    sa.Column("program_name", sa.String(80), nullable=False),
    sa.Column("how", sa.String(16), nullable=False),
    sa.Column("redirect", sa.Text, nullable=False),
    sa.Column("audience", sa.String(500), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("challenge", sa.String(43), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("jkt", sa.String(43), nullable=False),
    sa.Column("session", sa.String(64), nullable=False),
    sa.Column("allowed_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("begun_at", UtcTime),
    sa.Column("last_used_at", UtcTime),
    sa.Column("ended_at", UtcTime),
    sa.Column("ended_by", sa.String(254), nullable=False),
    sa.Column("why", sa.String(63), nullable=False),
    sa.Index("ix_oauth_login_email", "workspace", "email"),
)

# What a program shows to get a token: a code, then refresh tokens, each good for once. A row that was used stays while
# its login lives: whoever shows it again has stolen it, or was stolen from.
shown_table = sa.Table(
    "oauth_shown",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("login", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("until", UtcTime, nullable=False),
    sa.Column("used_at", UtcTime),
    sa.Index("ix_oauth_shown_login", "workspace", "login"),
)

_p, _l, _s = program_table.c, login_table.c, shown_table.c


def _program(row: Row[Any]) -> Program:
    return Program(**dict(row._mapping) | {"redirects": tuple(row.redirects)})


def _login(row: Row[Any]) -> Login:
    return Login(**dict(row._mapping) | {"scopes": tuple(row.scopes)})


def add_program(connection: Connection, program: Program) -> None:
    """Keeps a program."""
    values = {column.name: getattr(program, column.name) for column in program_table.columns}
    connection.execute(sa.insert(program_table).values(**values | {"redirects": list(program.redirects)}))


def program(connection: Connection, workspaces: Sequence[str], ident: str) -> Program | None:
    """The program of this id in one of these workspaces, the first first."""
    query = sa.select(program_table).where(_p.workspace.in_(workspaces), _p.id == ident)
    found = {row.workspace: _program(row) for row in connection.execute(query)}
    return next((found[name] for name in workspaces if name in found), None)


def programs(connection: Connection, workspace: str) -> list[Program]:
    """The programs of a workspace, the newest first."""
    query = sa.select(program_table).where(_p.workspace == workspace).order_by(_p.created_at.desc(), _p.id)
    return [_program(row) for row in connection.execute(query)]


def drop_program(connection: Connection, workspace: str, ident: str) -> bool:
    """Forgets a program; whether there was one."""
    done = connection.execute(sa.delete(program_table).where(_p.workspace == workspace, _p.id == ident))
    return done.rowcount > 0


def drop_idle_programs(connection: Connection, workspace: str, how: str, before: datetime) -> None:
    """Forgets programs that registered themselves before ``before`` and that no login is of."""
    used = sa.select(_l.program).where(_l.ended_at.is_(None))
    idle = (_p.workspace == workspace, _p.how == how, _p.created_at < before, _p.id.notin_(used))
    connection.execute(sa.delete(program_table).where(*idle))


def count_programs(connection: Connection, workspace: str, how: str) -> int:
    """How many there are."""
    query = sa.select(sa.func.count()).select_from(program_table).where(_p.workspace == workspace, _p.how == how)
    return int(connection.execute(query).scalar_one())


def add_login(connection: Connection, login: Login) -> None:
    """Keeps what a person has allowed."""
    values = {column.name: getattr(login, column.name) for column in login_table.columns}
    connection.execute(sa.insert(login_table).values(**values | {"scopes": list(login.scopes)}))


def login(connection: Connection, workspace: str, ident: str) -> Login | None:
    """One login."""
    row = connection.execute(sa.select(login_table).where(_l.workspace == workspace, _l.id == ident)).first()
    return None if row is None else _login(row)


def logins(connection: Connection, workspace: str, email: str | None, now: datetime) -> list[Login]:
    """What is allowed now and was taken up, of a person or of everybody, the newest first."""
    query = sa.select(login_table).where(
        _l.workspace == workspace, _l.ended_at.is_(None), _l.begun_at.is_not(None), _l.expires_at > now
    )
    if email is not None:
        query = query.where(_l.email == email)
    return [_login(row) for row in connection.execute(query.order_by(_l.allowed_at.desc(), _l.id))]


def change_login(connection: Connection, login: Login, **values: Any) -> bool:
    """Changes a login that has not ended; False when it has."""
    statement = sa.update(login_table).where(_l.workspace == login.workspace, _l.id == login.id, _l.ended_at.is_(None))
    return connection.execute(statement.values(**values)).rowcount > 0


def add_shown(connection: Connection, hashed: str, login: Login, kind: str, until: datetime) -> None:
    """Keeps what a program will show, as a hash."""
    values = {"hash": hashed, "workspace": login.workspace, "login": login.id, "kind": kind, "until": until}
    connection.execute(insert(connection, shown_table).values(**values))


def shown(connection: Connection, hashed: str, kind: str) -> tuple[Login, datetime, bool] | None:
    """(its login, until when it is good, whether it was used) of what a program shows; None for what nobody was
    given."""
    row = connection.execute(sa.select(shown_table).where(_s.hash == hashed, _s.kind == kind)).first()
    found = login(connection, row.workspace, row.login) if row is not None else None
    return (found, row.until, row.used_at is not None) if row is not None and found is not None else None


def use(connection: Connection, hashed: str, at: datetime) -> bool:
    """Uses it up; False when somebody was faster."""
    statement = sa.update(shown_table).where(_s.hash == hashed, _s.used_at.is_(None)).values(used_at=at)
    return connection.execute(statement).rowcount > 0


def forget(connection: Connection, before: datetime) -> None:
    """Drops logins that ended, ran out or were never taken up before ``before``, with what was shown for them."""
    over = sa.or_(_l.ended_at < before, _l.expires_at < before, sa.and_(_l.begun_at.is_(None), _l.allowed_at < before))
    doomed = sa.select(_l.id).where(over)
    connection.execute(sa.delete(shown_table).where(_s.login.in_(doomed)))
    connection.execute(sa.delete(login_table).where(over))
