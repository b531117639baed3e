"""What gateways tell of what was used, and what they ask for."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from tenure.base.clock import system_clock
from tenure.base.events import Consumer
from tenure.kernel.values import Event
from tenure.limits import service


def handle(connection: Connection, event: Event) -> None:
    """One Event."""
    handle_batch(connection, [event])


def handle_batch(connection: Connection, news: Sequence[Event]) -> None:
    """Leases run by the clock of this machine and windows are its own: what a gateway's clock says changes neither."""
    service.take(connection, news, system_clock())


_TYPES = frozenset({"call.completed", "call.refused", "fork.called", "fork.refused", "limits.asked"})
CONSUMER = Consumer("limits", handle, _TYPES, handle_batch)
