"""The event log: the spine that joins the rooms of the control plane.

Every Event, whether a verb of a service or a gateway made it, is appended here in one transaction and numbered.
Consumers (audit, breaker, approvals, traces) read on from a cursor of their own. One whose effects are in this database
moves its cursor in the same transaction, so it sees each Event exactly once; one whose effects are elsewhere keeps
its cursor there, for the same reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import Database, UtcTime, insert, metadata
from tenure.kernel.values import Event

event_log = sa.Table(
    "event_log",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("type", sa.String(63), nullable=False),
    sa.Column("agent", sa.String(63)),
    sa.Column("time", UtcTime, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,  # a pruned tail must never hand its numbers out again: cursors would skip
)

event_cursor = sa.Table(
    "event_cursor",
    metadata,
    sa.Column("consumer", sa.String(63), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True, slots=True)
class Logged:
    """An Event with its place in the log."""

    seq: int
    event: Event


def append(connection: Connection, events: Sequence[Event]) -> int:
    """Appends the Events that are not yet in the log (by id) and returns how many were new."""
    if not events:
        return 0
    rows: list[dict[str, Any]] = [
        {
            "id": event.id,
            "workspace": event.workspace,
            "type": event.type,
            "agent": event.agent,
            "time": event.time,
            "body": _encode(event),
        }
        for event in events
    ]
    if connection.dialect.name == "postgresql":
        # Numbers must become visible in the order they were given, or a cursor could pass one that commits late.
        connection.execute(sa.text("LOCK TABLE event_log IN EXCLUSIVE MODE"))
    before = connection.execute(sa.select(sa.func.coalesce(sa.func.max(event_log.c.seq), 0))).scalar_one()
    connection.execute(insert(connection, event_log).on_conflict_do_nothing(index_elements=["id"]), rows)
    return int(
        connection.execute(
            sa.select(sa.func.count()).select_from(event_log).where(event_log.c.seq > before)
        ).scalar_one()
    )


def read(connection: Connection, after: int, limit: int = 1000) -> list[Logged]:
    """Up to ``limit`` Events after number ``after``, oldest first."""
    rows = connection.execute(
        sa.select(event_log.c.seq, event_log.c.body)
        .where(event_log.c.seq > after)
        .order_by(event_log.c.seq)
        .limit(limit)
    )
    return [Logged(row.seq, _decode(row.body)) for row in rows]


def newest(connection: Connection, workspace: str, upto: int, window: int) -> Iterator[Logged]:
    """The Events of a workspace among the ``window`` numbers up to ``upto``, newest first; each is read when it is
    asked for."""
    rows = connection.execute(
        sa.select(event_log.c.seq, event_log.c.body)
        .where(event_log.c.seq <= upto, event_log.c.seq > upto - window, event_log.c.workspace == workspace)
        .order_by(event_log.c.seq.desc())
    )
    return (Logged(row.seq, _decode(row.body)) for row in rows)


def rewrite(connection: Connection, seq: int, event: Event) -> None:
    """Puts an Event of the same id in the place of one, where something had to be taken out of it."""
    connection.execute(sa.update(event_log).where(event_log.c.seq == seq).values(body=_encode(event)))


def head(connection: Connection) -> int:
    """The number of the newest Event, 0 for an empty log."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(event_log.c.seq), 0))).scalar_one())


def holds(connection: Connection, ident: str) -> bool:
    """Whether the log has an Event of this id."""
    return connection.execute(sa.select(event_log.c.seq).where(event_log.c.id == ident)).first() is not None


def cursor(connection: Connection, consumer: str) -> int:
    """How far ``consumer`` has come."""
    seq = connection.execute(sa.select(event_cursor.c.seq).where(event_cursor.c.consumer == consumer)).scalar()
    return int(seq or 0)


def move_cursor(connection: Connection, consumer: str, seq: int) -> None:
    """Remembers how far ``consumer`` has come, in the caller's transaction."""
    connection.execute(
        insert(connection, event_cursor)
        .values(consumer=consumer, seq=seq)
        .on_conflict_do_update(index_elements=["consumer"], set_={"seq": seq})
    )


