"""Keeps the row buffer small."""

from __future__ import annotations

from tenure.base.room import Flow, World
from tenure.telemetry import service


def _step(world: World, _key: str) -> bool:
    return service.prune(world) > 0


PRUNE = Flow("telemetry.prune", lambda _connection, _now: ("event_log",), _step, every=60.0)
