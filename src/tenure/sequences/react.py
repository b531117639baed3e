"""What gateways tell of histories, and what they ask for."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from tenure.base.clock import system_clock
from tenure.base.events import Consumer
from tenure.kernel.values import Event
from tenure.sequences import service


def handle(connection: Connection, event: Event) -> None:
    """One Event."""
    handle_batch(connection, [event])


def handle_batch(connection: Connection, news: Sequence[Event]) -> None:
    """Leases run by the clock of this machine; the times of calls are their gateways'."""
    service.take(connection, news, system_clock())


CONSUMER = Consumer("sequences", handle, frozenset({"sequence.asked", "sequence.step", "sequence.late"}), handle_batch)
