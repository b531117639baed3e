"""What has nothing to do is left alone, and nothing that comes up meanwhile is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.engine import Connection

from tenure.app.lookout import Lookout
from tenure.base import events
from tenure.base.db import Database
from tenure.base.room import Flow, World
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event
from tests.sim.clock import FakeClock


class Asked:
    """A Flow that counts how often it is asked and steps, and has something to do from ``due`` on."""

    def __init__(self, due: datetime | None = None, *, outward: bool = False) -> None:
        self.due = due
        self.asked = self.stepped = 0
        self.flow = Flow("asked", self._find, self._step, every=0.0, outward=outward)

    def _find(self, _connection: Connection, now: datetime) -> Sequence[str]:
        self.asked += 1
        return ["it"] if self.due is not None and now >= self.due else []

    def _step(self, _world: World, _key: str) -> bool:
        self.stepped += 1
        return False

    def at(self, world: World, looks: int) -> int:
        """How often it was asked in so many looks of a lookout that has just begun, after the first of them."""

        async def count() -> int:
            lookout = Lookout(world, [self.flow], "here")
            await lookout.look()
            before = self.asked
            for _ in range(looks):
                await lookout.look()
            return self.asked - before

        return asyncio.run(count())


def _write(world: World) -> None:
    event = Event(id=new_id(), type="call.completed", time=world.clock(), workspace="default", actor="agent:a")
    another = Database(world.db.engine.url.render_as_string(hide_password=False))
    try:
        with another.begin() as connection:
            events.append(connection, [event])
    finally:
        another.close()


def test_the_version_of_a_database_stays_while_it_is_read_and_changes_when_anybody_writes(world: World) -> None:
    before = world.db.version()
    with world.read() as connection:
        events.head(connection)
    assert world.db.version() == before
    _write(world)
    written = world.db.version()
    assert written != before
    with world.begin() as connection:
        events.move_cursor(connection, "somebody", 1)
    assert world.db.version() != written


def test_what_has_nothing_to_do_is_not_asked_again_until_somebody_writes_or_its_time_may_have_come(
    world: World, clock: FakeClock
) -> None:
    one = Asked()

    async def look() -> None:
        lookout = Lookout(world, [one.flow], "here")
        await lookout.look()
        for happens in (partial(_write, world), partial(clock.advance, 31)):
            before = one.asked
            await lookout.look()
            assert one.asked == before
            happens()
            await lookout.look()
            assert one.asked > before

    asyncio.run(look())


def test_what_will_be_due_soon_is_asked_every_time_and_done_when_it_is_due(world: World, clock: FakeClock) -> None:
    soon = Asked(clock() + timedelta(seconds=20))

    async def look() -> None:
        lookout = Lookout(world, [soon.flow], "here")
        await lookout.look()
        before = soon.asked
        await lookout.look()
        assert soon.asked > before
        clock.advance(20)
        while not soon.stepped:
            await lookout.look()

    asyncio.run(look())


def test_what_looks_at_more_than_the_database_is_asked_every_time(world: World) -> None:
    assert Asked(outward=True).at(world, 3) == 3
    assert Asked().at(world, 3) == 0


def test_what_another_process_wrote_rings_the_bell_here(world: World) -> None:
    async def hear() -> None:
        lookout = Lookout(world, [], "here")
        await lookout.look()
        flag = world.bell.attach()
        _write(world)
        await lookout.look()
        assert await world.bell.wait(flag, 0)
        world.bell.detach(flag)

    asyncio.run(hear())
