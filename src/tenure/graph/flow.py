"""The Flow that takes traffic into the graph."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.room import Flow, World
from tenure.graph import service


def find(conn: Connection, _now: datetime) -> Sequence[str]:
    """Whether there is news, as one thing to look at."""
    return ["news"] if events.head(conn) > events.cursor(conn, service.CURSOR) else []


def step(world: World, _key: str) -> bool:
    """Takes in a piece of it; True while there is more."""
    return service.look(world)


LOOK = Flow("graph.look", find, step, every=5.0)
