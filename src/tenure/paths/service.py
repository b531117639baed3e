"""The verb of paths."""

from __future__ import annotations

from datetime import timedelta

from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.values import Actor
from tenure.paths.model import Ways, runs_of, ways_of
from tenure.runtime import service as runtime
from tenure.telemetry import service as telemetry


def ways(world: World, actor: Actor, *, agent: str | None, source: str | None, hours: int, most: int) -> Ways:
    """The ways that runs went of which a step began in the last ``hours``: of one agent, or imported from one
    source, or all. At most ``most`` traces are read, the newest; of what was said in them, nothing."""
    permit(actor, "events:read")
    since = world.clock() - timedelta(hours=hours)
    with world.read() as connection:
        tasks = runtime.tasks(connection, actor.workspace, since - timedelta(days=1))
    return ways_of(runs_of(telemetry.walked(world, actor.workspace, since, agent, source, most), tasks))
