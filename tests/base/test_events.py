"""The event log: nothing doubled, nothing skipped, effects exactly once."""

from __future__ import annotations

import asyncio
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.room import World
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event


def _event(world: World, kind: str = "call.completed") -> Event:
    return Event(id=new_id(), type=kind, time=world.clock(), workspace="default", actor="agent:a")


@pytest.mark.req("R080")
def test_an_event_told_twice_is_kept_once(world: World) -> None:
    one, two = _event(world), _event(world)
    with world.begin() as tx:
        assert events.append(tx, [one, two]) == 2
    with world.begin() as tx:
        assert events.append(tx, [two, one]) == 0
    with world.read() as connection:
        assert [logged.event for logged in events.read(connection, 0)] == [one, two]


def test_a_consumer_sees_each_event_once_and_only_its_types(world: World) -> None:
    seen: list[str] = []

    def handle(_connection: Connection, event: Event) -> None:
        seen.append(event.id)

    consumer = events.Consumer("test", handle, frozenset({"a.b"}))
    wanted, other = _event(world, "a.b"), _event(world, "c.d")
    with world.begin() as tx:
        events.append(tx, [wanted, other])
    assert events.consume(world.db, consumer) == 2
    assert events.consume(world.db, consumer) == 0
    assert seen == [wanted.id]


def _told(name: str, seen: list[str], *types: str) -> events.Consumer:
    return events.Consumer(name, lambda _connection, event: seen.append(f"{name} {event.type}"), frozenset(types))


def test_consumers_take_turns_in_one_transaction_wherever_each_of_them_is(world: World) -> None:
    seen: list[str] = []
    commits: list[Connection] = []
    committed = commits.append  # to listen with and to stop with
    idle, busy, new = _told("idle", seen, "a.b"), _told("busy", seen, "c.d"), _told("new", seen, "a.b", "e.f")
    with world.begin() as tx:
        events.append(tx, [_event(world, "e.f")])
    for one in (idle, busy):
        assert events.consume(world.db, one) == 1
    with world.begin() as tx:
        events.append(tx, [_event(world, "c.d"), _event(world, "e.f")])
    assert events.take_turn(world.db, [idle, busy, new], limit=1) == events.Turn(3, more=True, failed={})
    while events.take_turn(world.db, [idle, busy, new], limit=1).more:
        pass
    with world.read() as connection:
        assert [events.cursor(connection, name) for name in ("idle", "busy", "new")] == [3, 3, 3]
    assert sorted(seen) == ["busy c.d", "new e.f", "new e.f"]
    with world.begin() as tx:
        events.append(tx, [_event(world, "a.b"), _event(world, "c.d")])
    seen.clear()
    sa.event.listen(world.db.engine, "commit", committed)
    assert events.take_turn(world.db, [idle, busy, new]) == events.Turn(5, more=False, failed={})
    assert len(commits) == 1
    assert seen == ["idle a.b", "busy c.d", "new a.b"]
    assert not events.take_turn(world.db, [idle, busy, new]).more
    sa.event.remove(world.db.engine, "commit", committed)
    assert len(commits) == 1


def test_a_consumer_that_fails_in_a_turn_holds_up_no_other_and_repeats_no_effect_of_one(world: World) -> None:
    marks = sa.Table("test_mark", sa.MetaData(), sa.Column("of", sa.String(64)), sa.Column("id", sa.String(64)))
    marks.drop(world.db.engine, checkfirst=True)
    marks.create(world.db.engine)
    broken = True

    def marking(name: str) -> events.Consumer:
        def handle(connection: Connection, event: Event) -> None:
            connection.execute(sa.insert(marks).values(of=name, id=event.id))
            if broken and name == "bad":
                raise RuntimeError("power cut")

        return events.Consumer(name, handle)

    def marked() -> list[tuple[str, str]]:
        with world.read() as connection:
            return [(row.of, row.id) for row in connection.execute(sa.select(marks))]

    all_three = [marking("before"), marking("bad"), marking("after")]
    told = [_event(world), _event(world)]
    with world.begin() as tx:
        events.append(tx, told)
    turn = events.take_turn(world.db, all_three)
    assert [str(error) for error in turn.failed.values()] == ["power cut"]
    assert list(turn.failed) == ["bad"]
    assert marked() == [(name, one.id) for name in ("before", "after") for one in told]
    broken = False
    assert not events.take_turn(world.db, all_three).failed
    assert marked()[4:] == [("bad", one.id) for one in told]
    with world.read() as connection:
        assert events.passed(connection, ["before", "bad", "after"]) == 2
        assert events.passed(connection, ["before", "never"]) == 0
        assert events.passed(connection, []) == 2
    marks.drop(world.db.engine)


def test_what_is_new_is_named_by_its_types_unless_it_is_too_much(world: World) -> None:
    with world.begin() as tx:
        events.append(tx, [_event(world, kind) for kind in ("a.b", "c.d", "a.b")])
    with world.read() as connection:
        assert events.types_after(connection, 0, 4) == ({"a.b", "c.d"}, 3)
        assert events.types_after(connection, 2, 4) == ({"a.b"}, 3)
        assert events.types_after(connection, 3, 4) == (set(), 3)
        assert events.types_after(connection, 0, 3) is None


def test_a_consumer_that_fails_leaves_its_cursor_and_its_effects_behind(world: World) -> None:
    marks = sa.Table("test_mark", sa.MetaData(), sa.Column("id", sa.String(64), primary_key=True))
    marks.drop(world.db.engine, checkfirst=True)
    marks.create(world.db.engine)
    broken = True

    def handle(connection: Connection, event: Event) -> None:
        connection.execute(sa.insert(marks).values(id=event.id))
        if broken:
            raise RuntimeError("power cut")

    consumer = events.Consumer("marks", handle)
    event = _event(world)
    with world.begin() as tx:
        events.append(tx, [event])
    with pytest.raises(RuntimeError, match="power cut"):
        events.consume(world.db, consumer)
    with world.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(marks)).scalar_one() == 0
    broken = False
    assert events.consume(world.db, consumer) == 1
    with world.read() as connection:
        assert [row.id for row in connection.execute(sa.select(marks))] == [event.id]
    marks.drop(world.db.engine)


def test_many_writers_lose_nothing_and_numbers_become_visible_in_order(world: World) -> None:
    mine = [[_event(world) for _ in range(20)] for _ in range(4)]
    passed: list[str] = []
    consumer = events.Consumer("order", lambda _connection, event: passed.append(event.id))

    def write(batch: list[Event]) -> None:
        for event in batch:
            with world.begin() as tx:
                events.append(tx, [event])

    writers = [threading.Thread(target=write, args=(batch,)) for batch in mine]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        events.consume(world.db, consumer)
    while events.consume(world.db, consumer):
        pass
    assert sorted(passed) == sorted(event.id for batch in mine for event in batch)


@pytest.mark.parametrize("turns", range(6))
def test_a_waiter_that_is_cancelled_as_the_bell_rings_ends(turns: int) -> None:
    async def story() -> bool:
        bell = events.Bell()

        async def waits() -> None:
            flag = bell.attach()
            while True:
                await bell.wait(flag, 60)

        task = asyncio.create_task(waits())
        for _ in range(10):
            await asyncio.sleep(0)
        bell.ring()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        return task.cancelled()

    assert asyncio.run(story())
