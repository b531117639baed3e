"""What gateways tell of calls."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.autonomy import service
from tenure.base.events import Consumer
from tenure.kernel.values import Event


def handle(connection: Connection, event: Event) -> None:
    """One Event alone."""
    service.take(connection, [event])


CONSUMER = Consumer("autonomy", handle, frozenset({"call.completed"}), service.take)
