"""What is found of a planted fleet, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tenure.base.config import Config
from tenure.base.db import Database, metadata
from tenure.base.events import Bell
from tenure.base.room import World
from tenure.kernel.values import Actor
from tests.discovery.fleet import FLEET
from tests.discovery.measure import measure
from tests.sim.clock import FakeClock


@pytest.mark.req("R026", "R031")
def test_a_planted_fleet_is_found_and_what_looks_like_it_is_not(tmp_path: Path, operator: Actor) -> None:
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    metadata.create_all(database.engine)
    world = World(db=database, clock=FakeClock(), config=Config(data_dir=tmp_path), bell=Bell())
    assert sum(one.agent for one in FLEET) >= 40
    assert sum(not one.agent for one in FLEET) >= 60
    found = measure(world, operator, tmp_path / "fleet")
    database.close()
    figures = found.figures()
    every = figures["channels"]["all"]
    print(json.dumps(figures, indent=1))
    # What is missed and wrong is known by name: a change that finds less, or more than it should, says so here.
    assert figures["wrong"] == ["g-developer-sdk-once"], figures["wrong"]
    assert figures["missed"] == [
        "g-go-slow",
        "o-inner-agent-of-unnamed-service",
        "p-silent-binary",
        "p-traced-worker",
        "s-shell-script",
    ], figures["missed"]
    assert every["recall"]["rate"] >= 0.9
    assert every["precision"]["rate"] >= 0.95
