"""Forgets what was used or revoked once it would be refused anyway."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base.room import Flow, World
from tenure.oauth import store
from tenure.revocation import service as revocation

_GRACE = timedelta(minutes=1)


def find(connection: Connection, now: datetime) -> Sequence[str]:
    """One thing to do, when there is anything to forget."""
    before = now - _GRACE
    due = store.forgettable(connection, before) or revocation.forgettable(connection, before)
    return ["forget"] if due else []


def forget(world: World, _key: str) -> bool:
    """Forgets some of it."""
    with world.db.begin() as conn:  # no bell: nobody waits for this
        before = world.clock() - _GRACE
        return store.forget(conn, before) + revocation.forget(conn, before) > 0


FORGET = Flow(name="oauth.forget", find=find, step=forget, every=30.0)
