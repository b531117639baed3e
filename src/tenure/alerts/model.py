"""Rules over figures, what they find, and the words for it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.naming import uri_matches
from tenure.telemetry.model import Measured

NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
MAX_RULES = 100
MAX_NOTE = 500
CALM = timedelta(minutes=10)
"""An alert is over when what it is about has not held for so long: figures that swing around a bound are one alert."""
KEPT = timedelta(days=90)
"""How long alerts that are over are kept."""
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=30)
SURE = 2.326
"""A rate has risen or fallen when chance alone explains the difference in less than one of a hundred cases: a
two-proportion z test, one-sided, pooled."""
WHOLE = ""
"""The name under which the figures of all agents together stand."""
_SPAN = re.compile(r"([1-9][0-9]{0,3})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Measure(StrEnum):
    """What a rule is about, each over a window of time.

    Rates are shares from 0 to 1: ``error_rate`` of calls that went out, ``refused_rate``, ``held_rate`` (handed to a
    person), ``override_rate`` (a person rejected or corrected it) and ``anomaly_rate`` of all calls, ``handoff_rate``
    of runs (a person was brought in), ``success_rate`` of judged runs, ``coherence`` of tool calls (those that were no
    repetition of one before in their run with the same outcome). Totals: ``calls``, ``cost`` (dollars). Per run:
    ``steps_per_run``, ``tokens_per_run``, ``cost_per_run``; ``cost_per_success`` is of judged runs. ``p95_ms``: how
    long calls take.
    """

    ERROR_RATE = "error_rate"
    REFUSED_RATE = "refused_rate"
    HELD_RATE = "held_rate"
    HANDOFF_RATE = "handoff_rate"
    OVERRIDE_RATE = "override_rate"
    ANOMALY_RATE = "anomaly_rate"
    SUCCESS_RATE = "success_rate"
    COHERENCE = "coherence"
    CALLS = "calls"
    COST = "cost"
    STEPS_PER_RUN = "steps_per_run"
    TOKENS_PER_RUN = "tokens_per_run"
    COST_PER_RUN = "cost_per_run"
    COST_PER_SUCCESS = "cost_per_success"
    P95_MS = "p95_ms"


class Way(StrEnum):
    """How the figure is held against the bound: itself, or how much it changed as a share of what it was before."""

    ABOVE = "above"
    BELOW = "below"
    RISES = "rises"
    FALLS = "falls"


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Each(StrEnum):
    """Whether every agent is looked at, or all of the workspace as one."""

    AGENT = "agent"
    WORKSPACE = "workspace"


RATES = frozenset({*(measure for measure in Measure if measure.value.endswith("_rate")), Measure.COHERENCE})
TOTALS = frozenset({Measure.CALLS, Measure.COST})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``measure`` over the last ``over`` is ``way`` the ``bound``; for rises and falls, as a share of what it
    was in ``against`` before that (0.5: half as much again). Nothing is said of fewer than ``at_least`` things that
    were counted, in either time. ``agents``: patterns, none for all."""

    name: str
    measure: Measure
    way: Way
    bound: float
    over: timedelta = timedelta(hours=1)
    against: timedelta = timedelta(days=7)
    at_least: int = 20
    each: Each = Each.AGENT
    agents: tuple[str, ...] = ()
    severity: Severity = Severity.WARNING
    about: str = ""
    standard: bool = False
    off: bool = False
    set_by: str = ""
    set_at: datetime | None = None

    @property
    def compares(self) -> bool:
        """Whether it needs to know how it was before."""
        return self.way in (Way.RISES, Way.FALLS)


def _standard(name: str, measure: Measure, way: Way, bound: float, about: str, **more: object) -> Rule:
    return Rule(name, measure, way, bound, about=about, standard=True, **more)  # type: ignore[arg-type]  # fields of Rule


