"""A trace store of an older schema is brought to this one while Events come in, and whatever is killed when."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from tenure.base import events as log
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed
from tenure.kernel.values import Actor, Event
from tenure.telemetry import recording, service
from tenure.telemetry.traces import duck_older, sums
from tenure.telemetry.traces.rows import COLUMNS, SCHEMA_VERSION, rows_of
from tests.sim.clock import FakeClock
from tests.sim.disks import small_disk
from tests.sim.telemetry import GATEWAY, chat, many, opened

ROOT = Path(__file__).resolve().parents[2]
CANARY = b"canary-19ac what the customer said"
COUNT = 260
HOUR = timedelta(hours=1)


@pytest.fixture
def world(_sqlite: Path, clock: FakeClock, tmp_path: Path) -> Iterator[World]:
    """An installation with so many Events in its log."""
    shutil.copyfile(_sqlite, tmp_path / "control.db")
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    found = World(db=database, clock=clock, config=Config(data_dir=tmp_path), bell=Bell())
    said = {"gen_ai.output.messages": [{"content": CANARY.decode()}], "enduser.id": "ann@example.com"}
    with found.begin() as tx:
        log.append(tx, [chat(clock.now, data=said, session=f"s{number % 7}") for number in range(COUNT)])
    yield found
    database.close()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duck_older, "PIECE", 50)


def _written(world: World, version: int, upto: int = COUNT) -> Path:
    """The world's trace store as an older version left it, with the Events up to a number in it."""
    path = world.config.data_dir / "traces.duckdb"
    with world.read() as connection:
        batch = [one for one in log.read(connection, 0, COUNT) if one.seq <= upto]
    with duckdb.connect(str(path)) as store:
        store.execute((ROOT / "tests" / "telemetry" / "schemas" / f"{version}.sql").read_text())
        store.execute("UPDATE store SET cursor = ?", [upto])
        if version == 3:
            rows = [without_words(row) for row in rows_of(batch, Keyring(world.db, world.config))]
            store.executemany(f"INSERT INTO event VALUES ({', '.join('?' * len(rows[0]))})", rows)  # noqa: S608 (marks only)
            return path
        store.executemany(
            """INSERT INTO event BY NAME SELECT ? AS seq, ? AS id, ? AS type, ? AS time_us, ? AS workspace, ? AS actor,
                ? AS agent, ? AS session, ? AS trace_id, ? AS span_id, ? AS parent_span_id, ? AS status,
                ? AS policy_version, ? AS memory_snapshot, ? AS duration_us, ? AS data, 'chat gpt-4o' AS name,
                ? AS release, ? AS instance, 'gpt-4o' AS model, 100 AS input_tokens, 20 AS output_tokens""",
            [_row(one.seq, one.event) for one in batch],
        )
    return path


def without_words(row: tuple[object, ...]) -> tuple[object, ...]:
    """A row as version 3 had it."""
    return tuple(value for name, value in zip(COLUMNS, row, strict=True) if name != "words")


def _row(seq: int, event: Event) -> list[object]:
    micros = int(event.time.timestamp()) * 1_000_000
    who = (event.workspace, event.actor, event.agent, event.session, event.trace_id, event.span_id)
    more = (event.policy_version, event.memory_snapshot, event.duration_us, json.dumps(event.data))
    return [
        *(seq, event.id, event.type, micros, *who, event.parent_span_id, event.status.value),
        *(*more, event.release, event.instance),
    ]


def _pump(world: World) -> None:
    while service.pump(world):
        pass


def _told(world: World) -> list[Event]:
    with world.read() as connection:
        return [one.event for one in log.read(connection, 0, 10_000)]


def _kept(world: World, operator: Actor) -> list[Event]:
    return [one.event for one in service.list_events(world, operator, after=0, limit=10_000)]


@contextmanager
def _is_whole(world: World, operator: Actor) -> Iterator[None]:
    """After what is done here, the store has every Event once, and nothing in clear."""
    yield
    with opened(world):
        _pump(world)
        expected = _told(world)  # before anybody looks: that is told, too
        assert _kept(world, operator) == expected
        told = recording.recording(world, HOUR)
        assert (told.problem, told.renewal) == ("", "")
    assert sorted(file.name for file in world.config.data_dir.glob("traces*")) == ["traces.duckdb"]
    assert CANARY not in (world.config.data_dir / "traces.duckdb").read_bytes()
    with duckdb.connect(str(world.config.data_dir / "traces.duckdb")) as store:
        assert store.execute("SELECT version FROM store").fetchall() == [(SCHEMA_VERSION,)]
        tables = {row[0] for row in store.execute("FROM duckdb_tables() SELECT table_name").fetchall()}
        assert tables == {"event", "store", *(table.name for table in sums.TABLES)}


