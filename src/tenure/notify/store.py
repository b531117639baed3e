"""Destinations, deliveries and links as the database keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.json import JsonObject
from tenure.notify.model import Delivery, Destination, Kind, Link, State

destination_table = sa.Table(
    "notify_destination",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.String(63), nullable=False),
    sa.Column("to", sa.Text, nullable=False),
    sa.Column("sender", sa.String(254), nullable=False),
    sa.Column("person", sa.String(254), nullable=False),
    sa.Column("answers", sa.Boolean, nullable=False),
    sa.Column("topics", sa.Text, nullable=False),
    sa.Column("agents", sa.Text, nullable=False),
    sa.Column("set_at", UtcTime, nullable=False),
    sa.Column("set_by", sa.String(254), nullable=False),
    sa.Column("quiet_until", UtcTime),
    sa.Column("bundle_s", sa.Integer, nullable=False, server_default="60"),
)
delivery_table = sa.Table(
    "notify_delivery",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("destination", sa.String(63), nullable=False),
    sa.Column("address", sa.String(254), nullable=False),
    sa.Column("topic", sa.String(32), nullable=False),
    sa.Column("type", sa.String(63), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("approval", sa.String(64), nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", UtcTime),
    sa.Column("last_at", UtcTime),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("open", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("window", UtcTime),
    sa.Index("ix_notify_delivery_next_at", "state", "next_at"),
    sa.Index("ix_notify_delivery_destination", "workspace", "destination", "created_at"),
    sa.Index("ix_notify_delivery_created_at", "created_at"),
)
link_table = sa.Table(
    "notify_link",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("approval", sa.String(64), nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("person", sa.String(254), nullable=False),
    sa.Column("delivery", sa.String(64), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("used_at", UtcTime),
    sa.Index("ix_notify_link_person", "workspace", "person"),
    sa.Index("ix_notify_link_expires_at", "expires_at"),
)
_D, _M, _L = destination_table.c, delivery_table.c, link_table.c
_LISTS = ("to", "topics", "agents")


# -- destinations
def _destination(row: Any) -> Destination:
    values = {name: value for name, value in row._mapping.items() if name != "quiet_until"}
    values |= {name: tuple(json.loads(values[name])) for name in _LISTS}
    return Destination(**(values | {"kind": Kind(row.kind)}))


def destinations(connection: Connection, workspace: str, name: str | None = None) -> list[Destination]:
    """Those of a workspace by name, or the one of that name."""
    query = sa.select(destination_table).where(_D.workspace == workspace).order_by(_D.name)
    if name is not None:
        query = query.where(_D.name == name)
    return [_destination(row) for row in connection.execute(query)]


def save(connection: Connection, item: Destination) -> None:
    """Sets one, in place of another of the same name."""
    values = {column.name: getattr(item, column.name) for column in _D if column.name != "quiet_until"}
    values |= {name: json.dumps(list(values[name])) for name in _LISTS} | {"kind": item.kind.value, "quiet_until": None}
    fresh = {name: value for name, value in values.items() if name not in ("workspace", "name")}
    statement = insert(connection, destination_table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_=fresh))


def remove(connection: Connection, workspace: str, name: str) -> bool:
    """Forgets one with all that waits for it; False when there is none."""
    connection.execute(
        sa.delete(delivery_table).where(
            _M.workspace == workspace, _M.destination == name, _M.state == State.WAITING.value
        )
    )
    gone = connection.execute(sa.delete(destination_table).where(_D.workspace == workspace, _D.name == name))
    return gone.rowcount > 0


def quiet(connection: Connection, workspace: str, name: str, until: datetime | None) -> None:
    """Leaves a destination alone until then."""
    which = sa.update(destination_table).where(_D.workspace == workspace, _D.name == name)
    connection.execute(which.values(quiet_until=until))


# -- deliveries
def _delivery(row: Any) -> Delivery:
    return Delivery(**(dict(row._mapping) | {"body": json.loads(row.body), "state": State(row.state)}))


def add(connection: Connection, item: Delivery) -> bool:
    """Adds one unless its id is known; says whether it was new."""
    values = {column.name: getattr(item, column.name) for column in _M}
    values |= {"body": json.dumps(item.body), "state": item.state.value}
    statement = insert(connection, delivery_table).values(**values)
    statement = statement.on_conflict_do_nothing(index_elements=["id"]).returning(_M.id)
    return connection.execute(statement).first() is not None


def delivery(connection: Connection, ident: str, workspace: str | None = None) -> Delivery | None:
    """One delivery."""
    query = sa.select(delivery_table).where(_M.id == ident)
    if workspace is not None:
        query = query.where(_M.workspace == workspace)
    row = connection.execute(query).first()
    return None if row is None else _delivery(row)


def deliveries(
    connection: Connection, workspace: str, destination: str | None, state: State | None, limit: int
) -> list[Delivery]:
    """Newest first."""
    query = sa.select(delivery_table).where(_M.workspace == workspace)
    if destination is not None:
        query = query.where(_M.destination == destination)
    if state is not None:
        query = query.where(_M.state == state.value)
    query = query.order_by(_M.created_at.desc(), _M.id).limit(limit)
    return [_delivery(row) for row in connection.execute(query)]


def counts(connection: Connection, workspace: str) -> dict[tuple[str, str], int]:
    """How many deliveries there are, by destination and state."""
    query = (
        sa.select(_M.destination, _M.state, sa.func.count())
        .where(_M.workspace == workspace)
        .group_by(_M.destination, _M.state)
    )
    return {(str(name), str(state)): int(count) for name, state, count in connection.execute(query)}


def last(connection: Connection, workspace: str, destination: str, state: State) -> Delivery | None:
    """The delivery of that state that was tried last."""
    query = sa.select(delivery_table).where(
        _M.workspace == workspace, _M.destination == destination, _M.state == state.value, _M.last_at.is_not(None)
    )
    row = connection.execute(query.order_by(_M.last_at.desc()).limit(1)).first()
    return None if row is None else _delivery(row)


def newest_window(
    connection: Connection, workspace: str, destination: str, address: str, topic: str
) -> Delivery | None:
    """The delivery to that address whose window ends last."""
    query = sa.select(delivery_table).where(
        _M.workspace == workspace, _M.destination == destination, _M.address == address, _M.topic == topic
    )
    query = query.where(_M.window.is_not(None)).order_by(_M.window.desc(), _M.id).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _delivery(row)


def extend(connection: Connection, ident: str, body: JsonObject) -> bool:
    """Gives a bundle another body; False when it takes no more."""
    which = sa.update(delivery_table).where(_M.id == ident, _M.open.is_(True), _M.state == State.WAITING.value)
    return connection.execute(which.values(body=json.dumps(body))).rowcount == 1


def close(connection: Connection, ident: str) -> None:
    """A bundle takes no more."""
    connection.execute(sa.update(delivery_table).where(_M.id == ident).values(open=False))


def waiting(connection: Connection, workspace: str, destination: str) -> int:
    """How many deliveries wait for a destination."""
    query = sa.select(sa.func.count()).where(
        _M.workspace == workspace, _M.destination == destination, _M.state == State.WAITING.value
    )
    return int(connection.execute(query).scalar_one())


def due(connection: Connection, now: datetime) -> list[str]:
    """For each destination that may be tried, the id of the delivery that has been due the longest."""
    first = (
        sa.select(_M.workspace, _M.destination, sa.func.min(_M.next_at).label("next_at"))
        .where(_M.state == State.WAITING.value, _M.next_at <= now)
        .group_by(_M.workspace, _M.destination)
        .subquery()
    )
    query = (
        sa.select(sa.func.min(_M.id))
        .join(first, (_M.workspace == first.c.workspace) & (_M.destination == first.c.destination))
        .join(destination_table, (_D.workspace == _M.workspace) & (_D.name == _M.destination))
        .where(_M.next_at == first.c.next_at, _M.state == State.WAITING.value)
        .where(sa.or_(_D.quiet_until.is_(None), _D.quiet_until <= now))
        .group_by(_M.workspace, _M.destination)
        .limit(500)
    )
    return [str(ident) for ident in connection.execute(query).scalars()]


def change(connection: Connection, ident: str, before: Sequence[State], **values: Any) -> bool:
    """Changes one that is in one of those states; False when it is not."""
    states = [state.value for state in before]
    return (
        connection.execute(
            sa.update(delivery_table).where(_M.id == ident, _M.state.in_(states)).values(**values)
        ).rowcount
        == 1
    )


# -- links
def add_link(connection: Connection, link: Link) -> None:
    """Keeps one."""
    connection.execute(sa.insert(link_table).values({column.name: getattr(link, column.name) for column in _L}))


def link(connection: Connection, hashed: str) -> Link | None:
    """The link of that hash."""
    row = connection.execute(sa.select(link_table).where(_L.hash == hashed)).first()
    return None if row is None else Link(**row._mapping)


def use_link(connection: Connection, hashed: str, now: datetime) -> bool:
    """Uses it up; False when it is."""
    statement = sa.update(link_table).where(_L.hash == hashed, _L.used_at.is_(None), _L.expires_at > now)
    return connection.execute(statement.values(used_at=now)).rowcount == 1


def drop_links(connection: Connection, workspace: str, person: str) -> None:
    """Ends every link of a person in a workspace."""
    connection.execute(sa.delete(link_table).where(_L.workspace == workspace, _L.person == person))


# -- what is over
def has_old(connection: Connection, before: datetime, now: datetime) -> bool:
    """Whether there are deliveries from before a moment, or links that are too old to answer."""
    delivered = sa.select(_M.id).where(_M.created_at < before).limit(1)
    expired = sa.select(_L.hash).where(_L.expires_at <= now).limit(1)
    return connection.execute(delivered).first() is not None or connection.execute(expired).first() is not None


def forget(connection: Connection, before: datetime, now: datetime) -> int:
    """Drops some of them; says how many."""
    old = sa.select(_M.id).where(_M.created_at < before).limit(1000)
    gone = connection.execute(sa.delete(delivery_table).where(_M.id.in_(old))).rowcount
    return gone + connection.execute(sa.delete(link_table).where(_L.expires_at <= now)).rowcount
