"""The verb of comparison."""

from __future__ import annotations

from tenure.base.room import World
from tenure.comparison.model import Comparison, compare
from tenure.comparison.reading import steps_of
from tenure.kernel.values import Actor
from tenure.telemetry import service as telemetry


def compare_traces(world: World, actor: Actor, left: str, right: str) -> Comparison:
    """Two traces of the actor's workspace side by side. Raises Refused (404) for one that nothing is known of."""
    runs = [telemetry.trace(world, actor, trace_id) for trace_id in (left, right)]
    first, second = (steps_of(placed.span for placed in run.spans) for run in runs)
    return compare(first, second)
