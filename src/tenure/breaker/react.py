"""What gateways tell of calls, trips and trial calls."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.base.events import Consumer
from tenure.breaker import cascade, counting
from tenure.kernel.values import Event


def handle(connection: Connection, event: Event) -> None:
    """One Event alone."""
    counting.take(connection, [event])


CONSUMER = Consumer("breaker", handle, None, counting.take)
CASCADE = Consumer("breaker.cascade", cascade.tell, frozenset({"breaker.tripped", "agent.transitioned"}))