def oldest(connection: Connection) -> int:
    """The number of the oldest Event that is still in the log, 0 for an empty log."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.min(event_log.c.seq), 0))).scalar_one())


def prune(connection: Connection, consumers: Iterable[str], upto: int, older_than: datetime, limit: int = 5000) -> int:
    """Deletes up to ``limit`` Events that began before ``older_than`` and that every reader has passed: each of
    ``consumers`` (by its cursor here; one that never read has passed nothing) and those that speak for themselves by
    ``upto``. Returns how many. The newest Event always stays, so that ``head`` never goes back."""
    bound = min([upto, head(connection) - 1, *(cursor(connection, name) for name in consumers)])
    doomed = (
        sa.select(event_log.c.seq)
        .where(event_log.c.seq <= bound, event_log.c.time < older_than)
        .order_by(event_log.c.seq)
        .limit(limit)
    )
    return connection.execute(sa.delete(event_log).where(event_log.c.seq.in_(doomed.scalar_subquery()))).rowcount


Handler = Callable[[Connection, Event], None]
"""Reacts to one Event inside the transaction that moves the cursor. It may append further Events."""


BatchHandler = Callable[[Connection, Sequence[Event]], None]
"""As a Handler, for all the Events of a batch at once, oldest first. Never called with none."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A named reader of the log. ``types``: the event types it wants, or None for all. One that has a ``handle_batch``
    gets its Events through it instead of one by one."""

    name: str
    handle: Handler
    types: frozenset[str] | None = None
    handle_batch: BatchHandler | None = None


def consume(database: Database, consumer: Consumer, limit: int = 500) -> int:
    """Lets ``consumer`` take its next batch in one transaction; returns how many Events it passed."""
    with database.read() as connection:
        if head(connection) <= cursor(connection, consumer.name):
            return 0
    with database.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Of two processes that run the same consumer, the second must read the cursor after the first moved it.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"consume {consumer.name}"))))
        numbers, wanted = _wanted(connection, consumer, limit)
        if wanted and consumer.handle_batch is not None:
            consumer.handle_batch(connection, wanted)
        elif wanted:
            for event in wanted:
                consumer.handle(connection, event)
        if numbers:
            move_cursor(connection, consumer.name, numbers[-1])
    return len(numbers)


def _wanted(connection: Connection, consumer: Consumer, limit: int) -> tuple[list[int], list[Event]]:
    """The next numbers for a consumer, and those Events of them that it wants. What nobody wants is not read."""
    body: Any = event_log.c.body
    if consumer.types is not None:
        body = sa.case((event_log.c.type.in_(sorted(consumer.types)), event_log.c.body))
    rows = connection.execute(
        sa.select(event_log.c.seq, body)
        .where(event_log.c.seq > cursor(connection, consumer.name))
        .order_by(event_log.c.seq)
        .limit(limit)
    ).all()
    return [row[0] for row in rows], [_decode(row[1]) for row in rows if row[1] is not None]


def pass_over(database: Database, consumers: Sequence[Consumer], limit: int = 5000) -> set[str]:
    """Moves on those consumers for which there is nothing among the next Events, at most ``limit`` of them, all in one
    transaction: most Events concern few consumers, and a transaction for each of the others is a write to the disk for
    nothing. Returns the names of those that have something to take, or may have."""
    names = [consumer.name for consumer in consumers]
    with database.read() as connection:
        rows = connection.execute(sa.select(event_cursor).where(event_cursor.c.consumer.in_(names)))
        at = {row.consumer: int(row.seq) for row in rows}
        newest = head(connection)
        behind = [consumer for consumer in consumers if at.get(consumer.name, 0) < newest]
        begin = min((at.get(consumer.name, 0) for consumer in behind), default=newest)
        upto = min(newest, begin + limit)
        among = (event_log.c.seq > begin) & (event_log.c.seq <= upto)
        there = (
            set(connection.execute(sa.select(event_log.c.type).where(among).distinct()).scalars()) if behind else set()
        )
    idle = [
        consumer.name
        for consumer in behind
        if consumer.types is not None and not consumer.types & there and at.get(consumer.name, upto) < upto
    ]
    if idle:
        with database.begin() as connection:
            moved = event_cursor.c.consumer.in_(idle) & (event_cursor.c.seq >= begin) & (event_cursor.c.seq < upto)
            connection.execute(sa.update(event_cursor).where(moved).values(seq=upto))
    done = set(idle) if upto == newest else set()
    return {consumer.name for consumer in behind} - done


class Bell:
    """Wakes those who wait for news of the log inside this process. Ring it after the commit, from any thread.

    News from other processes is found by looking: a waiter looks at least every ``interval`` seconds by itself.
    """

    def __init__(self) -> None:
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.closed = False
        """Whether the process is about to end: whoever tells news for ever must come to an end."""

    def close(self) -> None:
        """Says so, to every waiter."""
        self.closed = True
        self.ring()

    def ring(self) -> None:
        """Wakes every waiter."""
        for loop, flag in list(self._waiters):
            if not loop.is_closed():
                loop.call_soon_threadsafe(flag.set)

    async def wait(self, flag: asyncio.Event, interval: float = 0.5) -> None:
        """Returns when the bell rang since ``flag`` was last cleared, or after ``interval`` seconds."""
        with suppress(TimeoutError):  # nobody rang; the waiter looks all the same
            async with asyncio.timeout(interval):
                await flag.wait()
        flag.clear()

    def attach(self) -> asyncio.Event:
        """A flag for one waiter of the running event loop; ``detach`` it when done."""
        flag = asyncio.Event()
        self._waiters.add((asyncio.get_running_loop(), flag))
        return flag

    def detach(self, flag: asyncio.Event) -> None:
        """Forgets a waiter."""
        self._waiters = {waiter for waiter in self._waiters if waiter[1] is not flag}
