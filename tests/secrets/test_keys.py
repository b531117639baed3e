"""The key that all secrets are kept under: of a file, the environment or a transit engine; replaced while in use, by a
process that may be killed at any moment."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tenure.base import durable, keys
from tenure.base.config import Config
from tenure.base.db import Database, metadata
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import PEOPLE, Actor
from tenure.secrets import rewrap, sealing, service, store
from tenure.secrets.flow import REWRAP
from tests.secrets.conftest import configured
from tests.sim.clock import FakeClock
from tests.sim.transit import transit


def _open(world: World) -> dict[str, str]:
    """Every secret's current value."""
    with world.read() as conn:
        kept = store.versions(conn, [(secret.workspace, secret.name) for secret in store.find(conn)])
    values = sealing.opened_by_mark(world, list(kept.items()))
    return {about[1]: values[sealed.nonce.hex()].decode() for about, sealed in kept.items()}


def _keks(world: World) -> set[str]:
    with world.read() as conn:
        return set(store.keks(conn))


def _fill(world: World, operator: Actor, count: int) -> dict[str, str]:
    for number in range(count):
        service.put(world, operator, f"s{number}", f"value {number}", hosts=["api.example.com"])
    return {f"s{number}": f"value {number}" for number in range(count)}


def _until_done(world: World) -> int:
    """As the engine does it; how many steps it took."""
    steps = 0
    while done := durable.run_due(world, REWRAP, "test"):
        steps += done
    return steps


@pytest.mark.req("R037", "R041")
def test_a_new_key_wraps_everything_and_the_old_one_is_gone(vault: World, operator: Actor) -> None:
    values = _fill(vault, operator, 60)
    file = vault.config.data_dir / "keys" / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before, old = _keks(vault), file.read_bytes()
    state = rewrap.rotate_key(vault, operator)
    assert (state.wrapped, state.waiting) == (0, 60)
    assert _open(vault) == values, "both keys unwrap meanwhile"
    service.rotate(vault, operator, "s0", "newer")
    assert _until_done(vault) >= 2
    state = rewrap.key_state(vault, operator)
    assert (state.wrapped, state.waiting) == (61, 0)
    assert not _keks(vault) & before
    newer = json.loads(file.read_bytes())
    assert len(newer) == 1
    assert newer[0]["key"] not in old.decode()
    with vault.read() as conn:
        assert {at[2] for at in store.versions(conn, [("default", "s0")])} == {1, 2}


_CHILD = """
import sys
from pathlib import Path
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.secrets import rewrap
from tests.sim.clock import FakeClock
folder = Path(sys.argv[1])
world = World(db=Database(f"sqlite:///{folder / 'control.db'}"), clock=FakeClock(), config=Config(data_dir=folder),
              bell=Bell())
while rewrap.rewrap(world):
    print("step", flush=True)
"""


@pytest.mark.req("R037")
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_process_that_is_killed_while_it_wraps_anew_loses_nothing(tmp_path: Path, steps: int) -> None:
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    metadata.create_all(database.engine)
    world = World(db=database, clock=FakeClock(), config=Config(data_dir=tmp_path), bell=Bell())
    operator = Actor("default", "person:op@example.com", PEOPLE)
    keys.ensure(world.config)
    values = _fill(world, operator, 200)
    rewrap.rotate_key(world, operator)
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ}
    )
    assert child.stdout is not None
    for _ in range(steps):
        assert child.stdout.readline() == "step\n"
    child.kill()
    child.wait(10)
    child.stdout.close()
    assert _open(world) == values, "whatever was done, every value is there"
    _until_done(world)
    assert _open(world) == values
    assert len(_keks(world)) == 1
    database.close()


def test_a_key_of_the_environment(world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    here = configured(world, secrets_key="env:MY_KEY")
    monkeypatch.setenv("MY_KEY", first)
    values = _fill(here, operator, 3)
    with pytest.raises(Refused, match="MY_KEY"):
        rewrap.rotate_key(here, operator)
    monkeypatch.setenv("MY_KEY", f"{second},{first}")
    assert _open(here) == values
    _until_done(here)
    monkeypatch.setenv("MY_KEY", second)
    assert _open(here) == values
    monkeypatch.setenv("MY_KEY", first)
    assert [one.locked for one in service.find(here, operator)] == [True, True, True]
    assert sealing.opened_by_mark(here, []) == {}
    monkeypatch.setenv("MY_KEY", "short")
    with pytest.raises(Refused, match="does not hold a key"):
        keys.keys_of(here.config)
    assert not (world.config.data_dir / "keys" / "secrets.json").exists()


@pytest.mark.req("R041")
def test_a_key_that_never_leaves_a_transit_engine(
    world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a simulator that speaks the HTTP API of OpenBao and Vault."""
    here = configured(world, secrets_key="transit:transit/tenure")
    with transit() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        values = _fill(here, operator, 3)
        assert _keks(here) == {"transit:transit/tenure:v1"}
        with here.read() as conn:
            assert all(row.wrapped.startswith("vault:v1:") for row in conn.execute(sa.select(store.version_table)))
        assert rewrap.rotate_key(here, operator).waiting == 3
        _until_done(here)
        assert _keks(here) == {"transit:transit/tenure:v2"}
        assert _open(here) == values
        monkeypatch.setenv("VAULT_TOKEN", "wrong")
        with pytest.raises(Failed, match="cannot be used") as caught:
            _open(here)
        assert "wrong" not in caught.value.message
    monkeypatch.setenv("VAULT_TOKEN", variables["VAULT_TOKEN"])
    with pytest.raises(Failed) as caught:
        _open(here)
    assert caught.value.retry


def test_the_key_is_of_the_installation(vault: World, operator: Actor) -> None:
    elsewhere = replace(operator, workspace="other")
    for verb in (rewrap.key_state, rewrap.rotate_key):
        with pytest.raises(Refused) as caught:
            verb(vault, elsewhere)
        assert caught.value.code == "not_permitted"
