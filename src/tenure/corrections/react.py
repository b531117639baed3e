"""What people decided elsewhere."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.base.events import Consumer
from tenure.corrections import service
from tenure.corrections.model import TYPES
from tenure.kernel.values import Event


def handle(connection: Connection, event: Event) -> None:
    """One Event alone."""
    service.take(connection, [event])


CONSUMER = Consumer("corrections", handle, TYPES, service.take)
