"""Tables and SQL of the runtime."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tenure.base.db import UtcTime, metadata
from tenure.runtime.model import End, Instance

instance_table = sa.Table(
    "instance",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("release", sa.String(71), nullable=False),
    sa.Column("session", sa.String(32), nullable=False),
    sa.Column("credential_epoch", sa.Integer, nullable=False),
    sa.Column("on_behalf_of", sa.String(254)),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("started_by", sa.String(254), nullable=False),
    sa.Column("heartbeat_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("ended_at", UtcTime),
    sa.Column("end", sa.String(16)),
    sa.Column("exit_code", sa.Integer),
    sa.Column("confined", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("scopes", sa.Text, nullable=False, server_default=""),  # as in a token: parted by spaces
    sa.Column("task", sa.String(200)),
    sa.Index("ix_instance_of_agent", "workspace", "agent", "started_at"),
    sa.Index("ix_instance_live", "ended_at", "heartbeat_at"),
)
_t = instance_table.c


def _instance(row: Row[Any]) -> Instance:
    values = dict(row._mapping)
    values["end"] = End(values["end"]) if values["end"] else None
    values["scopes"] = tuple(values["scopes"].split())
    return Instance(**values)


def add(connection: Connection, instance: Instance) -> None:
    """Records a new instance."""
    values = {column.name: getattr(instance, column.name) for column in instance_table.columns}
    connection.execute(sa.insert(instance_table).values(values | {"scopes": " ".join(instance.scopes)}))


def get(connection: Connection, ident: str) -> Instance | None:
    """One instance."""
    row = connection.execute(sa.select(instance_table).where(_t.id == ident)).first()
    return None if row is None else _instance(row)


def of_agent(connection: Connection, workspace: str, agent: str, *, live: bool, limit: int = 200) -> list[Instance]:
    """An agent's instances, newest first."""
    query = sa.select(instance_table).where(_t.workspace == workspace, _t.agent == agent)
    if live:
        query = query.where(_t.ended_at.is_(None))
    query = query.order_by(_t.started_at.desc(), _t.id.desc()).limit(limit)
    return [_instance(row) for row in connection.execute(query)]


def tasks(connection: Connection, workspace: str, since: datetime) -> dict[str, str]:
    """The task of each session that was started for one, since a time."""
    given = (_t.workspace == workspace, _t.task.is_not(None), _t.started_at >= since)
    query = sa.select(_t.session, _t.task).where(*given)
    return {row.session: row.task for row in connection.execute(query)}


def count_live(connection: Connection, workspace: str, agent: str) -> int:
    """How many instances of an agent live."""
    query = sa.select(sa.func.count()).where(_t.workspace == workspace, _t.agent == agent, _t.ended_at.is_(None))
    return int(connection.execute(query).scalar_one())


def silent(connection: Connection, since: datetime, limit: int = 500) -> list[str]:
    """Live instances that were not heard of since."""
    query = sa.select(_t.id).where(_t.ended_at.is_(None), _t.heartbeat_at < since).limit(limit)
    return list(connection.execute(query).scalars())


def last_heard(connection: Connection) -> dict[tuple[str, str], datetime]:
    """When an instance of an agent was last heard of, by workspace and agent."""
    query = sa.select(_t.workspace, _t.agent, sa.func.max(_t.heartbeat_at, type_=UtcTime).label("at"))
    rows = connection.execute(query.group_by(_t.workspace, _t.agent))
    return {(row.workspace, row.agent): row.at for row in rows}


def lost_last(connection: Connection, workspace: str) -> dict[str, datetime]:
    """Agents of which the instance that was heard of last was lost, and when that was; none of which one lives."""
    newest = (
        sa.select(_t.agent, sa.func.max(_t.heartbeat_at).label("at"))
        .where(_t.workspace == workspace)
        .group_by(_t.agent)
        .having(sa.func.count() == sa.func.count(_t.ended_at))
        .subquery()
    )
    rows = connection.execute(
        sa.select(_t.agent, _t.heartbeat_at)
        .join(newest, sa.and_(_t.agent == newest.c.agent, _t.heartbeat_at == newest.c.at))
        .where(_t.workspace == workspace, _t.end == str(End.LOST))
    )
    return {row.agent: row.heartbeat_at for row in rows}


def heard(connection: Connection, ident: str, at: datetime) -> None:
    """Notes a sign of life; one that was taken for lost is live again."""
    connection.execute(sa.update(instance_table).where(_t.id == ident).values(heartbeat_at=at, ended_at=None, end=None))


def renewed(connection: Connection, ident: str, epoch: int, expires_at: datetime) -> None:
    """Notes that a newer token was issued."""
    values = {"credential_epoch": epoch, "expires_at": expires_at}
    connection.execute(sa.update(instance_table).where(_t.id == ident).values(values))


def ended(connection: Connection, ident: str, at: datetime, end: End, exit_code: int | None) -> None:
    """Notes the end."""
    values = {"ended_at": at, "end": str(end), "exit_code": exit_code}
    connection.execute(sa.update(instance_table).where(_t.id == ident).values(values))
