"""The verbs of histories: what gateways tell and ask, and what they hear."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base.room import World
from tenure.kernel.histories import HistoryFact
from tenure.kernel.values import Event
from tenure.sequences import store
from tenure.sequences.history import read_step
from tenure.sequences.ledger import Record, asked, fact, read_ask, told

KEEP = timedelta(days=90)
"""A history in which nothing happened for so long is forgotten: whoever goes on with it begins anew."""
_MAX_NAME = 600


def facts(connection: Connection, now: datetime) -> dict[str, HistoryFact]:
    """The histories that are kept, by their leases."""
    return {record.lease: fact(record) for record in store.kept(connection, now)}


def take(connection: Connection, news: Sequence[Event], now: datetime) -> None:
    """What gateways tell and ask, in its order."""
    known: dict[tuple[str, str], Record] = {}

    def of(workspace: str, history: str) -> Record:
        key = (workspace, history)
        if key not in known:
            known[key] = store.load(connection, workspace, history) or Record(workspace, history)
        return known[key]

    for event in news:
        workspace = event.workspace
        if event.type == "sequence.asked":
            ask = read_ask(event.data)
            if ask is not None and len(ask.history) <= _MAX_NAME:
                known[workspace, ask.history] = asked(of(workspace, ask.history), ask, now)
            continue
        steps = event.data.get("steps")
        for one in steps if isinstance(steps, list) else ():
            step = read_step(one.get("step"))
            history, lease = one.get("history"), one.get("lease")
            if step is not None and isinstance(history, str) and isinstance(lease, str) and len(history) <= _MAX_NAME:
                known[workspace, history] = told(of(workspace, history), lease, step)
    for record in known.values():
        store.save(connection, record, now)


def overdue(connection: Connection, now: datetime) -> Sequence[str]:
    """Whether histories are kept in which nothing happened for long."""
    return ["histories"] if store.has_old(connection, now - KEEP) else []


def forget(world: World, _key: str) -> bool:
    """Drops them."""
    with world.db.begin() as connection:
        return store.forget_old(connection, world.clock() - KEEP) > 0