@pytest.mark.parametrize("version", [1, 3])
def test_events_are_taken_while_an_older_store_is_brought_to_this_version(
    world: World, clock: FakeClock, operator: Actor, version: int
) -> None:
    before = _written(world, version, COUNT - 30).read_bytes()
    assert (CANARY in before) == (version < 3), "version 3 sealed it"
    late = replace(many(1, clock.now)[0], time=clock.now - timedelta(days=3))
    with _is_whole(world, operator):
        with opened(world):
            for piece in range(3):
                assert service.ingest(world, GATEWAY, many(10, clock.now)).accepted == 10
                assert service.pump(world) == 1
                told = recording.recording(world, HOUR)
                assert told.renewal.startswith(
                    f"The trace store is being brought from version {version} to {SCHEMA_VERSION}: "
                    f"{(piece + 1) * 50} of {COUNT - 30} Events are."
                )
                assert told.behind == 30 + (piece + 1) * 10
                with pytest.raises(Failed, match=f"{(piece + 1) * 50} of {COUNT - 30} Events") as refusal:
                    service.list_events(world, operator)
                assert refusal.value.retry
            known = replace(_told(world)[7], time=late.time)  # what is late is looked for in the store
            assert service.ingest(world, GATEWAY, [late, known]).accepted == 1
            assert (world.config.data_dir / "traces.duckdb").read_bytes() == before, "the old one is as it was"
        clock.advance(60)
        with opened(world):  # the process was started anew
            assert "150 of 230 Events" in recording.recording(world, HOUR).renewal
            service.pump(world)
    with opened(world):
        assert len(service.search(world, operator, "customer said", HOUR, session="s3").hits) == len(range(3, COUNT, 7))
        assert sum(agent.calls for agent in service.stats(world, operator, timedelta(days=7))) == COUNT + 31


_VICTIM = """
import sys
from pathlib import Path
from tenure.base.clock import system_clock
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.base.subjects import Keyring
from tenure.telemetry import recording, service
from tenure.telemetry.traces import duck_older
duck_older.PIECE = 5
world = World(Database(sys.argv[1]), system_clock, Config(data_dir=Path(sys.argv[2])), Bell())
service.open_store(world)
while service.pump(world):
    print("one more", flush=True)
    sys.stdin.readline()
"""


def test_kill_9_in_the_middle_loses_nothing_and_it_goes_on_where_it_was(world: World, operator: Actor) -> None:
    _written(world, 2)
    arguments = [sys.executable, "-c", _VICTIM, world.db.url, str(world.config.data_dir)]
    with _is_whole(world, operator):
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as victim:
            assert victim.stdin is not None
            assert victim.stdout is not None
            for _ in range(20):
                assert victim.stdout.readline()
                victim.stdin.write(b"\n")
                victim.stdin.flush()
            victim.send_signal(signal.SIGKILL)  # in the middle of a piece, or between two
        with opened(world):
            told = recording.recording(world, HOUR).renewal
            done = int(told.partition(": ")[2].partition(" ")[0])
            assert 100 <= done <= 110


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_the_new_file_takes_the_place_of_the_old_it_is_one_or_the_other(
    world: World, operator: Actor, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(source: Path, target: Path) -> None:
        if when == "after":
            os.rename(source, target)  # noqa: PTH104 (what ``Path.replace`` is in the way of here)
        raise KeyboardInterrupt

    _written(world, 2)
    with _is_whole(world, operator):
        service.open_store(world)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dies)
            with pytest.raises(KeyboardInterrupt):
                _pump(world)
        service.close_store(world)


def test_what_the_older_tenure_did_in_between_is_not_lost(world: World, operator: Actor) -> None:
    path = _written(world, 2, 200)
    with _is_whole(world, operator):
        with opened(world):
            service.pump(world)
        with duckdb.connect(str(path)) as older:  # it was started once more, and let some content go
            older.execute("UPDATE event SET data = '{}' WHERE seq <= 10")
        with opened(world):
            assert "0 of 200 Events" in recording.recording(world, HOUR).renewal
        with world.begin() as tx:
            for one in log.read(tx, 0, 10):
                log.rewrite(tx, one.seq, replace(one.event, data={}))


def test_without_room_for_both_files_it_waits_and_goes_on_when_there_is(
    world: World, operator: Actor, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "7m") as disk:
        world = replace(world, config=Config(data_dir=tmp_path / "disk"))
        with world.begin() as tx:
            for one in log.read(tx, 0, COUNT):
                log.rewrite(tx, one.seq, replace(one.event, data={"said": os.urandom(3000).hex()}))
        before = _written(world, 2).read_bytes()
        with opened(world):
            assert service.pump(world) == 1
            disk.fill()
            with pytest.raises(Failed, match="No space left"):
                _pump(world)
            assert "No space left" in recording.recording(world, HOUR).problem
            with pytest.raises(Failed):
                _pump(world)
            assert (tmp_path / "disk" / "traces.duckdb").read_bytes() == before
            disk.clear()
            _pump(world)
            expected = _told(world)
            assert _kept(world, operator) == expected
