"""Forgets what was used or revoked once it would be refused anyway."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base.room import Flow, World
from tenure.oauth import store

_GRACE = timedelta(minutes=1)


def find(connection: Connection, now: datetime) -> Sequence[str]:
    """One thing to do, when there is anything to forget."""
    return ["forget"] if store.forgettable(connection, now - _GRACE) else []


def forget(world: World, _key: str) -> bool:
    """Forgets some of it."""
    with world.db.begin() as conn:  # no bell: nobody waits for this
        return store.forget(conn, world.clock() - _GRACE) > 0


FORGET = Flow(name="oauth.forget", find=find, step=forget, every=30.0)
