"""What agents did over a time, counted, for rules over figures. As far as the trace store has read: what asks every
minute does not hold up what writes."""

from __future__ import annotations

from datetime import datetime

from tenure.base.room import World
from tenure.telemetry.measured import Cause, Changed, Measured, Walked
from tenure.telemetry.traces.shelf import store_of


def measured(world: World, workspace: str, since: datetime, until: datetime) -> list[Measured]:
    """Each agent's figures of a workspace over a time, by name."""
    return store_of(world).measured(workspace, since, until)


def causes(world: World, workspace: str, since: datetime, until: datetime, agent: str | None) -> list[Cause]:
    """What the calls of one agent, or of all, were made to and how they ended, the most frequent first."""
    return store_of(world).causes(workspace, since, until, agent)


def changes(world: World, workspace: str, since: datetime, until: datetime, agent: str | None = None) -> list[Changed]:
    """What was changed of one agent, and of what is no agent's own, the newest first."""
    return store_of(world).changes(workspace, since, until, agent)


def walked(  # noqa: PLR0917 (what is asked for, and how much)
    world: World, workspace: str, since: datetime, agent: str | None, source: str | None, runs: int
) -> list[Walked]:
    """The steps of the newest ``runs`` traces since a time, as facts: see ``TraceStore.walked``."""
    return store_of(world).walked(workspace, since, agent, source, runs)
