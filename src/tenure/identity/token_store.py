"""API tokens and service accounts as the database keeps them: of each secret only a hash."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, insert, metadata
from tenure.identity.model import ApiToken, Service
from tenure.kernel.values import Role

# A row with neither address nor service account is a gateway's: Tenure itself.
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
    sa.Column("service", sa.String(63)),
    sa.Column("prefix", sa.String(16), nullable=False, server_default=""),
    sa.Column("scopes", sa.Text),
    sa.Column("last_used_at", UtcTime),
)

service_table = sa.Table(
    "identity_service",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("created_by", sa.String(254), nullable=False),
)

_t = token_table.c
_s = service_table.c


def _token(row: Row[Any]) -> ApiToken:
    values = {name: getattr(row, name) for name in ApiToken.__slots__}
    return ApiToken(**values | {"scopes": tuple(msgspec.json.decode(row.scopes)) if row.scopes else None})


def add_token(connection: Connection, hashed: str, token: ApiToken) -> None:
    """Remembers a token. Twice the same is once."""
    values = {name: getattr(token, name) for name in ApiToken.__slots__}
    values["scopes"] = None if token.scopes is None else msgspec.json.encode(token.scopes).decode()
    connection.execute(insert(connection, token_table).values(hash=hashed, **values).on_conflict_do_nothing())


def drop_tokens_named(connection: Connection, workspace: str, name: str) -> None:
    """Forgets the tokens of this name."""
    connection.execute(sa.delete(token_table).where(_t.workspace == workspace, _t.name == name))


def drop_token(
    connection: Connection, workspace: str, ident: str, *, email: str | None = None, service: str | None = None
) -> bool:
    """Forgets one token of a person or of a service account; whether there was one."""
    whose = _t.email == email if email is not None else _t.service == service
    done = connection.execute(sa.delete(token_table).where(_t.workspace == workspace, whose, _t.id == ident))
    return done.rowcount > 0


def drop_tokens_of(connection: Connection, workspace: str, *, email: str | None, service: str | None) -> None:
    """Forgets every token of a person or of a service account."""
    whose = _t.email == email if email is not None else _t.service == service
    connection.execute(sa.delete(token_table).where(_t.workspace == workspace, whose))


def tokens(
    connection: Connection, workspace: str, *, email: str | None = None, service: str | None = None
) -> list[ApiToken]:
    """The tokens of a person or of a service account, the newest first."""
    whose = _t.email == email if email is not None else _t.service == service
    rows = connection.execute(
        sa.select(token_table).where(_t.workspace == workspace, whose).order_by(_t.created_at.desc(), _t.id.desc())
    )
    return [_token(row) for row in rows]


def living(connection: Connection, hashed: str, now: datetime) -> ApiToken | None:
    """The token of this hash, unless it has expired."""
    row = connection.execute(
        sa.select(token_table).where(_t.hash == hashed, sa.or_(_t.expires_at.is_(None), _t.expires_at > now))
    ).first()
    return None if row is None else _token(row)


def touch(connection: Connection, ident: str, now: datetime) -> None:
    """Notes that a token was used."""
    connection.execute(sa.update(token_table).where(_t.id == ident).values(last_used_at=now))


# -- service accounts -----------------------------------------------------------------------------------------------


def _service(row: Row[Any]) -> Service:
    roles = frozenset(Role(name) for name in msgspec.json.decode(row.roles))
    return Service(row.workspace, row.name, roles, row.created_at, row.created_by)


def put_service(connection: Connection, service: Service) -> None:
    """Adds a service account, or gives one other roles."""
    roles = msgspec.json.encode(sorted(service.roles)).decode()
    values = {name: getattr(service, name) for name in Service.__slots__} | {"roles": roles}
    connection.execute(
        insert(connection, service_table)
        .values(**values)
        .on_conflict_do_update(index_elements=["workspace", "name"], set_={"roles": roles})
    )


def service(connection: Connection, workspace: str, name: str) -> Service | None:
    """One service account."""
    row = connection.execute(sa.select(service_table).where(_s.workspace == workspace, _s.name == name)).first()
    return None if row is None else _service(row)


def services(connection: Connection, workspace: str) -> list[Service]:
    """Every service account, by name."""
    rows = connection.execute(sa.select(service_table).where(_s.workspace == workspace).order_by(_s.name))
    return [_service(row) for row in rows]


def drop_service(connection: Connection, workspace: str, name: str) -> bool:
    """Forgets a service account; whether there was one."""
    done = connection.execute(sa.delete(service_table).where(_s.workspace == workspace, _s.name == name))
    return done.rowcount > 0