DAY = timedelta(days=1)
STANDARD: tuple[Rule, ...] = (
    _standard("error-spike", Measure.ERROR_RATE, Way.ABOVE, 0.2, "More than one call in five fails."),
    _standard(
        "silent-failure",
        Measure.SUCCESS_RATE,
        Way.FALLS,
        0.1,
        "Fewer runs solve what they were for, whatever speed and errors look like.",
        over=DAY,
        severity=Severity.CRITICAL,
    ),
    _standard("cost-runaway", Measure.COST, Way.RISES, 2.0, "An agent spends three times what it used to."),
    _standard("steps-rise", Measure.STEPS_PER_RUN, Way.RISES, 0.5, "Runs take half as many steps again.", over=DAY),
    _standard("refusals-rise", Measure.REFUSED_RATE, Way.RISES, 1.0, "Policy refuses twice as often."),
    _standard(
        "overrides-rise", Measure.OVERRIDE_RATE, Way.RISES, 0.5, "People reject or correct more often.", over=DAY
    ),
)
"""The rules that hold in every workspace until somebody sets others under their names, or turns them off."""


def span(text: str, where: str) -> timedelta:
    """``15m``, ``1h`` or ``7d``. Raises Refused (422)."""
    match = _SPAN.fullmatch(text.strip())
    found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not SHORTEST <= found <= LONGEST:
        problem = f"{where} is {text[:20]!r}, which is no length of time from 1m to 30d."
        raise Refused("bad_rule", problem, fix="Write it as 15m, 1h or 7d.", status=422)
    return found


def short(length: timedelta) -> str:
    """As ``span`` reads it."""
    minutes = int(length.total_seconds()) // 60
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def checked(rule: Rule) -> Rule:
    """``rule``, or Refused (422) with what does not fit."""
    problem = ""
    if not re.fullmatch(NAME, rule.name):
        problem = "A rule's name is of small letters, digits and dashes."
    elif not math.isfinite(rule.bound) or rule.bound < 0 or (rule.compares and rule.bound == 0):
        problem = "The bound is a number from 0; by how much something rises or falls is more than 0."
    elif rule.measure in RATES and not rule.compares and rule.bound > 1:
        problem = "A rate is a share from 0 to 1: 0.2 is one in five."
    elif rule.way is Way.FALLS and rule.bound > 1:
        problem = "Nothing falls by more than all of it: 0.1 is a tenth less."
    elif rule.compares and rule.against < rule.over:
        problem = "What it is held against is no shorter than what is looked at."
    elif rule.each is Each.WORKSPACE and (rule.measure is Measure.P95_MS or rule.agents):
        problem = "Of a whole workspace there is no p95_ms, and no choice of agents."
    if problem:
        raise Refused("bad_rule", problem, fix="`tenure alerts rules` shows rules that hold.", status=422)
    return rule


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure's value and how many things it was counted over; None without any."""

    value: float | None
    n: int


