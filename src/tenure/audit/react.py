"""Turns Events into entries. The cursor moves in the same transaction, so each Event leaves exactly one."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.audit import service
from tenure.audit.model import KEPT
from tenure.base.events import Consumer
from tenure.kernel.values import Event


def _one(connection: Connection, event: Event) -> None:
    service.append(connection, [event])


CONSUMER = Consumer(name="audit", handle=_one, types=frozenset(KEPT), handle_batch=service.append)
