"""Keeps the row buffer small."""

from __future__ import annotations

from tenure.base import events
from tenure.base.room import Flow, World
from tenure.telemetry import service
from tenure.telemetry.traces.shelf import store_of


def _step(world: World, _key: str) -> bool:
    return service.prune(world) > 0


def _calls_for(world: World, _key: str) -> bool:
    upto, older_than = store_of(world).cursor, world.clock() - service.KEEP
    with world.read() as connection:
        return events.prunable(connection, world.consumers, upto, older_than)


PRUNE = Flow("telemetry.prune", lambda _connection, _now: ("event_log",), _step, every=60.0, calls_for=_calls_for)
