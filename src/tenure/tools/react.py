"""What gateways see of definitions, and agents that go to production."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.base.events import Consumer
from tenure.kernel.values import Event
from tenure.tools import pinning


def handle(connection: Connection, event: Event) -> None:
    """A definition that was seen is pinned or waits; a step to production accepts what is pinned."""
    if event.type == "tool.seen":
        pinning.seen(connection, event)
    else:
        pinning.promoted(connection, event)


CONSUMER = Consumer("tools", handle, frozenset({"tool.seen", "agent.transitioned"}))
