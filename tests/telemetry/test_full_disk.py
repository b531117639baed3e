"""The trace store on a disk without room, and when there is room again."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tenure.base.config import Config
from tenure.base.events import Logged
from tenure.base.room import World
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed
from tenure.kernel.values import Event
from tenure.telemetry import recording, service
from tenure.telemetry.traces.duck import DuckStore
from tests.sim.disks import small_disk
from tests.sim.telemetry import GATEWAY, many, opened


def _batch(first: int, count: int) -> list[Logged]:
    facts = ("call.completed", datetime.now(UTC), "default", "agent:a")
    return [
        Logged(seq, Event(str(seq), *facts, data={"x": os.urandom(5000).hex()})) for seq in range(first, first + count)
    ]


def _fill(store: DuckStore) -> None:
    for number in range(100):
        store.add(_batch(number * 100 + 1, 100))


def _pump(world: World) -> None:
    while service.pump(world):
        pass


@pytest.mark.req("R090")
@pytest.mark.parametrize("size", ["6m", "30m"])  # full while a transaction is written, and while the file is rewritten
def test_what_did_not_fit_is_taken_when_there_is_room(tmp_path: Path, keyring: Keyring, size: str) -> None:
    with small_disk(tmp_path / "disk", size) as disk:
        store = DuckStore(tmp_path / "disk" / "traces.duckdb", keyring)
        with pytest.raises(Failed, match="No space left"):
            _fill(store)
        kept = store.cursor
        assert "No space left" in store.problem
        with pytest.raises(Failed):
            store.add(_batch(kept + 1, 1000))
        disk.grow("200m")
        for first in range(kept + 1, kept + 1001, 100):
            store.add(_batch(first, 100))
        assert (store.cursor, store.problem) == (kept + 1000, "")
        everything = [str(seq) for seq in range(1, kept + 1001)]
        assert store.known(everything) == set(everything)
        store.close()


@pytest.mark.req("R090")
def test_events_are_taken_and_losses_told_while_the_trace_store_takes_nothing(tmp_path: Path, world: World) -> None:
    now = world.clock()
    with small_disk(tmp_path / "data", "4m") as disk:
        world = replace(world, config=Config(data_dir=tmp_path / "data"))
        with opened(world):
            told = {"count": 7, "reasons": {"disk": 7}}
            at = now - timedelta(hours=1)
            service.ingest(
                world, GATEWAY, [Event("lost", "gateway.dropped", at, "default", "gateway:local", data=told)]
            )
            _pump(world)
            disk.fill()
            assert service.ingest(world, GATEWAY, many(300, now)).accepted == 300
            with pytest.raises(Failed):
                _pump(world)
            record = recording.recording(world, timedelta(days=1))
            assert ("No space left" in record.problem, record.behind, record.lost) == (True, 300, 7)
            assert record.losses[0].reasons == told["reasons"]
            disk.clear()
            _pump(world)
            assert recording.recording(world, timedelta(days=1)).behind == 0
