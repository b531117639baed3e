"""What has nothing to do is left alone, and nothing that comes up meanwhile is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy.engine import Connection

from tenure.app.lookout import Lookout
from tenure.app.server import create_app
from tenure.app.wiring import ROOMS
from tenure.base import durable, events
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.room import Flow, World
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event
from tenure.registry import service as registry
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest


class Asked:
    """A Flow that counts how often it is asked and steps, and has something to do from ``due`` on."""

    def __init__(self, due: datetime | None = None) -> None:
        self.due = due
        self.asked = self.stepped = self.outside = 0
        self.flow = Flow("asked", self._find, self._step, every=0.0, glance=lambda: self.outside)

    def _find(self, _connection: Connection, now: datetime) -> Sequence[str]:
        self.asked += 1
        return ["it"] if self.due is not None and now >= self.due else []

    def _step(self, _world: World, _key: str) -> bool:
        self.stepped += 1
        return False


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


def test_what_looks_at_more_than_the_database_is_asked_again_when_that_has_changed(world: World) -> None:
    one = Asked()

    async def look() -> None:
        lookout = Lookout(world, [one.flow], "here")
        await lookout.look()
        for outside, again in ((0, False), (1, True), (1, False)):
            before, one.outside = one.asked, outside
            await lookout.look()
            assert (one.asked > before) is again

    asyncio.run(look())


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


def test_an_installation_with_nothing_to_do_writes_nothing(tmp_path: Path, operator: Actor) -> None:
    often = [flow for room in ROOMS for flow in room.flows if flow.every < 600]

    def quiet(world: World) -> bool:
        before = world.db.version()
        for flow in often:
            while durable.run_due(world, flow, "here"):
                pass
        return world.db.version() == before

    async def come_to_rest() -> None:
        app = create_app(Config(otlp_port=0, data_dir=tmp_path))
        async with app.router.lifespan_context(app):
            registry.apply(app.state.world, operator, manifest("clerk", "http://127.0.0.1:1/v1"))
            async with asyncio.timeout(60):
                while not await asyncio.to_thread(quiet, app.state.world):  # noqa: ASYNC110 (nobody tells that all is done)
                    await asyncio.sleep(0.1)

    asyncio.run(come_to_rest())
