"""Which tools an agent has used (control database)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.kernel.ids import stable_id
from tenure.kernel.values import Event

tool_use = sa.Table(
    "tool_use",
    metadata,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("workspace", sa.String(63), nullable=False),
    sa.Column("agent", sa.String(63), nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("first_event", sa.String(64), nullable=False),
    sa.Column("first_at", UtcTime, nullable=False),
)


def first_uses(connection: Connection, events: Sequence[Event]) -> set[str]:
    """The ids of those tool calls that are their agent's first use of the tool. Telling one again gives the same
    answer."""
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        resource = str(event.data["tenure.resource"])
        key = stable_id(event.workspace, event.agent or "", resource)
        fact = {"key": key, "workspace": event.workspace, "agent": event.agent, "resource": resource}
        rows.setdefault(key, {**fact, "first_event": event.id, "first_at": event.time})
    if not rows:
        return set()
    connection.execute(insert(connection, tool_use).on_conflict_do_nothing(index_elements=["key"]), list(rows.values()))
    found = connection.execute(sa.select(tool_use.c.first_event).where(tool_use.c.key.in_(list(rows))))
    return {row.first_event for row in found} & {event.id for event in events}
