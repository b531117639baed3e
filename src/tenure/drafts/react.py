"""What gateways tell of prepared calls."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.base.events import Consumer
from tenure.drafts import service
from tenure.kernel.values import Event


def handle(connection: Connection, event: Event) -> None:
    """One Event alone."""
    service.take(connection, [event])


CONSUMER = Consumer("drafts", handle, frozenset({"call.completed", "call.refused", "draft.claimed"}), service.take)
