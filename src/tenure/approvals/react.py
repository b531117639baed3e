"""What gateways tell of held calls."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.approvals import service
from tenure.base.events import Consumer
from tenure.kernel.values import Event


def handle(connection: Connection, event: Event) -> None:
    """A held call asks, or a call takes what it was granted."""
    if event.type == "approval.requested":
        service.request(connection, event)
    else:
        service.claim(connection, event)


CONSUMER = Consumer("approvals", handle, frozenset({"approval.requested", "approval.claimed"}))
