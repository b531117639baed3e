"""A period of a workspace on one page: its figures beside the period before, what went wrong, what was changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tenure.alerts import store
from tenure.alerts.model import Alert, Measure, amount, figure, together
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.values import Actor
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import Changed, Measured

_AGENTS, _ALERTS, _CHANGES = 10, 50, 50
_BETTER: dict[Measure, bool | None] = {
    Measure.SUCCESS_RATE: True,  # more is better
    Measure.ERROR_RATE: False,
    Measure.REFUSED_RATE: None,
    Measure.HELD_RATE: None,
    Measure.OVERRIDE_RATE: False,
    Measure.CALLS: None,
    Measure.STEPS_PER_RUN: False,
    Measure.COST: None,
    Measure.COST_PER_SUCCESS: False,
}
"""The figures of a report in their order, and whether more of one is better; None where that depends."""


@dataclass(frozen=True, slots=True)
class Line:
    """A figure now and before; ``better`` says whether the change is for the good."""

    name: str
    now: float | None
    before: float | None
    now_words: str
    before_words: str
    better: bool | None


@dataclass(frozen=True, slots=True)
class AgentLine:
    """One agent in the period. Calls of models of which no price is known (``unpriced``) are not in its cost."""

    agent: str
    calls: int
    runs: int
    error_rate: float | None
    success_rate: float | None
    cost_usd: str
    unpriced: int


@dataclass(frozen=True, slots=True)
class Report:
    """What ``make`` makes. Agents are those that cost the most, or else did the most."""

    since: datetime
    until: datetime
    summary: tuple[str, ...]
    figures: tuple[Line, ...]
    agents: tuple[AgentLine, ...]
    alerts: tuple[Alert, ...]
    changes: tuple[Changed, ...]


def make(world: World, actor: Actor, days: int) -> Report:
    """The last ``days`` of the actor's workspace. Raises Refused (403)."""
    permit(actor, "alerts:read")
    until = world.clock()
    since = until - timedelta(days=days)
    now = telemetry.measured(world, actor.workspace, since, until)
    before = telemetry.measured(world, actor.workspace, since - (until - since), since)
    with world.read() as conn:
        every = store.find(conn, actor.workspace, limit=1000)
    alerts = tuple(one for one in every if one.over_at is None or one.over_at >= since)
    changes = telemetry.changes(world, actor.workspace, since, until)
    lines = tuple(_line(measure, together(now), together(before)) for measure in _BETTER)
    rows = sorted(now, key=lambda one: (-one.cost_usd, -one.calls, one.agent))
    return Report(
        since,
        until,
        tuple(_summary(days, now, before, alerts, changes)),
        lines,
        tuple(map(_agent, rows[:_AGENTS])),
        alerts[:_ALERTS],
        tuple(changes[:_CHANGES]),
    )


def _line(measure: Measure, now: Measured, before: Measured) -> Line:
    one, other = figure(measure, now).value, figure(measure, before).value
    wanted = _BETTER[measure]
    better = None
    if wanted is not None and one is not None and other is not None and one != other:
        better = (one > other) == wanted
    return Line(measure.value, one, other, _words(measure, one, now), _words(measure, other, before), better)


def _words(measure: Measure, value: float | None, of: Measured) -> str:
    if measure not in (Measure.COST, Measure.COST_PER_SUCCESS) or not of.unpriced or value is None:
        return amount(measure, value)
    return f"at least {amount(measure, value)}" if value else "not known"


def _agent(one: Measured) -> AgentLine:
    errors, success = figure(Measure.ERROR_RATE, one).value, figure(Measure.SUCCESS_RATE, one).value
    return AgentLine(
        one.agent, one.calls, one.runs, errors, success, format(one.cost_usd.normalize(), "f"), one.unpriced
    )


def _cost(found: Measured, words: str) -> str:
    if not found.unpriced:
        return f"for {words}"
    calls = f"{found.unpriced:,} call{'s' if found.unpriced > 1 else ''} of models of which no price is known"
    return f"for {words}, and {calls}" if found.cost_usd else f"with {calls}"


def _summary(
    days: int, now: Sequence[Measured], before: Sequence[Measured], alerts: Sequence[Alert], changes: Sequence[Changed]
) -> list[str]:
    """What somebody would say who has one minute."""
    period = "day" if days == 1 else f"{days} days"
    if not now:
        return [f"No agent made a call in the last {period}."]
    all_now, all_before = together(now), together(before)
    agents = f"{len(now)} agent{'s' if len(now) > 1 else ''}"
    cost = _cost(all_now, amount(Measure.COST, float(all_now.cost_usd)))
    lines = [f"In the last {period} {agents} made {all_now.calls:,} calls in {all_now.runs:,} runs {cost}."]
    for measure, words in (
        (Measure.SUCCESS_RATE, "{now} of the judged runs solved what they were for{was}."),
        (Measure.ERROR_RATE, "{now} of the calls that went out failed{was}."),
        (Measure.HELD_RATE, "{now} of the calls were handed to a person{was}."),
    ):
        one, other = figure(measure, all_now).value, figure(measure, all_before).value
        if one is not None:
            was = f", where it was {amount(measure, other)} in the {period} before" if other is not None else ""
            lines.append(words.format(now=amount(measure, one), was=was))
    going = [one for one in alerts if one.over_at is None]
    lines.append(
        f"{len(going)} of {len(alerts)} alerts still go on: {going[0].words}"
        if going
        else f"{len(alerts)} alerts were raised, and none goes on."
        if alerts
        else "No alert was raised."
    )
    if changes:
        lines.append(f"{len(changes)} changes were made to agents, tools and policies.")
    return lines
