"""How facts get into the Snapshot: none is passed over, whatever fails or comes in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.app.engine import Engine
from tenure.app.publish import Publisher
from tenure.app.server import create_app
from tenure.approvals.room import ROOM as APPROVALS
from tenure.base import events
from tenure.base.config import Config
from tenure.base.events import Consumer
from tenure.base.room import Room, World
from tenure.breaker.model import Place, Scope, trip_id
from tenure.breaker.react import CONSUMER as BREAKER
from tenure.breaker.room import ROOM
from tenure.identity import people
from tenure.identity import service as identity
from tenure.kernel.ids import new_id
from tenure.kernel.values import PEOPLE, Actor, Event
from tenure.registry import service as registry
from tests.sim.manifests import manifest


@pytest.fixture
def watched(world: World, operator: Actor) -> World:
    """A world with one agent, whose breaker is read from the log."""
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1"))
    return replace(world, consumers=frozenset({"breaker"}))


def trip(world: World) -> Event:
    return Event(
        id=trip_id(Place("default", Scope.AGENT, "clerk"), 0),
        type="breaker.tripped",
        time=world.clock(),
        workspace="default",
        actor="system:gateway",
        agent="clerk",
        data={"scope": "agent", "name": "clerk", "epoch": 0, "reason": "1 violation within 1 s"},
    )


def tell(world: World) -> None:
    """As a gateway does."""
    with world.begin() as tx:
        events.append(tx, [trip(world)])


def tripped(publisher: Publisher) -> bool:
    return publisher.snapshot.agents["default/clerk"].breaker.tripped


@pytest.mark.req("R055")
def test_a_trip_that_arrives_between_its_reader_and_the_snapshot_is_not_passed_over(watched: World) -> None:
    publisher = Publisher(watched)
    publisher.refresh()
    while events.consume(watched.db, BREAKER):
        pass
    tell(watched)
    publisher.refresh()
    while events.consume(watched.db, BREAKER):
        pass
    assert publisher.refresh()
    assert tripped(publisher)


def test_news_is_not_lost_when_the_facts_cannot_be_read(watched: World) -> None:
    publisher = Publisher(watched)
    engine = Engine(watched, (ROOM,), publisher)
    engine.settle()
    tell(watched)
    while events.consume(watched.db, BREAKER):
        pass
    rename = sa.text("ALTER TABLE approval RENAME TO approval_away")
    back = sa.text("ALTER TABLE approval_away RENAME TO approval")
    with watched.db.engine.begin() as connection:
        connection.execute(rename)
    try:
        with pytest.raises(Exception, match="approval"):
            engine.settle()
    finally:
        with watched.db.engine.begin() as connection:
            connection.execute(back)
    assert engine.settle()
    assert tripped(publisher)


def test_a_consumer_that_fails_holds_up_neither_the_others_nor_the_facts(watched: World) -> None:
    def fail(_connection: Connection, _event: Event) -> None:
        raise ValueError("a bug")

    sick = Consumer("sick", fail)
    world = replace(watched, consumers=frozenset({"sick", "breaker"}))
    publisher = Publisher(world)
    engine = Engine(world, (Room("sick", consumers=(sick,)), APPROVALS, ROOM), publisher)
    engine.settle()
    tell(world)
    engine.settle()
    assert tripped(publisher)


def test_a_consumer_that_never_comes_to_an_end_does_not_hold_up_the_facts(watched: World) -> None:
    def breed(connection: Connection, event: Event) -> None:
        events.append(connection, [replace(event, id=new_id(), type="call.completed")])

    busy = Consumer("busy", breed)
    world = replace(watched, consumers=frozenset({"busy", "breaker"}))
    publisher = Publisher(world)
    engine = Engine(world, (Room("busy", consumers=(busy,)), ROOM), publisher)
    engine.settle()
    tell(world)
    while not tripped(publisher):
        engine.settle()


@pytest.mark.req("R055")
def test_the_first_snapshot_knows_what_was_told_before_a_crash(tmp_path: Path, operator: Actor) -> None:
    config = Config(data_dir=tmp_path)

    async def before() -> None:
        app = create_app(config)
        async with app.router.lifespan_context(app):
            registry.apply(app.state.world, operator, manifest("clerk", "http://127.0.0.1:1/v1"))
        tell(app.state.world)

    async def after() -> bool:
        app = create_app(config)
        async with app.router.lifespan_context(app):
            return tripped(app.state.publisher)

    asyncio.run(before())
    assert asyncio.run(after())


@pytest.mark.req("R043")
def test_what_limits_a_person_is_a_fact_of_the_next_snapshot(world: World) -> None:
    boss = Actor("default", f"person:{identity.bootstrap(world).email}", PEOPLE)
    people.add_person(world, boss, "ann@example.com", ["viewer"])
    publisher = Publisher(replace(world, consumers=frozenset()))
    publisher.refresh()
    assert publisher.snapshot.people == {}
    people.limit_person(world, boss, "ann@example.com", ["tool:crm/*"])
    assert publisher.refresh()
    assert publisher.snapshot.people["default/ann@example.com"].scopes == ("tool:crm/*",)
    people.remove_person(world, boss, "ann@example.com")
    assert publisher.refresh()
    assert publisher.snapshot.people["default/ann@example.com"].gone
