"""Flows: erasures that were asked for, and what is older than its period."""

from __future__ import annotations

from tenure.base.room import Flow, World
from tenure.retention import service, store


def _let_go(world: World, _key: str) -> bool:
    return service.let_go(world)


ERASE = Flow("retention.erase", lambda connection, _now: store.waiting(connection), service.step, every=1.0)
PERIODS = Flow("retention.periods", lambda _connection, _now: ("all",), _let_go, every=600.0)
