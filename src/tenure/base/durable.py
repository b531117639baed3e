"""Runs Flows: one holder at a time for each thing, under a lease with a fencing token.

Reconcile, don't replay: nothing of a step is recorded but its effects. A holder that dies loses its lease by time, and
another takes the next step from state and facts.
"""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tenure.base.db import UtcTime, insert, metadata
from tenure.base.room import Flow, World

flow_lease = sa.Table(
    "flow_lease",
    metadata,
    sa.Column("flow", sa.String(63), primary_key=True),
    sa.Column("key", sa.String(191), primary_key=True),
    sa.Column("holder", sa.String(63), nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("until", UtcTime, nullable=False),
)

LEASE = timedelta(seconds=30)


def take(world: World, flow: str, key: str, holder: str) -> int | None:
    """The fencing token of a lease that ``holder`` now has on (flow, key), or None while another has it."""
    now = world.clock()
    with world.db.begin() as connection:
        row = connection.execute(
            insert(connection, flow_lease)
            .values(flow=flow, key=key, holder=holder, fence=1, until=now + LEASE)
            .on_conflict_do_update(
                index_elements=["flow", "key"],
                set_={"holder": holder, "fence": flow_lease.c.fence + 1, "until": now + LEASE},
                where=sa.or_(flow_lease.c.until < now, flow_lease.c.holder == holder),
            )
            .returning(flow_lease.c.fence)
        ).first()
    return None if row is None else int(row.fence)


def release(world: World, flow: str, key: str, fence: int) -> None:
    """Gives a lease back, unless somebody has taken it since. The row stays: fencing tokens only ever grow."""
    with world.db.begin() as connection:
        connection.execute(
            sa.update(flow_lease)
            .where(flow_lease.c.flow == flow, flow_lease.c.key == key, flow_lease.c.fence == fence)
            .values(until=world.clock())
        )


def holds(connection: Connection, flow: str, key: str, fence: int) -> bool:
    """Whether ``fence`` is still the newest token: a step with effects outside this database asks before it acts."""
    newest = connection.execute(
        sa.select(flow_lease.c.fence).where(flow_lease.c.flow == flow, flow_lease.c.key == key)
    ).scalar()
    return newest == fence


def run_due(world: World, flow: Flow, holder: str) -> int:
    """Takes one step for each thing of ``flow`` that is due and free; returns how many steps did something."""
    with world.read() as connection:
        due = flow.find(connection, world.clock())
    done = 0
    for key in due:
        if not flow.calls_for(world, key):
            continue
        fence = take(world, flow.name, key, holder)
        if fence is None:
            continue
        try:
            done += flow.step(world, key)
        finally:
            release(world, flow.name, key, fence)
    return done
