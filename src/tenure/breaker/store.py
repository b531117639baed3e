"""Breakers and the violations of their present epoch, as the database keeps them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.breaker.model import Breaker

breaker = sa.Table(
    "breaker",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("agent", sa.String(63), primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("tripped_at", UtcTime),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("reset_by", sa.Text),
    sa.Column("reset_reason", sa.Text, nullable=False, default=""),
)

violation = sa.Table(
    "breaker_violation",
    metadata,
    sa.Column("event", sa.String(64), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("time", UtcTime, nullable=False),
    sa.Index("ix_breaker_violation_time", "workspace", "agent", "epoch", "time"),
)


def _read(row: Any, violations: int = 0) -> Breaker:
    return Breaker(
        workspace=row.workspace,
        agent=row.agent,
        epoch=row.epoch,
        tripped_at=row.tripped_at,
        reason=row.reason,
        violations=violations,
        reset_by=row.reset_by,
        reset_reason=row.reset_reason,
    )


def hold(connection: Connection, workspace: str, agent: str) -> Breaker:
    """The breaker of an agent, made when it is new, and kept from others until the transaction ends."""
    connection.execute(
        insert(connection, breaker)
        .values(workspace=workspace, agent=agent, epoch=0)
        .on_conflict_do_nothing(index_elements=["workspace", "agent"])
    )
    query = sa.select(breaker).where(breaker.c.workspace == workspace, breaker.c.agent == agent).with_for_update()
    return _read(connection.execute(query).one())


def find(connection: Connection, workspace: str | None = None) -> list[Breaker]:
    """Breakers that have ever counted, with the violations of their epoch."""
    counted = (
        sa.select(sa.func.count())
        .select_from(violation)
        .where(
            violation.c.workspace == breaker.c.workspace,
            violation.c.agent == breaker.c.agent,
            violation.c.epoch == breaker.c.epoch,
        )
        .scalar_subquery()
    )
    query = sa.select(breaker, counted.label("violations")).order_by(breaker.c.workspace, breaker.c.agent)
    if workspace is not None:
        query = query.where(breaker.c.workspace == workspace)
    return [_read(row, row.violations) for row in connection.execute(query)]


def save(connection: Connection, item: Breaker) -> None:
    """Writes the breaker that ``hold`` gave."""
    connection.execute(
        sa.update(breaker)
        .where(breaker.c.workspace == item.workspace, breaker.c.agent == item.agent)
        .values(
            epoch=item.epoch,
            tripped_at=item.tripped_at,
            reason=item.reason,
            reset_by=item.reset_by,
            reset_reason=item.reset_reason,
        )
    )


def count(connection: Connection, event: str, item: Breaker, time: datetime) -> bool:
    """Notes a violation in the breaker's epoch; False when this Event was counted before."""
    statement = (
        insert(connection, violation)
        .values(event=event, workspace=item.workspace, agent=item.agent, epoch=item.epoch, time=time)
        .on_conflict_do_nothing(index_elements=["event"])
        .returning(violation.c.event)
    )
    return connection.execute(statement).first() is not None


def _of(item: Breaker) -> sa.ColumnElement[bool]:
    return sa.and_(violation.c.workspace == item.workspace, violation.c.agent == item.agent)


def times_near(connection: Connection, item: Breaker, at: datetime, around: timedelta, but: str) -> list[datetime]:
    """The violations of the epoch at most ``around`` away from ``at``, oldest first, without the Event ``but``."""
    rows = connection.execute(
        sa.select(violation.c.time)
        .where(
            _of(item),
            violation.c.epoch == item.epoch,
            violation.c.event != but,
            violation.c.time.between(at - around, at + around),
        )
        .order_by(violation.c.time)
    )
    return [row.time for row in rows]


def forget(connection: Connection, item: Breaker, before: datetime | None) -> None:
    """Drops violations of earlier epochs and, with ``before``, those that are older."""
    gone = violation.c.epoch < item.epoch
    if before is not None:
        gone = gone | (violation.c.time < before)
    connection.execute(sa.delete(violation).where(_of(item), gone))
