"""What agents did, call by call or counted, for whoever asks what is usual. As far as the trace store has read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tenure.base.room import World
from tenure.telemetry.measured import Act, Measured, Reasoned, Signal, ToolShare
from tenure.telemetry.traces.shelf import store_of


def coherent(world: World, workspace: str, since: datetime, until: datetime) -> list[Measured]:
    """As ``measured``, with how many runs were handed to a person, and how many calls only repeated what was known."""
    how = {one.agent: one for one in store_of(world).reasoned(workspace, since, until)}
    found = store_of(world).measured(workspace, since, until)
    nothing = Reasoned("")
    return [
        replace(one, told=mine.calls, again=mine.again + mine.failed, handed=mine.handed)
        for one in found
        for mine in (how.get(one.agent, nothing),)
    ]


def acts(  # noqa: PLR0917 (whose, when, how many)
    world: World,
    workspace: str,
    agent: str,
    since: datetime,
    until: datetime,
    most: int,
    release: str | None = None,
) -> list[Act]:
    """The newest calls of an agent, oldest first: see ``TraceStore.acts``."""
    return store_of(world).acts(workspace, agent, since, until, most, release)


def actors(world: World, workspace: str, trace_id: str) -> list[tuple[str, datetime, datetime]]:
    """The agents whose calls are in a trace: see ``TraceStore.actors``."""
    return store_of(world).actors(workspace, trace_id)


def toolbox(world: World, workspace: str, since: datetime, until: datetime) -> list[ToolShare]:
    """How often every agent called each tool, and in how many runs."""
    return store_of(world).toolbox(workspace, since, until)


def signals(world: World, workspace: str, agent: str, since: datetime, grave: Sequence[str]) -> list[Signal]:
    """Which of ``SIGNALS`` are there of an agent: see ``TraceStore.signals``."""
    return store_of(world).signals(workspace, agent, since, grave)
