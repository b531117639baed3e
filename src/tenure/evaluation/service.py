"""The verbs of evaluation."""

from __future__ import annotations

from tenure.base.room import World
from tenure.evaluation import model
from tenure.kernel.values import Actor
from tenure.telemetry import service as telemetry


def reliability(world: World, actor: Actor, source: str | None = None) -> tuple[model.Reliability, ...]:
    """pass^k of every recorded file in the actor's workspace, or of one source's only."""
    return model.reliability(telemetry.outcomes(world, actor, source=source))
