"""Breakers, their limits, and what is counted in their present epoch, as the database keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.breaker.model import Breaker, Limits, Place, Scope, Setting, as_json, from_json

_NAMED = ("workspace", "scope", "name")


def _place_columns() -> tuple[sa.Column[str], ...]:
    return (
        sa.Column("workspace", sa.String(63), primary_key=True),
        sa.Column("scope", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
    )


breaker = sa.Table(
    "breaker",
    metadata,
    *_place_columns(),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("tripped_at", UtcTime),
    sa.Column("tripped_by", sa.Text, nullable=False, default=""),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("trials", sa.Integer, nullable=False, default=0),
    sa.Column("reset_at", UtcTime),
    sa.Column("reset_by", sa.Text),
    sa.Column("reset_reason", sa.Text, nullable=False, default=""),
)

mark = sa.Table(
    "breaker_mark",
    metadata,
    sa.Column("event", sa.String(64), primary_key=True),
    sa.Column("scope", sa.String(16), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("time", UtcTime, nullable=False),
    sa.Index("ix_breaker_mark_time", "workspace", "scope", "name", "kind", "epoch", "time"),
)

tally = sa.Table(
    "breaker_tally",
    metadata,
    *_place_columns(),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
)

trial = sa.Table(
    "breaker_trial",
    metadata,
    sa.Column("call", sa.String(64), primary_key=True),
    sa.Column("scope", sa.String(16), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("granted_at", UtcTime, nullable=False),
    sa.Column("good", sa.Boolean, nullable=False),
    sa.Index("ix_breaker_trial_of", "workspace", "scope", "name"),
)

setting = sa.Table(
    "breaker_limit",
    metadata,
    *_place_columns(),
    sa.Column("limits", sa.JSON, nullable=False),
    sa.Column("set_by", sa.Text, nullable=False),
    sa.Column("set_at", UtcTime, nullable=False),
)


def _at(table: sa.Table, place: Place) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.workspace == place.workspace, table.c.scope == place.scope.value, table.c.name == place.name)


def _values(place: Place) -> dict[str, str]:
    return {"workspace": place.workspace, "scope": place.scope.value, "name": place.name}


def _place(row: Any) -> Place:
    return Place(row.workspace, Scope(row.scope), row.name)


def _read(row: Any, violations: int = 0, tried: Iterable[Any] = ()) -> Breaker:
    tried = tuple(tried)
    return Breaker(
        place=_place(row),
        epoch=row.epoch,
        tripped_at=row.tripped_at,
        tripped_by=row.tripped_by,
        reason=row.reason,
        violations=violations,
        trials=row.trials,
        tried=tuple(one.call for one in tried),
        good=sum(one.good for one in tried),
        reset_at=row.reset_at,
        reset_by=row.reset_by,
        reset_reason=row.reset_reason,
    )


# --- breakers ---------------------------------------------------------------------------------------------------------


def hold(connection: Connection, place: Place) -> Breaker:
    """A breaker, made when it is new, and kept from others until the transaction ends."""
    connection.execute(
        insert(connection, breaker)
        .values(**_values(place), epoch=0)
        .on_conflict_do_nothing(index_elements=list(_NAMED))
    )
    row = connection.execute(sa.select(breaker).where(_at(breaker, place)).with_for_update()).one()
    return _read(row, tried=_tried(connection, place) if row.trials else ())


def _tried(connection: Connection, place: Place) -> list[Any]:
    query = sa.select(trial).where(_at(trial, place)).order_by(trial.c.granted_at, trial.c.call)
    return list(connection.execute(query))


def states(connection: Connection) -> list[Breaker]:
    """Every breaker that ever counted or was stopped, without its violations: what facts are made of."""
    rows = list(connection.execute(sa.select(breaker)))
    return [_read(row, tried=_tried(connection, _place(row)) if row.trials else ()) for row in rows]


def find(connection: Connection, workspace: str | None = None) -> list[Breaker]:
    """Breakers that have ever counted, with the violations of their epoch."""
    counted = (
        sa.select(sa.func.count())
        .select_from(mark)
        .where(
            *(mark.c[name] == breaker.c[name] for name in _NAMED),
            mark.c.kind == "violation",
            mark.c.epoch == breaker.c.epoch,
        )
        .scalar_subquery()
    )
    query = sa.select(breaker, counted.label("violations")).order_by(*(breaker.c[name] for name in _NAMED))
    if workspace is not None:
        query = query.where(breaker.c.workspace == workspace)
    rows = list(connection.execute(query))
    return [_read(row, row.violations, _tried(connection, _place(row)) if row.trials else ()) for row in rows]


def save(connection: Connection, item: Breaker) -> None:
    """Writes the breaker that ``hold`` gave."""
    fields = ("epoch", "tripped_at", "tripped_by", "reason", "trials", "reset_at", "reset_by", "reset_reason")
    connection.execute(
        sa.update(breaker).where(_at(breaker, item.place)).values({name: getattr(item, name) for name in fields})
    )


# --- violations and anomalies, one by one -----------------------------------------------------------------------------


def note(connection: Connection, kind: str, event: str, item: Breaker, time: datetime) -> bool:
    """Notes a violation or an anomaly in the breaker's epoch; False when this Event was counted before."""
    statement = (
        insert(connection, mark)
        .values(event=event, **_values(item.place), kind=kind, epoch=item.epoch, time=time)
        .on_conflict_do_nothing(index_elements=["event", "scope"])
        .returning(mark.c.event)
    )
    return connection.execute(statement).first() is not None


