"""What the database keeps of connectors, of what people have let in, and of consents that were begun. Tokens are kept
as secrets are: under ``<connector>/<address>`` and, for the broker alone, ``<connector>/<address>/refresh``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.secrets.model import Connector, Ending, Held

connector_table = sa.Table(
    "connector",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("authorize_url", sa.Text, nullable=False),
    sa.Column("token_url", sa.Text, nullable=False),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("client_secret", sa.String(63), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("hosts", sa.JSON, nullable=False),
    sa.Column("set_at", UtcTime, nullable=False),
    sa.Column("set_by", sa.String(254), nullable=False),
)

held_table = sa.Table(
    "connector_held",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("connector", sa.String(63), primary_key=True),
    sa.Column("email", sa.String(254), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("connected_at", UtcTime, nullable=False),
    sa.Column("refreshed_at", UtcTime),
    sa.Column("expires_at", UtcTime),
    sa.Column("refresh_at", UtcTime),
    sa.Column("problem", sa.Text, nullable=False),
)

begun_table = sa.Table(
    "connector_begun",
    metadata,
    sa.Column("state", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("connector", sa.String(63), nullable=False),
    sa.Column("email", sa.String(254), nullable=False),
    sa.Column("binding", sa.String(64), nullable=False),
    sa.Column("verifier", sa.String(128), nullable=False),
    sa.Column("until", UtcTime, nullable=False),
)

ending_table = sa.Table(
    "connector_ending",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("connector", sa.String(63), nullable=False),
    sa.Column("email", sa.String(254), nullable=False),
    sa.Column("authorize_url", sa.Text, nullable=False),
    sa.Column("token_url", sa.Text, nullable=False),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("client_secret", sa.String(63), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", UtcTime, nullable=False),
)

_H = held_table.c


@dataclass(frozen=True, slots=True)
class BegunAt:
    """A consent that was begun: whose, in which browser (``binding``), under which ``state``; both as digests."""

    state: str
    workspace: str
    connector: str
    email: str
    binding: str
    verifier: str


def connectors(connection: Connection, workspace: str | None = None, name: str | None = None) -> list[Connector]:
    """Connectors by workspace and name."""
    query = sa.select(connector_table).order_by(connector_table.c.workspace, connector_table.c.name)
    if workspace is not None:
        query = query.where(connector_table.c.workspace == workspace)
    if name is not None:
        query = query.where(connector_table.c.name == name)
    rows = (dict(row._mapping) for row in connection.execute(query))
    return [Connector(**{**row, "scopes": tuple(row["scopes"]), "hosts": tuple(row["hosts"])}) for row in rows]


def put_connector(connection: Connection, connector: Connector) -> None:
    """Keeps a connector in place of what was kept."""
    values = {column.name: getattr(connector, column.name) for column in connector_table.columns}
    values |= {"scopes": list(connector.scopes), "hosts": list(connector.hosts)}
    fresh = {name: value for name, value in values.items() if name not in ("workspace", "name")}
    statement = insert(connection, connector_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_=fresh))


def remove_connector(connection: Connection, workspace: str, name: str) -> None:
    """Forgets a connector."""
    mine = (connector_table.c.workspace == workspace, connector_table.c.name == name)
    connection.execute(sa.delete(connector_table).where(*mine))


def held(
    connection: Connection, workspace: str | None = None, email: str | None = None, connector: str | None = None
) -> list[Held]:
    """What people have let in."""
    query = sa.select(held_table).order_by(_H.workspace, _H.connector, _H.email)
    for column, value in ((_H.workspace, workspace), (_H.email, email), (_H.connector, connector)):
        if value is not None:
            query = query.where(column == value)
    return [Held(**row._mapping) for row in connection.execute(query)]


def one(connection: Connection, workspace: str, connector: str, email: str) -> Held | None:
    """What one person has let in by one connector."""
    return next(iter(held(connection, workspace, email, connector)), None)


def due(connection: Connection, now: datetime) -> list[Held]:
    """What should be refreshed now."""
    rows = connection.execute(sa.select(held_table).where(_H.refresh_at <= now).order_by(_H.refresh_at).limit(100))
    return [Held(**row._mapping) for row in rows]


def put_held(connection: Connection, one: Held) -> None:
    """Keeps how a person stands at an upstream."""
    values = {column.name: getattr(one, column.name) for column in held_table.columns}
    keys = ["workspace", "connector", "email"]
    fresh = {name: value for name, value in values.items() if name not in keys}
    statement = insert(connection, held_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh))


def remove_held(connection: Connection, one: Held) -> None:
    """Forgets it."""
    mine = (_H.workspace == one.workspace, _H.connector == one.connector, _H.email == one.email)
    connection.execute(sa.delete(held_table).where(*mine))


def add_begun(connection: Connection, begun: BegunAt, until: datetime) -> None:
    """Keeps a consent that was begun."""
    values = {column.name: getattr(begun, column.name) for column in begun_table.columns if column.name != "until"}
    connection.execute(sa.insert(begun_table).values(**values, until=until))


def take_begun(connection: Connection, state: str, now: datetime) -> BegunAt | None:
    """The consent with this state, which is used up by it; None when there is none or its time is over."""
    row = connection.execute(
        sa.delete(begun_table).where(begun_table.c.state == state).returning(*begun_table.columns)
    ).first()
    if row is None or row.until <= now:
        return None
    return BegunAt(**{name: value for name, value in row._mapping.items() if name != "until"})


def drop_begun(connection: Connection, now: datetime) -> None:
    """Forgets consents whose time is over."""
    connection.execute(sa.delete(begun_table).where(begun_table.c.until <= now))


def add_ending(connection: Connection, ending: Ending) -> None:
    """Keeps that an upstream is to be asked to revoke a person's tokens."""
    values = {column.name: getattr(ending, column.name) for column in ending_table.columns}
    connection.execute(sa.insert(ending_table).values(**values))


def ending(connection: Connection, ident: str) -> Ending | None:
    """One of them."""
    row = connection.execute(sa.select(ending_table).where(ending_table.c.id == ident)).first()
    return None if row is None else Ending(**row._mapping)


def endings_due(connection: Connection, now: datetime) -> list[str]:
    """The ids of those whose time has come."""
    query = sa.select(ending_table.c.id).where(ending_table.c.due_at <= now).order_by(ending_table.c.due_at)
    return list(connection.execute(query.limit(20)).scalars())


def put_off(connection: Connection, ident: str, attempts: int, due_at: datetime) -> None:
    """Has the upstream asked again later."""
    statement = sa.update(ending_table).where(ending_table.c.id == ident)
    connection.execute(statement.values(attempts=attempts, due_at=due_at))


def remove_ending(connection: Connection, ident: str) -> bool:
    """Forgets it; whether it was there."""
    return connection.execute(sa.delete(ending_table).where(ending_table.c.id == ident)).rowcount > 0
