"""Two Flows: what is old enough is replaced on schedule, and the end of each overlap is told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base.room import Flow, World
from tenure.credentials import rotation
from tenure.revocation import service as revocation
from tenure.revocation.model import Kind, Mark

_LATE = timedelta(days=1)
"""A control plane that was away for longer tells nobody: every token of then has expired."""

_SCHEDULED = {"agents": rotation.rotate_due_agents, "keys": rotation.rotate_due_keys}
_DUE = {"agents": rotation.agents_due, "keys": rotation.keys_due}


def _ended(connection: Connection, now: datetime) -> list[Mark]:
    return [one for one in revocation.came_due(connection, now - _LATE, now) if one.kind is Kind.REPLACED]


def find_ended(connection: Connection, now: datetime) -> Sequence[str]:
    """Replacements whose overlap is over and was not told."""
    return [one.id for one in _ended(connection, now) if not rotation.is_told(connection, one)]


def end(world: World, ident: str) -> bool:
    """Tells of one."""
    with world.read() as connection:
        found = [one for one in _ended(connection, world.clock()) if one.id == ident]
    return bool(found) and rotation.end_overlap(world, found[0])


def find_scheduled(_connection: Connection, _now: datetime) -> Sequence[str]:
    """Everything that may be due."""
    return list(_SCHEDULED)


def is_due(world: World, what: str) -> bool:
    """Whether any of it is."""
    return bool(_DUE[what](world))


def rotate(world: World, what: str) -> bool:
    """Replaces what is due."""
    return _SCHEDULED[what](world)


OVERLAPS = Flow(name="credentials.overlaps", find=find_ended, step=end, every=1.0)
SCHEDULE = Flow(name="credentials.schedule", find=find_scheduled, step=rotate, every=60.0, calls_for=is_due)
