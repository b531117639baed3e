"""The chain in a real database: exactly one entry an Event, nothing can be changed, and who changes something all the
same, past the triggers, is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from tenure.audit import react, service, store
from tenure.audit.model import Entry, Verdict, entry_hash
from tenure.base import events
from tenure.base.db import Database, metadata
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.values import Event
from tests.sim.clock import FakeClock

TYPES = ("call.completed", "agent.transitioned", "approval.granted", "breaker.reset", "otlp.span")
TABLE = store.entry_table


def _event(number: int, kind: str = "") -> Event:
    kind = kind or TYPES[number % 4]
    data = {"from": "staging", "to": "production", "reason": "because", "tenure.call.id": f"c{number}", "epoch": number}
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return Event(stable_id("e", str(number)), kind, when, "default", "person:op@example.com", agent="clerk", data=data)


def _record(world: World, first: int, count: int) -> None:
    with world.begin() as conn:
        events.append(conn, [_event(number) for number in range(first, first + count)])
    while events.consume(world.db, react.CONSUMER):
        pass


def _kinds(verdict: Verdict) -> set[str]:
    return {problem.kind for problem in verdict.problems}


def _entries(world: World) -> list[Entry]:
    with world.read() as conn:
        return service.entries(conn, None, 0, 10_000)


def _pinned(world: World, clock: FakeClock, count: int = 12) -> None:
    service.pin(world)
    _record(world, 0, count)
    clock.advance(1)
    assert service.pin(world) == count


def _disarm(database: Database) -> None:
    """What somebody with full access to the database would do first."""
    with database.engine.begin() as conn:
        if database.is_sqlite:
            for name in ("no_update", "no_delete", "no_replace"):
                conn.exec_driver_sql(f"DROP TRIGGER audit_entry_{name}")
        else:
            conn.exec_driver_sql("ALTER TABLE audit_entry DISABLE TRIGGER ALL")


@pytest.fixture
def attacked(database: Database) -> Any:
    """The database of an attacker. PostgreSQL is shared by the tests, so its triggers come back."""
    _disarm(database)
    yield database
    if not database.is_sqlite:
        with database.engine.begin() as conn:
            conn.exec_driver_sql("ALTER TABLE audit_entry ENABLE TRIGGER ALL")


@pytest.mark.req("R005", "R169", "R173")
def test_every_event_of_its_kind_leaves_exactly_one_entry(world: World) -> None:
    _record(world, 0, 8)
    with world.begin() as conn:
        events.append(conn, [_event(90, "otlp.span"), _event(91, "import.call"), *(_event(n) for n in range(4))])
    while events.consume(world.db, react.CONSUMER):
        pass
    found = _entries(world)
    assert [entry.event for entry in found] == [_event(number).id for number in range(8)]
    assert [entry.seq for entry in found] == list(range(1, 9))
    transition = found[1]
    assert (transition.type, transition.actor, transition.agent) == (
        "agent.transitioned",
        "person:op@example.com",
        "clerk",
    )
    assert transition.facts == '{"from":"staging","to":"production"}'
    assert transition.time == _event(1).time
    assert service.verify(world).ok


def test_a_crash_between_entry_and_cursor_leaves_neither(world: World) -> None:
    def dies(conn: Connection, batch: Any) -> None:
        service.append(conn, batch)
        raise RuntimeError("power cut")

    with world.begin() as conn:
        events.append(conn, [_event(0), _event(1)])
    with pytest.raises(RuntimeError):
        events.consume(world.db, replace(react.CONSUMER, handle_batch=dies))
    assert _entries(world) == []
    assert events.consume(world.db, react.CONSUMER) == 2
    assert events.consume(world.db, react.CONSUMER) == 0
    assert len(_entries(world)) == 2


def test_one_by_one_and_batched_give_the_same_chain(world: World, tmp_path: Path) -> None:
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    metadata.create_all(other.engine)
    with other.begin() as conn:
        for number in range(9):
            react.CONSUMER.handle(conn, _event(number))
    _record(world, 0, 9)
    with other.read() as conn:
        assert service.entries(conn, None, 0, 100) == _entries(world)
    other.close()


@pytest.mark.req("R005")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET actor = 'person:nobody@example.com' WHERE seq = 2",
        "UPDATE audit_entry SET hash = hash",
        "DELETE FROM audit_entry WHERE seq = 3",
        "DELETE FROM audit_entry",
        "INSERT OR REPLACE INTO audit_entry SELECT * FROM audit_entry WHERE seq = 2",
        "TRUNCATE audit_entry",
    ],
)
def test_the_database_refuses_to_change_an_entry(world: World, database: Database, statement: str) -> None:
    if database.is_sqlite == ("TRUNCATE" in statement) or (not database.is_sqlite and "OR REPLACE" in statement):
        pytest.skip("not a statement of this database")
    _record(world, 0, 4)
    before = _entries(world)
    with pytest.raises(sa.exc.DBAPIError, match="audit entries"), database.engine.begin() as conn:
        conn.exec_driver_sql(statement)
    assert _entries(world) == before


# -- attacks on a pinned chain --------------------------------------------------------------------------------------


def _edit(column: str, value: Any, seq: int) -> Callable[[Connection], None]:
    return lambda conn: _run(conn, sa.update(TABLE).where(TABLE.c.seq == seq).values({column: value}))


def _run(conn: Connection, statement: Any) -> None:
    conn.execute(statement)


def _rows(conn: Connection) -> list[Entry]:
    return store.read(conn, 0, 10_000)


def _put(conn: Connection, entries: list[Entry]) -> None:
    conn.execute(sa.delete(TABLE))
    if entries:
        store.add(conn, entries)


def _rehashed(entries: list[Entry], start: int) -> list[Entry]:
    """The chain made consistent again from index ``start`` on, as an attacker who knows the code would."""
    out = list(entries)
    for index in range(start, len(out)):
        prev = out[index - 1].hash if index else "0" * 64
        draft = replace(out[index], seq=index + 1, prev=prev)
        out[index] = replace(draft, hash=entry_hash(draft))
    return out


def _swap(conn: Connection, a: int, b: int) -> None:
    rows = _rows(conn)
    first, second = rows[a - 1], rows[b - 1]
    rows[a - 1], rows[b - 1] = replace(second, seq=a), replace(first, seq=b)
    _put(conn, rows)


def _insert(conn: Connection, at: int) -> None:
    rows = _rows(conn)
    forged = replace(rows[at - 1], actor="person:forger@example.com", event="forged")
    rows.insert(at - 1, replace(forged, hash=entry_hash(forged)))
    _put(conn, [replace(row, seq=index + 1) for index, row in enumerate(rows)])


def _rewrite(conn: Connection, at: int) -> None:
    rows = _rows(conn)
    rows[at - 1] = replace(rows[at - 1], actor="person:forger@example.com")
    _put(conn, _rehashed(rows, at - 1))


def _delete_and_close_the_gap(conn: Connection, at: int) -> None:
    rows = _rows(conn)
    del rows[at - 1]
    _put(conn, _rehashed(rows, at - 1))


ATTACKS: dict[str, tuple[Callable[[Connection], None], int, str]] = {
    "edited": (_edit("actor", "person:forger@example.com", 5), 5, "edited"),
    "edited with its own hash": (
        lambda conn: _edit_with_hash(conn, 5),
        6,
        "broken_link",
    ),
    "deleted": (lambda conn: _run(conn, sa.delete(TABLE).where(TABLE.c.seq == 5)), 5, "missing"),
    "first deleted": (lambda conn: _run(conn, sa.delete(TABLE).where(TABLE.c.seq == 1)), 1, "missing"),
    "three deleted": (lambda conn: _run(conn, sa.delete(TABLE).where(TABLE.c.seq.between(4, 6))), 4, "missing"),
    "swapped": (lambda conn: _swap(conn, 3, 8), 3, "reordered"),
    "inserted": (lambda conn: _insert(conn, 5), 6, "reordered"),
    "last one cut off": (lambda conn: _run(conn, sa.delete(TABLE).where(TABLE.c.seq == 12)), 12, "cut_off"),
    "cut off": (lambda conn: _run(conn, sa.delete(TABLE).where(TABLE.c.seq > 4)), 5, "cut_off"),
    "all gone": (lambda conn: _run(conn, sa.delete(TABLE)), 1, "cut_off"),
    "rewritten from 5 on": (lambda conn: _rewrite(conn, 5), 12, "rewritten"),
    "rewritten from 1 on": (lambda conn: _rewrite(conn, 1), 12, "rewritten"),
    "last one rewritten": (lambda conn: _rewrite(conn, 12), 12, "rewritten"),
    "taken out, the rest rewritten": (lambda conn: _delete_and_close_the_gap(conn, 5), 12, "cut_off"),
}


REACHES_THE_CHECKPOINT = {
    "inserted",
    *(name for name, attack in ATTACKS.items() if attack[2] in {"cut_off", "rewritten"}),
}


def _edit_with_hash(conn: Connection, seq: int) -> None:
    row = replace(_rows(conn)[seq - 1], facts='{"to":"retired"}')
    _run(conn, sa.update(TABLE).where(TABLE.c.seq == seq).values(facts=row.facts, hash=entry_hash(row)))


@pytest.mark.req("R005", "R169")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_found_and_named(world: World, clock: FakeClock, attacked: Database, name: str) -> None:
    attack, seq, kind = ATTACKS[name]
    _pinned(world, clock)
    assert service.verify(world).ok
    with attacked.begin() as conn:
        attack(conn)
    verdict = service.verify(world)
    assert not verdict.ok
    assert (verdict.problems[0].seq, verdict.problems[0].kind) == (seq, kind), verdict.problems
    if name == "inserted":
        assert len(verdict.problems) == 2, "what was moved by one is told once, and the checkpoint"
    if name == "swapped":
        assert "written as entry 8" in verdict.problems[0].message


@pytest.mark.parametrize("name", ATTACKS)
def test_a_tampered_chain_is_never_signed_for_even_when_it_grows(
    world: World, clock: FakeClock, attacked: Database, name: str
) -> None:
    _pinned(world, clock)
    file = world.config.data_dir / "audit" / "checkpoint"
    before = file.read_bytes()
    with attacked.begin() as conn:
        ATTACKS[name][0](conn)
    _record(world, 12, 20)
    clock.advance(5)
    if name in REACHES_THE_CHECKPOINT:
        with pytest.raises(Failed) as failed:
            service.pin(world)
        assert failed.value.code == "audit_broken"
        assert file.read_bytes() == before
    else:
        service.pin(world)  # what lies before the last checkpoint is for verify, which reads all of it
    assert not service.verify(world).ok


def test_odd_values_in_an_embedded_database_are_found(world: World, clock: FakeClock, attacked: Database) -> None:
    if not attacked.is_sqlite:
        pytest.skip("PostgreSQL keeps to the types of its columns")
    _pinned(world, clock)
    for column, value in (("time_us", "soon"), ("facts", b"\xff\x00"), ("prev", 7), ("hash", b"x"), ("actor", 1e999)):
        raw: Any = sa.column(column)
        table = sa.table("audit_entry", raw, sa.column("seq"))
        with attacked.begin() as conn:
            kept = conn.execute(sa.select(raw).select_from(table).where(table.c.seq == 4)).scalar_one()
            conn.execute(sa.update(table).where(table.c.seq == 4).values({column: value}))
        assert not service.verify(world).ok, column
        with attacked.begin() as conn:
            conn.execute(sa.update(table).where(table.c.seq == 4).values({column: kept}))
    assert service.verify(world).ok


# -- any single mutation, on a real database ------------------------------------------------------------------------

SIZE = 10
_TEXTS = ("workspace", "event", "type", "actor", "agent", "digest", "facts", "prev", "hash")
mutations = st.one_of(
    st.tuples(st.just("edit"), st.integers(1, SIZE), st.sampled_from(_TEXTS), st.text(max_size=20)),
    st.tuples(st.just("edit"), st.integers(1, SIZE), st.just("time_us"), st.integers(0, 2**60)),
    st.tuples(st.just("delete"), st.integers(1, SIZE), st.just(""), st.just("")),
    st.tuples(st.just("swap"), st.integers(1, SIZE), st.integers(1, SIZE), st.just("")),
    st.tuples(st.just("insert"), st.integers(1, SIZE), st.just(""), st.just("")),
    st.tuples(st.just("truncate"), st.integers(0, SIZE - 1), st.just(""), st.just("")),
    st.tuples(st.just("rewrite"), st.integers(1, SIZE), st.just(""), st.just("")),
    st.tuples(st.just("close"), st.integers(1, SIZE), st.just(""), st.just("")),
)


def _mutate(conn: Connection, what: str, seq: int, where: Any, value: Any) -> None:
    if what == "edit":
        _run(conn, sa.update(TABLE).where(TABLE.c.seq == seq).values({where: value}))
    elif what == "delete":
        _run(conn, sa.delete(TABLE).where(TABLE.c.seq == seq))
    elif what == "swap":
        _swap(conn, seq, where)
    elif what == "insert":
        _insert(conn, seq)
    elif what == "truncate":
        _run(conn, sa.delete(TABLE).where(TABLE.c.seq > seq))
    elif what == "rewrite":
        _rewrite(conn, seq)
    else:
        _delete_and_close_the_gap(conn, seq)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutation=mutations, grown=st.integers(0, 3))
def test_any_single_mutation_is_found(
    world: World, clock: FakeClock, attacked: Database, mutation: tuple[str, int, Any, Any], grown: int
) -> None:
    if not _entries(world):
        _pinned(world, clock, SIZE)
    good = _entries(world)[:SIZE]
    if grown:
        with attacked.begin() as conn:
            service.append(conn, [_event(100 + number) for number in range(grown)])
    assert service.verify(world).ok, "a chain that has grown since its checkpoint is fine"
    before = _entries(world)
    value = mutation[3].replace("\x00", "") if isinstance(mutation[3], str) else mutation[3]
    with attacked.begin() as conn:
        _mutate(conn, mutation[0], mutation[1], mutation[2], value)
    changed = _entries(world) != before
    verdict = service.verify(world)
    with attacked.begin() as conn:
        _put(conn, good)
    assert verdict.ok is not changed, (mutation, verdict)


# -- the checkpoint -------------------------------------------------------------------------------------------------


def test_a_checkpoint_follows_the_chain_once_a_second(world: World, clock: FakeClock) -> None:
    with pytest.raises(Refused) as refused:
        service.checkpoint(world)
    assert refused.value.code == "no_checkpoint"
    assert service.pin(world) == 0
    assert service.checkpoint(world).checkpoint.size == 0
    _record(world, 0, 3)
    clock.advance(0.9)
    assert service.pin(world) == 0, "not yet"
    assert service.verify(world).ok, "it may lag behind"
    clock.advance(0.1)
    assert service.pin(world) == 3
    clock.advance(1)
    assert service.pin(world) == 0
    pinned = service.checkpoint(world)
    assert pinned.checkpoint == service.verify(world).checkpoint
    assert (pinned.checkpoint.size, pinned.checkpoint.head) == (3, _entries(world)[-1].hash)
    assert "d" not in pinned.public_key
    for path in ("keys/audit.json", "audit/checkpoint"):
        assert (world.config.data_dir / path).stat().st_mode & 0o777 == 0o600


def test_a_clock_that_was_turned_back_does_not_stop_it(world: World, clock: FakeClock) -> None:
    _pinned(world, clock)
    clock.advance(-3600)
    _record(world, 12, 1)
    assert service.pin(world) == 1


def test_a_lost_or_forged_checkpoint_is_told(world: World, clock: FakeClock) -> None:
    _pinned(world, clock)
    file = world.config.data_dir / "audit" / "checkpoint"
    good = file.read_bytes()
    for data, kind in ((None, "checkpoint_missing"), (good.replace(b"12", b"11", 1), "checkpoint_forged")):
        file.unlink() if data is None else file.write_bytes(data)
        verdict = service.verify(world)
        assert (verdict.ok, _kinds(verdict)) == (False, {kind})
        with pytest.raises(Failed):
            service.pin(world)
        with pytest.raises(Refused) as refused:
            service.checkpoint(world)
        assert refused.value.code == kind
    file.write_bytes(good)
    assert service.verify(world).ok


def test_a_checkpoint_of_another_installation_is_none_of_ours(world: World, clock: FakeClock, tmp_path: Path) -> None:
    _pinned(world, clock)
    other = replace(world, config=replace(world.config, data_dir=tmp_path / "second"))
    assert service.pin(other) == 12, "a second control plane on the same database pins the same chain for itself"
    assert service.verify(other).ok
    file = world.config.data_dir / "audit" / "checkpoint"
    file.write_bytes((tmp_path / "second" / "audit" / "checkpoint").read_bytes())
    assert _kinds(service.verify(world)) == {"checkpoint_forged"}


def test_a_broken_chain_is_not_pinned_for_the_first_time(world: World, attacked: Database) -> None:
    _record(world, 0, 4)
    with attacked.begin() as conn:
        _edit("actor", "person:forger@example.com", 2)(conn)
    with pytest.raises(Failed):
        service.pin(world)
    assert not (world.config.data_dir / "keys").exists()


def test_reading_goes_by_workspace_and_agent(world: World) -> None:
    _record(world, 0, 5)
    with world.begin() as conn:
        service.append(conn, [replace(_event(50), workspace="other"), replace(_event(51), agent="scout")])
    with world.read() as conn:
        assert [e.seq for e in service.entries(conn, "other", 0, 10)] == [6]
        assert [e.seq for e in service.entries(conn, "default", 3, 10, agent="clerk")] == [4, 5]
        assert [e.seq for e in service.entries(conn, None, 2, 2)] == [3, 4]
    assert service.verify(world).ok
