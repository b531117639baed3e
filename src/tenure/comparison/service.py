"""The verb of comparison."""

from __future__ import annotations

from tenure.base.room import World
from tenure.comparison.model import Comparison, Step, compare
from tenure.comparison.reading import began_as, steps_of
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import Span

MOST_FORKS = 10
"""A fork of a fork, and so on: so many runs are read at most to know all steps of one."""


def compare_traces(world: World, actor: Actor, left: str, right: str) -> Comparison:
    """Two traces of the actor's workspace side by side. Raises Refused (404) for one that nothing is known of."""
    first, second = ([step for step, _ in run_of(world, actor, trace_id)] for trace_id in (left, right))
    return compare(first, second)


def run_of(world: World, actor: Actor, trace_id: str, most: int = MOST_FORKS) -> list[tuple[Step, Span]]:
    """The steps of a run in their order, each with the span that tells of it. A fork has those of the run that it plays
    again up to where it began; what nothing is known of any more is left out. Raises Refused (404) for a trace that
    nothing is known of."""
    spans = [placed.span for placed in telemetry.trace(world, actor, trace_id).spans]
    before, own = began_as(spans), steps_of(spans)
    if before is None or most <= 1:
        return own
    of, many = before
    try:
        return [*run_of(world, actor, of, most - 1)[:many], *own]
    except Refused:
        return own
