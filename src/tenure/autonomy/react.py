"""What gateways tell of calls, and people of what they decided."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from tenure.autonomy import earned, service
from tenure.base.events import Consumer
from tenure.kernel.values import Event


def handle(connection: Connection, event: Event) -> None:
    """One Event alone."""
    take(connection, [event])


def take(connection: Connection, news: Sequence[Event]) -> None:
    """Some Events, in their order."""
    service.take(connection, [event for event in news if event.type == "call.completed"])
    earned.take(connection, news)


CONSUMER = Consumer("autonomy", handle, earned.TYPES, take)
