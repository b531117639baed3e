"""How much of a planted fleet of unregistered agents is found, and how much of what is found is one.

    python -m bench.discovery [--keep]

Plants the fleet of ``tests/discovery/fleet.py`` in an installation of its own. ``--keep`` writes ``bench/results``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tenure.app.server  # noqa: E402, F401 (loads every room, so that the metadata knows every table)
from tenure.base.config import Config  # noqa: E402 (after the path is set)
from tenure.base.db import Database, metadata  # noqa: E402 (as above)
from tenure.base.events import Bell  # noqa: E402 (as above)
from tenure.base.room import World  # noqa: E402 (as above)
from tenure.kernel.values import PEOPLE, Actor  # noqa: E402 (as above)
from tests.discovery.fleet import FLEET  # noqa: E402 (as above)
from tests.discovery.measure import measure  # noqa: E402 (as above)
from tests.sim.clock import FakeClock  # noqa: E402 (as above)


def main() -> None:
    """Measures once; nothing in it is random."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        database = Database(f"sqlite:///{folder / 'control.db'}")
        metadata.create_all(database.engine)
        world = World(db=database, clock=FakeClock(), config=Config(data_dir=folder), bell=Bell())
        operator = Actor("default", "person:operator@localhost", frozenset(PEOPLE))
        figures = measure(world, operator, folder / "fleet").figures()
        database.close()
    head = ("95 % interval", "n")
    row = "{:<10} {:>8} {:>16} {:>4}   {:>9} {:>16} {:>4}"
    print(row.format("channel", "recall", *head, "precision", *head))
    for channel, found in figures["channels"].items():
        print(row.format(channel, *_told(found["recall"]), *_told(found["precision"])))
    print(f"missed: {', '.join(figures['missed'])}")
    print(f"wrong: {', '.join(figures['wrong'])}")
    if "--keep" in sys.argv:
        agents = sum(one.agent for one in FLEET)
        kept = {"agents": agents, "look_alikes": len(FLEET) - agents, "confidence": 0.95, **figures}
        path = ROOT / "bench" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-discovery.json"
        path.write_text(json.dumps(kept, indent=1) + "\n")


def _told(rate: dict[str, Any] | None) -> tuple[str, str, int]:
    if rate is None:
        return "nothing", "", 0
    low, high = rate["interval"]
    return f"{rate['rate']:.3f}", f"{low:.3f} to {high:.3f}", rate["n"]


if __name__ == "__main__":
    main()
