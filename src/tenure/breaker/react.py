"""What gateways tell of refusals and trips."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.base.events import Consumer
from tenure.breaker import service
from tenure.kernel.values import Event


def handle(connection: Connection, event: Event) -> None:
    """A refused call may be a violation; a trip is taken over."""
    if event.type == "breaker.tripped":
        service.trip(connection, event)
    else:
        service.count(connection, event)


CONSUMER = Consumer("breaker", handle, frozenset({"call.refused", "breaker.tripped"}))
