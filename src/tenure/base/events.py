"""The event log: the spine that joins the rooms of the control plane.

Every Event, whether a verb of a service or a gateway made it, is appended here in one transaction and numbered.
Consumers (audit, breaker, approvals, traces) read on from a cursor of their own. One whose effects are in this database
moves its cursor in the same transaction, so it sees each Event exactly once; one whose effects are elsewhere keeps
its cursor there, for the same reason. Those that are equally far share a transaction (``take_turn``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
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

# Asked for at every turn: made once, since to make a statement costs as much as to ask it.
_HEAD = sa.select(sa.func.coalesce(sa.func.max(event_log.c.seq), 0))
_CURSORS = sa.select(event_cursor).where(event_cursor.c.consumer.in_(sa.bindparam("names", expanding=True)))
_NEXT = (
    sa.select(event_log.c.seq, event_log.c.body)
    .where(event_log.c.seq > sa.bindparam("after"))
    .order_by(event_log.c.seq)
    .limit(sa.bindparam("most"))
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
    before = head(connection)
    connection.execute(insert(connection, event_log).on_conflict_do_nothing(index_elements=["id"]), rows)
    return int(
        connection.execute(
            sa.select(sa.func.count()).select_from(event_log).where(event_log.c.seq > before)
        ).scalar_one()
    )


def read(connection: Connection, after: int, limit: int = 1000) -> list[Logged]:
    """Up to ``limit`` Events after number ``after``, oldest first."""
    rows = connection.execute(_NEXT, {"after": after, "most": limit})
    return [Logged(seq, _decode(body)) for seq, body in rows]


def types_after(connection: Connection, after: int, limit: int) -> tuple[set[str], int] | None:
    """The types of the Events after number ``after``, and the number of the last of them; None when there are
    ``limit`` of them or more."""
    some = (
        sa.select(event_log.c.seq, event_log.c.type)
        .where(event_log.c.seq > after)
        .order_by(event_log.c.seq)
        .limit(limit)
        .subquery()
    )
    rows = connection.execute(
        sa.select(some.c.type, sa.func.count(), sa.func.max(some.c.seq)).group_by(some.c.type)
    ).all()
    if sum(count for _, count, _ in rows) >= limit:
        return None
    return {kind for kind, _, _ in rows}, max((seq for _, _, seq in rows), default=after)


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
    return int(connection.execute(_HEAD).scalar_one())


def holds(connection: Connection, ident: str) -> bool:
    """Whether the log has an Event of this id."""
    return connection.execute(sa.select(event_log.c.seq).where(event_log.c.id == ident)).first() is not None


def cursor(connection: Connection, consumer: str) -> int:
    """How far ``consumer`` has come."""
    seq = connection.execute(sa.select(event_cursor.c.seq).where(event_cursor.c.consumer == consumer)).scalar()
    return int(seq or 0)


def _cursors(connection: Connection, consumers: Sequence[str]) -> dict[str, int]:
    """How far each of them has come that was ever moved."""
    return {name: int(seq) for name, seq in connection.execute(_CURSORS, {"names": list(consumers)})}


def passed(connection: Connection, consumers: Iterable[str]) -> int:
    """How far the last of ``consumers`` has come; ``head`` when there are none."""
    names = sorted(consumers)
    if not names:
        return head(connection)
    found = _cursors(connection, names)
    return min(found.get(name, 0) for name in names)


def move_cursor(connection: Connection, consumer: str, seq: int) -> None:
    """Remembers how far ``consumer`` has come, in the caller's transaction."""
    _move(connection, [consumer], seq)


def _move(connection: Connection, consumers: Sequence[str], seq: int, known: Container[str] = ()) -> None:
    """Remembers that all of ``consumers`` have come so far; ``known`` are those that were moved before."""
    if old := sorted(name for name in consumers if name in known):
        connection.execute(sa.update(event_cursor).where(event_cursor.c.consumer.in_(old)).values(seq=seq))
    if new := [{"consumer": name, "seq": seq} for name in consumers if name not in known]:
        fresh = insert(connection, event_cursor)
        moved = fresh.on_conflict_do_update(index_elements=["consumer"], set_={"seq": fresh.excluded.seq})
        connection.execute(moved, new)


def oldest(connection: Connection) -> int:
    """The number of the oldest Event that is still in the log, 0 for an empty log."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.min(event_log.c.seq), 0))).scalar_one())


def prune(connection: Connection, consumers: Iterable[str], upto: int, older_than: datetime, limit: int = 5000) -> int:
    """Deletes up to ``limit`` Events that began before ``older_than`` and that every reader has passed: each of
    ``consumers`` (by its cursor here; one that never read has passed nothing) and those that speak for themselves by
    ``upto``. Returns how many. The newest Event always stays, so that ``head`` never goes back."""
    doomed = _doomed(connection, consumers, upto, older_than).limit(limit)
    return connection.execute(sa.delete(event_log).where(event_log.c.seq.in_(doomed.scalar_subquery()))).rowcount


def prunable(connection: Connection, consumers: Iterable[str], upto: int, older_than: datetime) -> bool:
    """Whether ``prune`` would delete any."""
    return connection.execute(_doomed(connection, consumers, upto, older_than).limit(1)).first() is not None


def _doomed(connection: Connection, consumers: Iterable[str], upto: int, older_than: datetime) -> sa.Select[int]:
    bound = min(upto, head(connection) - 1, passed(connection, consumers))
    return (
        sa.select(event_log.c.seq)
        .where(event_log.c.seq <= bound, event_log.c.time < older_than)
        .order_by(event_log.c.seq)
    )


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
        begin = cursor(connection, consumer.name)
        batch = _batch(connection, [consumer], begin, head(connection), limit)
    return len(batch) if batch and _together(database, [consumer], begin, batch) else 0


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a turn of all consumers. ``upto``: the number up to which the log was looked at; ``more``: somebody
    has Events up to there still before them; ``failed``: what ailed which of them, by name."""

    upto: int
    more: bool
    failed: Mapping[str, Exception]


