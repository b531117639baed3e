"""What the feed is read from: the row buffer, and the trace store only for what the row buffer does not have."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

from tenure.base import events as log
from tenure.base.events import Logged
from tenure.base.room import World
from tenure.kernel.errors import Failed
from tenure.kernel.values import Actor
from tenure.telemetry import service
from tenure.telemetry.feed.tail import Wanted
from tenure.telemetry.traces.interface import Which
from tenure.telemetry.traces.shelf import store_of

RECENT = 5000
"""Numbers of the log among which the newest Events are looked for before the trace store is asked."""


def recent(
    world: World,
    wanted: Wanted,
    limit: int,
    upto: int | None = None,
) -> list[Logged]:
    """The newest Events that are ``wanted``, oldest first, up to a number. Where the row buffer has enough of them the
    trace store is not asked."""
    with world.read() as connection:
        upto = log.head(connection) if upto is None else upto
        among = log.newest(connection, wanted.workspace, upto, RECENT)
        found = list(islice((logged for logged in among if wanted.has(logged.event)), limit))
        older = max(upto - RECENT, log.oldest(connection) - 1)  # up to there only the trace store has them all
    if len(found) < limit and older > 0:
        with suppress(Failed):  # a store that does not answer: what is newest is shown all the same
            target = store_of(world)
            target = target if target.cursor >= older else service.current(world)
            which = Which(workspace=wanted.workspace, agent=wanted.agent, type=wanted.type, status=wanted.status)
            kept = (logged for logged in target.newest(which, limit) if logged.seq <= older)
            found += islice(kept, limit - len(found))
    return found[::-1]


def batch(world: World, actor: Actor, after: int, limit: int = 500) -> list[Logged]:
    """The next Events after ``after`` of every workspace, from the row buffer, or from the trace store for a feed that
    goes on where the row buffer no longer reaches."""
    with world.read() as connection:
        batch = log.read(connection, after, limit)
        if batch and batch[0].seq == after + 1:
            return batch
        oldest = log.oldest(connection)
    if after + 1 >= oldest > 0 or store_of(world).cursor <= after:
        return batch
    which = Which(workspace=actor.workspace, after=after)
    return store_of(world).events(which, limit) or batch
