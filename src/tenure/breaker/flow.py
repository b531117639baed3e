"""Trial calls that were never told of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base.room import Flow
from tenure.breaker import counting

PATIENCE = timedelta(minutes=15)
"""A trial call that takes longer has not gone well: its breaker trips again, which ends the call as well."""


def find(connection: Connection, now: datetime) -> Sequence[str]:
    """Trial calls that are taken for lost."""
    return counting.silent(connection, now, PATIENCE)


TRIALS = Flow("breaker.trials", find, counting.give_up, every=5.0)
