"""Housekeeping: data keys under the newest key, and versions whose overlap is over, and tokens that an
upstream is still to revoke."""

from __future__ import annotations

from tenure.base.room import Flow, World
from tenure.secrets import connectors, endings, rewrap, service


def _rewrap(world: World, _key: str) -> bool:
    return rewrap.rewrap(world)


def _waits(world: World, _key: str) -> bool:
    return rewrap.waits(world)


def _outdate(world: World, _key: str) -> bool:
    return service.drop_outdated(world)


REFRESH = Flow("secrets.refresh", connectors.due, connectors.refresh, every=1.0)
REWRAP = Flow("secrets.rewrap", lambda _connection, _now: ("keys",), _rewrap, every=10.0, calls_for=_waits)
OUTDATE = Flow("secrets.outdate", service.outdated, _outdate, every=2.0)
REVOKE = Flow("secrets.revoke", endings.due, endings.step, every=2.0)
