"""What the database keeps of limits: those that people set, and the sums and leases of every account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.budgets import LimitFact
from tenure.limits.ledger import Lease, Sum

limit_rule = sa.Table(
    "limit_rule",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("of", sa.String(16), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("per", sa.String(16), nullable=False),
    sa.Column("each", sa.String(16), nullable=False),
    sa.Column("only", sa.String(200), nullable=False),
    sa.Column("sliding", sa.Boolean, nullable=False),
    sa.Column("zone", sa.String(64), nullable=False),
    sa.Column("by", sa.String(254), nullable=False),
    sa.Column("since", UtcTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

limit_sum = sa.Table(
    "limit_sum",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("account", sa.String(700), primary_key=True),
    sa.Column("period", sa.BigInteger, primary_key=True),
    sa.Column("limit", sa.String(400), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.BigInteger, nullable=False),
    sa.Column("alerted", sa.Integer, nullable=False),
    sa.Column("until", UtcTime, nullable=False),
    sa.Index("ix_limit_sum_until", "until"),
)

limit_lease = sa.Table(
    "limit_lease",
    metadata,
    sa.Column("workspace", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(700), nullable=False),
    sa.Column("period", sa.BigInteger, nullable=False),
    sa.Column("until", UtcTime, nullable=False),
    sa.Column("granted", sa.BigInteger, nullable=False),
    sa.Column("told", sa.BigInteger, nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("others", sa.BigInteger, nullable=False),
    sa.Column("ttl_s", sa.Float, nullable=False),
    sa.Column("retry_s", sa.Float, nullable=False),
    sa.Column("short", sa.Boolean, nullable=False),
    sa.Index("ix_limit_lease_account", "workspace", "account", "period"),
    sa.Index("ix_limit_lease_until", "until"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit that a person set for the workspace."""

    workspace: str
    name: str
    of: str
    amount: int
    per: str
    each: str
    only: str
    sliding: bool
    zone: str
    by: str
    since: datetime
    reason: str

    @property
    def fact(self) -> LimitFact:
        """As gateways know it. What is counted and in which windows is part of its id: when that changes, the accounts
        begin anew."""
        kind = f"{self.of}-{self.per}{'-sliding' * self.sliding}-each-{self.each}"
        ident = f"workspace:{self.name}/{kind}"
        return LimitFact(ident, self.of, self.amount, self.per, self.each, self.only, self.sliding, self.zone)


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of an account in a period, with the limit that it is under."""

    workspace: str
    account: str
    period: int
    limit: str
    amount: int
    settled: int
    alerted: int
    until: datetime


# -- limits that people set
def rules(connection: Connection, workspace: str | None = None) -> list[Rule]:
    """Those of one workspace or of all, by name."""
    query = sa.select(limit_rule).order_by(limit_rule.c.workspace, limit_rule.c.name)
    if workspace is not None:
        query = query.where(limit_rule.c.workspace == workspace)
    return [Rule(**row._mapping) for row in connection.execute(query)]


def save(connection: Connection, rule: Rule) -> None:
    """Sets one, in place of another of the same name."""
    values = {column.name: getattr(rule, column.name) for column in limit_rule.columns}
    fresh = {name: value for name, value in values.items() if name not in ("workspace", "name")}
    statement = insert(connection, limit_rule).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["workspace", "name"], set_=fresh))


def remove(connection: Connection, workspace: str, name: str) -> bool:
    """Forgets one; False when there is none."""
    which = (limit_rule.c.workspace == workspace, limit_rule.c.name == name)
    return connection.execute(sa.delete(limit_rule).where(*which)).rowcount > 0


# -- sums
def totals(connection: Connection, workspace: str, account: str | None = None) -> list[Total]:
    """Sums of a workspace, or of one of its accounts, the newest period first."""
    query = sa.select(limit_sum).where(limit_sum.c.workspace == workspace)
    if account is not None:
        query = query.where(limit_sum.c.account == account)
    query = query.order_by(limit_sum.c.period.desc(), limit_sum.c.account)
    return [Total(**row._mapping) for row in connection.execute(query)]


def sums(connection: Connection, workspace: str, account: str, first: int, last: int) -> tuple[Sum, ...]:
    """The sums of an account in the periods that begin from ``first`` to ``last``."""
    rows = connection.execute(
        sa.select(limit_sum.c.period, limit_sum.c.settled, limit_sum.c.alerted).where(
            limit_sum.c.workspace == workspace,
            limit_sum.c.account == account,
            limit_sum.c.period.between(first, last),
        )
    )
    return tuple(Sum(*row) for row in rows)


def open_sum(connection: Connection, total: Total) -> None:
    """Makes the sum of a period, or takes over the limit's present amount."""
    values = {column.name: getattr(total, column.name) for column in limit_sum.columns}
    statement = insert(connection, limit_sum).values(**values)
    keys = ["workspace", "account", "period"]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_={"amount": total.amount}))


