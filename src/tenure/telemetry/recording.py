"""How well the record is kept: what the trace store lacks, and what gateways lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tenure.base import events as log
from tenure.base.room import World
from tenure.kernel.errors import Failed
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Event
from tenure.telemetry.traces.interface import Which
from tenure.telemetry.traces.shelf import store_of

MAX_LOSSES = 200
"""The most losses that are listed."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that a gateway could not keep. ``reasons``: spool_full, disk, damaged, refused or not_json -> how many."""

    gateway: str
    count: int
    since: datetime
    until: datetime
    reasons: JsonObject


@dataclass(frozen=True, slots=True)
class Recording:
    """How well the record is kept. ``behind`` Events are durable and not in the trace store yet; ``problem`` says why
    when it takes none, ``renewal`` how far a store of an older version is on its way to this one. ``losses`` are those
    told within the window, the newest first, ``lost`` all of them together."""

    behind: int
    problem: str
    renewal: str
    lost: int
    losses: tuple[Loss, ...]


def recording(world: World, window: timedelta) -> Recording:
    """How well the record is kept, of the whole installation. Answers also while the trace store does not."""
    target = store_of(world)
    with world.read() as connection:
        behind = max(0, log.head(connection) - target.cursor)
    which = Which(type="gateway.dropped", since=world.clock() - window)
    told: list[Event] = []
    problem, renewal = target.problem, ""
    try:
        renewal = str(target.renewal or "")
        told = [] if renewal else [logged.event for logged in target.newest(which, MAX_LOSSES)]
    except Failed as error:
        problem = problem or error.message
    losses = tuple(_loss(event) for event in told)
    return Recording(behind, problem, renewal, sum(loss.count for loss in losses), losses)


def _loss(event: Event) -> Loss:
    until = event.time + timedelta(microseconds=event.duration_us or 0)
    name, reasons = event.actor.removeprefix("gateway:"), event.data.get("reasons")
    count = event.data.get("count")
    known = reasons if isinstance(reasons, dict) else {}
    return Loss(name, count if isinstance(count, int) else 0, event.time, until, known)
