"""Flows: every workspace's rules are looked at once a minute, and alerts of long ago forgotten."""

from __future__ import annotations

from tenure.alerts import service
from tenure.base.room import Flow, World
from tenure.identity import service as identity


def _look(world: World, workspace: str) -> bool:
    service.look_at(world, workspace)
    return False  # never the beginning of a further step


def _forget(world: World, _key: str) -> bool:
    return service.forget(world)


LOOK = Flow(
    "alerts.look",
    lambda connection, _now: identity.workspaces(connection),
    _look,
    every=60.0,
    calls_for=service.anything_to_say,
)
FORGETTING = Flow("alerts.forgetting", lambda _connection, _now: ("all",), _forget, every=3600.0)