def alerted(connection: Connection, workspace: str, account: str, period: int, percent: int) -> None:
    """Notes what was told of."""
    connection.execute(sa.update(limit_sum).where(_at(workspace, account, period)).values(alerted=percent))


def _at(workspace: str, account: str, period: int) -> sa.ColumnElement[bool]:
    return sa.and_(limit_sum.c.workspace == workspace, limit_sum.c.account == account, limit_sum.c.period == period)


# -- leases
def _read(row: sa.Row[tuple[object, ...]]) -> Lease:
    return Lease(**row._mapping)


def lease(connection: Connection, workspace: str, ident: str) -> Lease | None:
    """One lease."""
    which = (limit_lease.c.workspace == workspace, limit_lease.c.id == ident)
    row = connection.execute(sa.select(limit_lease).where(*which)).first()
    return _read(row) if row is not None else None


def leases(connection: Connection, workspace: str, account: str, first: int, last: int) -> tuple[Lease, ...]:
    """The leases of an account in the periods that begin from ``first`` to ``last``."""
    query = sa.select(limit_lease).where(
        limit_lease.c.workspace == workspace,
        limit_lease.c.account == account,
        limit_lease.c.period.between(first, last),
    )
    return tuple(_read(row) for row in connection.execute(query))


def of_workspace(connection: Connection, workspace: str) -> list[Lease]:
    """All leases of a workspace."""
    query = sa.select(limit_lease).where(limit_lease.c.workspace == workspace)
    return [_read(row) for row in connection.execute(query)]


def running(connection: Connection, now: datetime) -> list[Lease]:
    """The leases of all workspaces that still hold."""
    return [_read(row) for row in connection.execute(sa.select(limit_lease).where(limit_lease.c.until > now))]


def save_lease(connection: Connection, item: Lease) -> None:
    """Keeps a lease as it is now."""
    values = {column.name: getattr(item, column.name) for column in limit_lease.columns}
    keys = ["workspace", "id"]
    fresh = {name: value for name, value in values.items() if name not in keys}
    statement = insert(connection, limit_lease).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh))


def tell(connection: Connection, workspace: str, ident: str, units: int) -> Lease | None:
    """Adds what a call used under a lease; the lease as it was then, None for one that is known no more."""
    statement = (
        sa.update(limit_lease)
        .where(limit_lease.c.workspace == workspace, limit_lease.c.id == ident)
        .values(told=limit_lease.c.told + units)
        .returning(limit_lease)
    )
    row = connection.execute(statement).first()
    return _read(row) if row is not None else None


def fold(connection: Connection, item: Lease) -> None:
    """Adds what was used under a lease to its account's sum, and forgets the lease."""
    where = _at(item.workspace, item.account, item.period)
    connection.execute(sa.update(limit_sum).where(where).values(settled=limit_sum.c.settled + item.told))
    which = (limit_lease.c.workspace == item.workspace, limit_lease.c.id == item.id)
    connection.execute(sa.delete(limit_lease).where(*which))


# -- what is over
def has_old(connection: Connection, before: datetime) -> bool:
    """Whether there are sums that ended before a moment."""
    return (
        connection.execute(sa.select(limit_sum.c.period).where(limit_sum.c.until < before).limit(1)).first() is not None
    )


def old(connection: Connection, before: datetime, limit: int = 1000) -> int:
    """Forgets some sums that ended before a moment, and the leases under them; says how many sums."""
    rows = connection.execute(
        sa.select(limit_sum.c.workspace, limit_sum.c.account, limit_sum.c.period)
        .where(limit_sum.c.until < before)
        .order_by(limit_sum.c.until)
        .limit(limit)
    ).all()
    gone = 0
    for workspace, account, period in [tuple(row) for row in rows]:
        connection.execute(sa.delete(limit_sum).where(_at(workspace, account, period)))
        connection.execute(
            sa.delete(limit_lease).where(
                limit_lease.c.workspace == workspace,
                limit_lease.c.account == account,
                limit_lease.c.period == period,
            )
        )
        gone += 1
    return gone
