"""The Events of one trace store go over into another: all of them, once, whatever is killed when."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell, Logged
from tenure.base.room import World
from tenure.base.subjects import Keyring
from tenure.kernel.errors import Failed, Refused
from tenure.telemetry import moving as command
from tenure.telemetry.traces.duck import DuckStore
from tenure.telemetry.traces.interface import Which
from tenure.telemetry.traces.moving import move
from tests.sim.clock import FakeClock
from tests.sim.telemetry import chat, tool_call

HOUR = timedelta(hours=1)


@pytest.fixture
def world(_sqlite: Path, clock: FakeClock, tmp_path: Path) -> Iterator[World]:
    """An empty installation."""
    shutil.copyfile(_sqlite, tmp_path / "control.db")
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    yield World(db=database, clock=clock, config=Config(data_dir=tmp_path), bell=Bell())
    database.close()


def _former(path: Path, keyring: Keyring, clock: FakeClock) -> DuckStore:
    """A store with sixty Events, the content of a third of them expired, and numbers missing."""
    said = {"gen_ai.output.messages": "what the customer said", "enduser.id": "ann@example.com"}
    store = DuckStore(path, keyring)
    old = [chat(clock.now - 2 * HOUR, data=said) for _ in range(20)]
    new = [chat(clock.now, data=said), tool_call(clock.now, session="s2")] * 20
    store.add([Logged(3 * seq, one) for seq, one in enumerate(old, 1)])
    store.add([Logged(100 + seq, one) for seq, one in enumerate(new)])
    assert store.expire(clock.now - HOUR, ["default/clerk"]) == 20
    return store


def test_all_that_was_there_is_there_again_and_what_was_let_go_stays_so(
    keyring: Keyring, clock: FakeClock, tmp_path: Path
) -> None:
    former, store = _former(tmp_path / "former", keyring, clock), DuckStore(tmp_path / "next", keyring)
    began = list(itertools.islice(move(former, store, 25), 1))
    assert began == [(25, 104)]
    store.close()  # killed here
    store = DuckStore(tmp_path / "next", keyring)
    assert sum(count for count, _ in move(former, store, 25)) == 35
    assert store.events(Which(), 100) == former.events(Which(), 100)
    window = ("default", clock.now - 3 * HOUR, clock.now + HOUR)
    assert store.causes(*window, None) == former.causes(*window, None) != []
    gone = [one.event.data["tenure.content"] for one in store.events(Which(), 20)]
    assert gone == ["expired"] * 20
    held = [row[0] for row in store._all("SELECT content IS NOT NULL FROM event ORDER BY seq")]
    assert held == [row[0] for row in former._all("SELECT content IS NOT NULL FROM event ORDER BY seq")]
    assert list(move(former, store)) == []
    for each in (former, store):
        each.close()


def test_nothing_is_put_before_what_is_there_already(keyring: Keyring, clock: FakeClock, tmp_path: Path) -> None:
    former, store = _former(tmp_path / "former", keyring, clock), DuckStore(tmp_path / "next", keyring)
    store.add([Logged(50, chat(clock.now))])
    with pytest.raises(Refused, match="did not come from"):
        list(move(former, store))
    store.close()
    store = DuckStore(tmp_path / "other", keyring)
    steps = move(former, store, 25)
    next(steps)
    store.add([Logged(500, chat(clock.now))])  # a control plane that was started meanwhile
    with pytest.raises(Failed, match="Somebody else adds"):
        list(steps)
    with pytest.raises(Refused, match="did not come from"):
        list(move(former, store))
    for each in (former, store):
        each.close()


def test_the_command_says_what_is_wrong(keyring: Keyring, clock: FakeClock, tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, traces=str(tmp_path / "next"))
    with pytest.raises(Refused, match="is no file"):
        command.run(config, str(tmp_path / "nowhere"), print)
    former = _former(tmp_path / "former", keyring, clock)
    former.close()
    assert command.run(config, str(tmp_path / "former"), print) == 60
    with pytest.raises(Refused, match="is where traces are kept"):
        command.run(config, str(tmp_path / "next"), print)
    with pytest.raises(Failed, match="trace store at"):
        command.run(config, "clickhouse://127.0.0.1:9/t", print)