def times_near(  # noqa: PLR0917 (one question)
    connection: Connection, kind: str, item: Breaker, at: datetime, around: timedelta, but: str
) -> list[datetime]:
    """Those of the epoch at most ``around`` away from ``at``, oldest first, without the Event ``but``."""
    rows = connection.execute(
        sa.select(mark.c.time)
        .where(
            _at(mark, item.place),
            mark.c.kind == kind,
            mark.c.epoch == item.epoch,
            mark.c.event != but,
            mark.c.time.between(at - around, at + around),
        )
        .order_by(mark.c.time)
    )
    return [row.time for row in rows]


def forget(connection: Connection, item: Breaker, before: datetime | None) -> None:
    """Drops what was noted and summed in earlier epochs and, with ``before``, what was noted earlier than that."""
    gone = mark.c.epoch < item.epoch
    if before is not None:
        gone |= mark.c.time < before
    connection.execute(sa.delete(mark).where(_at(mark, item.place), gone))
    if before is None:
        connection.execute(sa.delete(tally).where(_at(tally, item.place)))
        connection.execute(sa.delete(trial).where(_at(trial, item.place)))


# --- calls, errors and money, summed ----------------------------------------------------------------------------------


def add(connection: Connection, kind: str, item: Breaker, slot: int, calls: int, amount: int) -> None:  # noqa: PLR0917 (one row)
    """Adds to a slot of the epoch."""
    statement = insert(connection, tally).values(
        **_values(item.place), kind=kind, epoch=item.epoch, slot=slot, calls=calls, amount=amount
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[*_NAMED, "kind", "epoch", "slot"],
            set_={"calls": tally.c.calls + calls, "amount": tally.c.amount + amount},
        )
    )


def summed(connection: Connection, kind: str, item: Breaker, first: int, last: int) -> tuple[int, int]:
    """(calls, amount) of the slots of the epoch from ``first`` to ``last``. Slots before are forgotten."""
    here = sa.and_(_at(tally, item.place), tally.c.kind == kind)
    connection.execute(sa.delete(tally).where(here, (tally.c.slot < first) | (tally.c.epoch < item.epoch)))
    query = sa.select(
        sa.func.coalesce(sa.func.sum(tally.c.calls), 0), sa.func.coalesce(sa.func.sum(tally.c.amount), 0)
    ).where(here, tally.c.epoch == item.epoch, tally.c.slot.between(first, last))
    calls, amount = connection.execute(query).one()
    return int(calls), int(amount)


# --- trial calls ------------------------------------------------------------------------------------------------------


def grant(connection: Connection, place: Place, call: str, at: datetime) -> None:
    """Lets a call pass a half-open breaker."""
    connection.execute(
        insert(connection, trial)
        .values(call=call, **_values(place), granted_at=at, good=False)
        .on_conflict_do_nothing(index_elements=["call", "scope"])
    )


def open_trials(connection: Connection) -> dict[str, list[Place]]:
    """The breakers that each call on trial has to answer for."""
    found: dict[str, list[Place]] = {}
    for row in connection.execute(sa.select(trial).where(trial.c.good.is_(False))):
        found.setdefault(row.call, []).append(_place(row))
    return found


def went_well(connection: Connection, place: Place, call: str) -> None:
    """Notes that a trial call went well."""
    connection.execute(sa.update(trial).where(_at(trial, place), trial.c.call == call).values(good=True))


def take_back(connection: Connection, place: Place, call: str) -> None:
    """Gives the place of a trial call back."""
    connection.execute(sa.delete(trial).where(_at(trial, place), trial.c.call == call))


def silent_trials(connection: Connection, before: datetime) -> list[str]:
    """Trial calls that were granted before, and of which nothing was heard."""
    query = sa.select(trial.c.call).where(trial.c.good.is_(False), trial.c.granted_at < before).distinct()
    return list(connection.execute(query).scalars())


# --- settings ---------------------------------------------------------------------------------------------------------


def settings(connection: Connection, workspace: str | None = None) -> list[Setting]:
    """What workspaces have set, by workspace, scope and name."""
    query = sa.select(setting).order_by(*(setting.c[name] for name in _NAMED))
    if workspace is not None:
        query = query.where(setting.c.workspace == workspace)
    rows = connection.execute(query)
    return [Setting(_place(row), from_json(row.limits), row.set_by, row.set_at) for row in rows]


def limits(connection: Connection) -> dict[Place, Limits]:
    """All settings, by what they are for."""
    return {one.place: one.limits for one in settings(connection)}


def save_setting(connection: Connection, item: Setting) -> None:
    """Keeps a setting in place of what was set before."""
    values = {"limits": as_json(item.limits), "set_by": item.set_by, "set_at": item.set_at}
    statement = insert(connection, setting).values(**_values(item.place), **values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(_NAMED), set_=values))


def drop_setting(connection: Connection, place: Place) -> bool:
    """Forgets a setting; False when there was none."""
    return connection.execute(sa.delete(setting).where(_at(setting, place))).rowcount > 0
