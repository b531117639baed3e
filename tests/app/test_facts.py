"""How facts get into the Snapshot: none is passed over, whatever fails or comes in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from tenure.breaker import service as breaker
from tenure.breaker.model import Place, Scope, trip_id
from tenure.breaker.react import CONSUMER as BREAKER
from tenure.breaker.room import ROOM
from tenure.credentials import service as credentials
from tenure.identity import people
from tenure.identity import service as identity
from tenure.identity.model import verify
from tenure.kernel.errors import Failed
from tenure.kernel.ids import new_id
from tenure.kernel.values import PEOPLE, Actor, Event, LifecycleState, Principal, Role
from tenure.registry import service as registry
from tenure.revocation.model import Kind
from tenure.runtime import service as runtime
from tenure.runtime.lineage import Wish
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


def stands(publisher: Publisher) -> dict[str, bool]:
    """How breakers stand in the Snapshot."""
    found = {key: fact.tripped for key, fact in publisher.snapshot.breakers.items()}
    return found | {"clerk": publisher.snapshot.agents["default/clerk"].breaker.tripped}


@pytest.mark.req("R055")
@pytest.mark.parametrize(
    ("scope", "name", "key"), [(Scope.AGENT, "clerk", "clerk"), (Scope.WORKSPACE, "", "default/workspace/")]
)
def test_a_stop_is_a_fact_before_it_is_written_and_older_facts_do_not_take_it_back(  # noqa: PLR0917 (fixtures)
    watched: World, operator: Actor, monkeypatch: pytest.MonkeyPatch, scope: Scope, name: str, key: str
) -> None:
    publisher = Publisher(watched)
    publisher.refresh()
    seen: list[bool] = []
    older = publisher.build()
    with watched.begin() as tx:  # news, so that all facts are looked at anew
        events.append(tx, [replace(trip(watched), id=new_id(), type="agent.applied")])

    def hear() -> None:
        publisher.stop()
        seen.append(stands(publisher)[key])

    watched.alarm.attach(hear)
    writing = watched.db.begin

    @contextmanager
    def slow() -> Iterator[Any]:
        assert seen == [True], "the gateways hear of it before it is written"
        monkeypatch.setattr(publisher, "build", lambda: older)
        assert not publisher.refresh()
        assert stands(publisher)[key], "facts that were gathered before do not take it back"
        with writing() as connection:
            yield connection

    monkeypatch.setattr(watched.db, "begin", slow)
    breaker.stop(watched, operator, scope, name, "a drill")
    assert seen == [True, True]
    monkeypatch.setattr(watched.db, "begin", writing)
    breaker.reset(watched, operator, scope, name, "over")
    assert seen == [True, True, False]


def test_a_stop_that_cannot_be_written_is_taken_back_and_told(
    watched: World, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(watched)
    publisher.refresh()

    def hear() -> None:
        publisher.stop()

    watched.alarm.attach(hear)

    @contextmanager
    def broken() -> Iterator[Any]:
        assert tripped(publisher)
        raise Failed("database_unavailable", "The disk is full.", retry=True)
        yield

    monkeypatch.setattr(watched.db, "begin", broken)
    with pytest.raises(Failed, match="disk is full"):
        breaker.stop(watched, operator, Scope.AGENT, "clerk", "a drill")
    assert not tripped(publisher)


@pytest.mark.req("R009")
@pytest.mark.parametrize("kind", ["agent", "instance", "release", "key", "person", "workspace"])
def test_what_is_revoked_is_a_fact_before_it_is_written_and_older_facts_do_not_take_it_back(
    watched: World, operator: Actor, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    identity.bootstrap(watched)
    publisher = Publisher(watched)
    publisher.refresh()
    shown, subject = credential(watched, operator, kind)
    older = publisher.build()
    seen: list[bool] = []

    def hear() -> None:
        publisher.stop()
        seen.append(dead(publisher, shown))

    watched.alarm.attach(hear)
    watched.replicas.publisher = (publisher.publish, lambda: None)
    writing = watched.db.begin

    @contextmanager
    def slow() -> Iterator[Any]:
        monkeypatch.setattr(watched.db, "begin", writing)
        assert seen == [True], "the gateways hear of it before it is written"
        with monkeypatch.context() as patch:
            patch.setattr(publisher, "build", lambda: older)
            publisher.publish()
        assert dead(publisher, shown), "facts that were gathered before do not take it back"
        with writing() as connection:
            yield connection

    assert not dead(publisher, shown)
    monkeypatch.setattr(watched.db, "begin", slow)
    credentials.revoke(watched, operator, Kind(kind), subject, "a drill")
    assert seen == [True, True]
    publisher.publish()
    assert dead(publisher, shown)


@pytest.mark.parametrize("kind", ["agent", "instance", "key"])
def test_a_revocation_that_cannot_be_written_is_taken_back_and_told(
    watched: World, operator: Actor, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    identity.bootstrap(watched)
    publisher = Publisher(watched)
    publisher.refresh()
    shown, subject = credential(watched, operator, kind)
    watched.alarm.attach(lambda: told.append(publisher.stop()))
    told: list[bool] = []

    @contextmanager
    def broken() -> Iterator[Any]:
        assert dead(publisher, shown)
        raise Failed("database_unavailable", "The disk is full.", retry=True)
        yield

    monkeypatch.setattr(watched.db, "begin", broken)
    with pytest.raises(Failed, match="disk is full"):
        credentials.revoke(watched, operator, Kind(kind), subject, "a drill")
    assert told == [True, True]
    assert not dead(publisher, shown)


def credential(world: World, operator: Actor, kind: str) -> tuple[Principal, str]:
    """What is shown for an instance of the agent, and what names it for a revocation."""
    for to in ("approved", "created", "provisioned", "staging"):
        by = operator if to in ("approved", "staging") else Actor("default", "system:x", frozenset({Role.SYSTEM}))
        registry.transition(world, by, "clerk", LifecycleState(to), "a test needs it")
    email = identity.bootstrap(world).email
    started = runtime.start_instance(world, operator, "clerk", wish=Wish(on_behalf_of=email))
    with world.read() as connection:
        keys, issuer = identity.public_keys(connection), identity.issuer(world.config)
    shown = verify(started.token, keys, issuer, "tenure-gateway", world.clock().timestamp())
    subjects = {
        "agent": "clerk",
        "instance": shown.instance,
        "release": shown.release,
        "key": shown.key,
        "person": str(shown.on_behalf_of),
        "workspace": "default",
    }
    return shown, subjects[kind]


def dead(publisher: Publisher, shown: Principal) -> bool:
    """Whether a gateway with these facts refuses a credential."""
    facts = publisher.snapshot
    revoked = facts.revocations.get("default")
    epoch = facts.agents["default/clerk"].credential_epoch
    return epoch != shown.credential_epoch or bool(revoked and revoked.refuses(shown))


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
    config = Config(otlp_port=0, data_dir=tmp_path)

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