def take_turn(database: Database, consumers: Sequence[Consumer], limit: int = 250) -> Turn:
    """Lets every consumer take its next batch. Those that are equally far, which are all as a rule, take the same one:
    it is read once, and their effects and their cursors are one transaction, since a transaction for each of them is a
    write to the disk for each. When one of them fails nothing of it is kept, and each takes the batch by itself: the
    one that fails stays where it is and holds up no other."""
    with database.read() as connection:
        upto, at = head(connection), _cursors(connection, [consumer.name for consumer in consumers])
        places: dict[int, list[Consumer]] = {}
        for consumer in consumers:
            places.setdefault(at.get(consumer.name, 0), []).append(consumer)
        behind = {begin: group for begin, group in places.items() if begin < upto}
        batches = {begin: _batch(connection, group, begin, upto, limit) for begin, group in behind.items()}
    failed: dict[str, Exception] = {}
    for begin, group in behind.items():
        try:
            _together(database, group, begin, batches[begin])
        except Exception as error:  # noqa: BLE001 (whatever ails one consumer, the others go on)
            if len(group) == 1:
                failed[group[0].name] = error
            else:
                failed |= _one_by_one(database, group, begin, batches[begin])
    return Turn(upto, any(batch and batch[-1].seq < upto for batch in batches.values()), failed)


def _one_by_one(
    database: Database, consumers: Sequence[Consumer], begin: int, batch: Sequence[_News]
) -> dict[str, Exception]:
    failed: dict[str, Exception] = {}
    for consumer in consumers:
        try:
            _together(database, [consumer], begin, batch)
        except Exception as error:  # noqa: BLE001 (as above)
            failed[consumer.name] = error
    return failed


@dataclass(frozen=True, slots=True)
class _News:
    seq: int
    type: str
    event: Event | None
    """None where nobody wants it: then it is not read."""


def _batch(connection: Connection, consumers: Sequence[Consumer], begin: int, upto: int, limit: int) -> list[_News]:
    """The next Events after ``begin`` for consumers that are there."""
    body: Any = event_log.c.body
    types = [consumer.types for consumer in consumers]
    if None not in types:
        body = sa.case((event_log.c.type.in_(sorted(frozenset().union(*(one for one in types if one)))), body))
    rows = connection.execute(
        sa.select(event_log.c.seq, event_log.c.type, body)
        .where(event_log.c.seq > begin, event_log.c.seq <= upto)
        .order_by(event_log.c.seq)
        .limit(limit)
    )
    return [_News(seq, kind, None if text is None else _decode(text)) for seq, kind, text in rows]


def _together(database: Database, consumers: Sequence[Consumer], begin: int, batch: Sequence[_News]) -> bool:
    """Lets consumers take a batch and moves them on, in one transaction; whoever is not at ``begin`` any more, since
    another process took it, is left alone. Says whether anybody took it."""
    with database.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Of two processes that run the same consumer, the second must read the cursor after the first moved it.
            for name in sorted(consumer.name for consumer in consumers):
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"consume {name}"))))
        at = _cursors(connection, [consumer.name for consumer in consumers])
        there = [consumer for consumer in consumers if at.get(consumer.name, 0) == begin]
        for consumer in there:
            types = consumer.types
            wanted = [one.event for one in batch if one.event is not None and (types is None or one.type in types)]
            if wanted and consumer.handle_batch is not None:
                consumer.handle_batch(connection, wanted)
            elif wanted:
                for event in wanted:
                    consumer.handle(connection, event)
        _move(connection, [consumer.name for consumer in there], batch[-1].seq, known=at)
    return bool(there)


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

    async def wait(self, flag: asyncio.Event, interval: float = 0.5) -> bool:
        """Returns when the bell rang since ``flag`` was last cleared (True), or after ``interval`` seconds (False)."""
        with suppress(TimeoutError):  # nobody rang; the waiter looks all the same
            async with asyncio.timeout(interval):
                await flag.wait()
        rang = flag.is_set()
        flag.clear()
        return rang

    def attach(self) -> asyncio.Event:
        """A flag for one waiter of the running event loop; ``detach`` it when done."""
        flag = asyncio.Event()
        self._waiters.add((asyncio.get_running_loop(), flag))
        return flag

    def detach(self, flag: asyncio.Event) -> None:
        """Forgets a waiter."""
        self._waiters = {waiter for waiter in self._waiters if waiter[1] is not flag}