def figure(measure: Measure, found: Measured) -> Figure:
    """The measure of what was counted."""
    went = found.calls - found.refused
    cost, tokens = float(found.cost_usd), found.tokens
    count, n = {
        Measure.ERROR_RATE: (found.errors, went),
        Measure.REFUSED_RATE: (found.refused, found.calls),
        Measure.HELD_RATE: (found.held, found.calls),
        Measure.HANDOFF_RATE: (found.handed, found.runs),
        Measure.OVERRIDE_RATE: (found.overridden, found.calls),
        Measure.ANOMALY_RATE: (found.anomalies, found.calls),
        Measure.SUCCESS_RATE: (found.solved, found.judged),
        Measure.COHERENCE: (found.told - found.again, found.told),
        Measure.STEPS_PER_RUN: (found.calls, found.runs),
        Measure.TOKENS_PER_RUN: (tokens, found.runs),
        Measure.COST_PER_RUN: (cost, found.runs),
        Measure.COST_PER_SUCCESS: (cost, found.solved),
    }.get(measure, (0, 0))
    if measure is Measure.CALLS:
        return Figure(float(found.calls), found.calls)
    if measure is Measure.COST:
        return Figure(cost, found.calls)
    if measure is Measure.P95_MS:
        return Figure(None if found.p95_us is None else found.p95_us / 1000, went)
    return Figure(count / n if n else None, n)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found of one agent (or ``WHOLE``). ``met``: whether it holds; None when too little was counted to
    say. ``before``: the same figure in the time before, for rules that compare."""

    rule: Rule
    agent: str
    met: bool | None
    now: Figure
    before: Figure | None = None


def together(figures: Iterable[Measured]) -> Measured:
    """All agents as one. How long calls take cannot be added up."""
    rows = list(figures)
    names = [one.name for one in fields(Measured) if one.name not in ("agent", "p95_us")]
    return Measured(WHOLE, **{name: sum(getattr(row, name) for row in rows) for name in names})


def look(
    rule: Rule, now: Mapping[str, Measured], before: Mapping[str, Measured], active: Collection[str]
) -> list[Finding]:
    """What a rule finds: of every agent that did something or should have (``active``), by name."""
    if rule.each is Each.WORKSPACE:
        now, before = {WHOLE: together(now.values())}, {WHOLE: together(before.values())}
        names: Collection[str] = (WHOLE,)
    else:
        silence = rule.measure in TOTALS and rule.way in (Way.BELOW, Way.FALLS)
        names = {*now, *active} if silence else set(now)
        names = [name for name in names if not rule.agents or any(uri_matches(one, name) for one in rule.agents)]
    return [_found(rule, name, now.get(name), before.get(name)) for name in sorted(names)]


def _found(rule: Rule, agent: str, now: Measured | None, before: Measured | None) -> Finding:
    current = figure(rule.measure, now or Measured(agent))
    silent = rule.measure in TOTALS and rule.way is Way.BELOW
    if not rule.compares:
        if current.value is None or (current.n < rule.at_least and not silent):
            return Finding(rule, agent, None, current)
        met = current.value > rule.bound if rule.way is Way.ABOVE else current.value < rule.bound
        return Finding(rule, agent, met, current)
    was = figure(rule.measure, before or Measured(agent))
    if rule.measure in TOTALS and was.value is not None:
        was = Figure(was.value * (rule.over / rule.against), was.n)
    few = min(current.n, was.n) < rule.at_least and not (rule.measure in TOTALS and was.n >= rule.at_least)
    if current.value is None or was.value is None or few:
        return Finding(rule, agent, None, current, was)
    rises = rule.way is Way.RISES
    met = current.value > was.value * (1 + rule.bound) if rises else current.value < was.value * (1 - rule.bound)
    if met and rule.measure in RATES:
        met = abs(_z(current, was)) > SURE
    return Finding(rule, agent, met, current, was)


def _z(one: Figure, other: Figure) -> float:
    """How far two shares are apart, in standard errors of the difference if there were none (two-proportion z test)."""
    first, second = one.value or 0.0, other.value or 0.0
    pooled = (first * one.n + second * other.n) / (one.n + other.n)
    error = math.sqrt(pooled * (1 - pooled) * (1 / one.n + 1 / other.n))
    return (first - second) / error if error else 0.0


# -- in words ---------------------------------------------------------------------------------------------------------

_OF: Mapping[Measure, str] = {
    Measure.ERROR_RATE: "of the calls of {who} failed",
    Measure.REFUSED_RATE: "of the calls of {who} were refused",
    Measure.HELD_RATE: "of the calls of {who} were handed to a person",
    Measure.HANDOFF_RATE: "of the runs of {who} were handed to a person",
    Measure.OVERRIDE_RATE: "of the calls of {who} were rejected or corrected by a person",
    Measure.ANOMALY_RATE: "of the calls of {who} were out of the ordinary",
    Measure.SUCCESS_RATE: "of the judged runs of {who} solved what they were for",
    Measure.COHERENCE: "of the tool calls of {who} were no repetition with the same outcome",
    Measure.CALLS: "calls were made by {who}",
    Measure.COST: "were spent by {who}",
    Measure.STEPS_PER_RUN: "calls were made in each run of {who}",
    Measure.TOKENS_PER_RUN: "tokens were used in each run of {who}",
    Measure.COST_PER_RUN: "were spent on each run of {who}",
    Measure.COST_PER_SUCCESS: "were spent by {who} for each run that solved its task",
    Measure.P95_MS: "is what one in twenty calls of {who} took at least",
}
_COUNTED = {
    Measure.SUCCESS_RATE: "judged runs",
    Measure.COHERENCE: "tool calls",
    Measure.HANDOFF_RATE: "runs",
    Measure.COST_PER_SUCCESS: "solved runs",
    **dict.fromkeys((Measure.STEPS_PER_RUN, Measure.TOKENS_PER_RUN, Measure.COST_PER_RUN), "runs"),
}


def amount(measure: Measure, value: float | None) -> str:
    """A figure as people write it."""
    if value is None:
        return "–"
    if measure in RATES:
        return f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"
    if measure in (Measure.COST, Measure.COST_PER_RUN, Measure.COST_PER_SUCCESS):
        return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.4f}"
    if measure is Measure.P95_MS:
        return f"{value:,.0f} ms"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def time_words(length: timedelta) -> str:
    """``the last hour``."""
    text = short(length)
    number, unit = int(text[:-1]), {"m": "minute", "h": "hour", "d": "day"}[text[-1]]
    return f"the last {unit}" if number == 1 else f"the last {number} {unit}s"


def sentence(found: Finding) -> str:
    """What was found, with the figures: ``34% of the calls of scout failed in the last hour (17 of 50); in 7d before it
    was 2.1% of 3,120.``"""
    rule, who = found.rule, found.agent or "all agents"
    counted = _COUNTED.get(rule.measure, "calls")
    text = f"{amount(rule.measure, found.now.value)} {_OF[rule.measure].format(who=who)} in {time_words(rule.over)}"
    if rule.measure in RATES and found.now.value is not None:
        text += f" ({round(found.now.value * found.now.n):,} of {found.now.n:,})"
    elif rule.measure is not Measure.CALLS:
        text += f" ({found.now.n:,} {counted})"
    if found.before is not None and found.before.value is not None:
        was = amount(rule.measure, found.before.value)
        text += f"; before, over {short(rule.against)}, it was {was}"
        text += f" of {found.before.n:,}" if rule.measure in RATES else ""
        text += f" in {short(rule.over)}" if rule.measure in TOTALS else ""
    return text + "."


def condition(rule: Rule) -> str:
    """The rule in a line: ``error_rate over 1h is above 20%, of at least 20``."""
    bound = f"{rule.bound:.0%}" if rule.compares else amount(rule.measure, rule.bound)
    held = f"{rule.way} by {bound} against {short(rule.against)}" if rule.compares else f"is {rule.way} {bound}"
    return f"{rule.measure} over {short(rule.over)} {held}, of at least {rule.at_least}"


# -- alerts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alert:
    """That a rule holds, or held, for an agent (or ``WHOLE``). ``words``: the figures in a sentence, as they were when
    it was last met; ``evidence``: where it comes from (``causes``: resource, error, calls, share and a trace) and what
    was changed shortly before (``changes``: type, time, by, agent, name). ``seen_by``: who looks after it. No further
    alert of this rule and agent is raised until ``quiet_until``."""

    id: str
    workspace: str
    rule: str
    agent: str
    severity: Severity
    words: str
    value: float
    raised_at: datetime
    met_at: datetime
    over_at: datetime | None = None
    evidence: JsonObject = field(default_factory=dict)
    seen_by: str = ""
    seen_at: datetime | None = None
    note: str = ""
    quiet_until: datetime | None = None


def rules_of(own: Sequence[Rule]) -> list[Rule]:
    """The rules of a workspace by name: its own, and the standard ones that it has none in place of."""
    names = {rule.name for rule in own}
    return sorted([*own, *(rule for rule in STANDARD if rule.name not in names)], key=lambda rule: rule.name)
