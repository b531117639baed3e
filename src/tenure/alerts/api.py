"""Alerts over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from tenure.alerts import report, service
from tenure.alerts.model import (
    MAX_NOTE,
    NAME,
    Alert,
    Each,
    Finding,
    Measure,
    Rule,
    Severity,
    Way,
    condition,
    short,
    span,
)
from tenure.alerts.model import sentence as words_of
from tenure.base.http import TheActor, TheWorld

router = APIRouter(tags=["alerts"])
Name = Annotated[str, Path(pattern=f"^{NAME}$", description="The rule's name")]
Ident = Annotated[str, Path(max_length=64, description="The alert's id")]


class RuleIn(BaseModel):
    """A rule: ``measure`` over the last ``over`` is ``way`` the ``bound``; for ``rises`` and ``falls`` as a share of
    what it was in ``against`` before that (0.5: half as much again). Nothing is said of fewer than ``at_least``."""

    measure: Measure
    way: Way
    bound: float
    over: str = Field("1h", description="15m, 1h, 7d")
    against: str = Field("7d", description="As over; for rises and falls")
    at_least: int = Field(20, ge=1, le=1_000_000)
    each: Each = Each.AGENT
    agents: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=50, description="Patterns; none for all"
    )
    severity: Severity = Severity.WARNING
    about: str = Field("", max_length=MAX_NOTE, description="What it means, for those who are told")
    off: bool = False

    def rule(self, name: str) -> Rule:
        """As the verbs know it. Raises Refused (422)."""
        facts = self.model_dump() | {"over": span(self.over, "over"), "against": span(self.against, "against")}
        return Rule(name, **facts | {"agents": tuple(self.agents)})


class RuleOut(RuleIn):
    """A rule as it is. ``standard``: it holds in every workspace; ``condition``: the rule in a line."""

    name: str
    condition: str
    standard: bool
    set_by: str
    set_at: datetime | None


class RuleList(BaseModel):
    """The rules of the workspace."""

    rules: list[RuleOut]


class RemovedOut(BaseModel):
    """The rule that is gone, and the standard one that holds again in its place."""

    removed: str
    standard: RuleOut | None


class FoundOut(BaseModel):
    """When a rule would have begun to hold, for whom (empty: the whole workspace), and the figures in a sentence."""

    time: datetime
    agent: str
    value: float | None
    words: str


class TriedOut(BaseModel):
    """What a rule would have found over the last ``days``, looked at ``looks`` times."""

    days: int
    looks: int
    found: list[FoundOut]


class CauseOut(BaseModel):
    """A share of what the alert is about: calls to ``resource`` that ended in ``error``, and one trace of them."""

    resource: str
    error: str
    calls: int
    share: float
    trace: str


class ChangeOut(BaseModel):
    """Something that was changed shortly before."""

    type: str
    time: datetime
    by: str
    agent: str
    name: str


class EvidenceOut(BaseModel):
    """Where it comes from, the biggest share first, and what was changed, the newest first."""

    causes: list[CauseOut] = []
    changes: list[ChangeOut] = []


class AlertOut(BaseModel):
    """A rule that holds, or held, for ``agent`` (empty: the whole workspace). ``words``: the figures in a sentence as
    of ``met_at``; ``about``: what the rule means. It is over since ``over_at``; ``seen_by`` looks after it."""

    id: str
    rule: str
    agent: str
    severity: Severity
    words: str
    about: str
    value: float
    raised_at: datetime
    met_at: datetime
    over_at: datetime | None
    seen_by: str
    seen_at: datetime | None
    note: str
    quiet_until: datetime | None
    evidence: EvidenceOut


class AlertList(BaseModel):
    """Alerts: those that go on, then the newest. ``open``: how many go on in all."""

    alerts: list[AlertOut]
    open: int


class SeenIn(BaseModel):
    """What the person who looks after it says; with ``quiet`` (1h, 7d) no further one is raised for so long."""

    note: str = Field("", max_length=MAX_NOTE)
    quiet: str = ""


def _rule(rule: Rule) -> RuleOut:
    facts: dict[str, Any] = {name: getattr(rule, name) for name in RuleIn.model_fields}
    facts |= {"over": short(rule.over), "against": short(rule.against), "agents": list(rule.agents)}
    return RuleOut(
        **facts,
        name=rule.name,
        condition=condition(rule),
        standard=rule.standard,
        set_by=rule.set_by,
        set_at=rule.set_at,
    )


def _alerts(world: TheWorld, actor: TheActor, found: Iterable[Alert]) -> list[AlertOut]:
    abouts = {rule.name: rule.about for rule in service.rules(world, actor)}
    own = [name for name in AlertOut.model_fields if name not in ("about", "evidence")]
    return [
        AlertOut(
            **{name: getattr(alert, name) for name in own},
            about=abouts.get(alert.rule, ""),
            evidence=EvidenceOut.model_validate(alert.evidence),
        )
        for alert in found
    ]


def _found(at: datetime, found: Finding) -> FoundOut:
    return FoundOut(time=at, agent=found.agent, value=found.now.value, words=words_of(found))


# The fixed words come before the names: an alert has an id, never the name "rules".
@router.get("/v1/alerts/rules")
def list_rules(world: TheWorld, actor: TheActor) -> RuleList:
    """What is looked at once a minute: the workspace's own rules, and standard ones that it has none in place of."""
    return RuleList(rules=[_rule(rule) for rule in service.rules(world, actor)])


@router.put("/v1/alerts/rules/{name}")
def put_rule(world: TheWorld, actor: TheActor, name: Name, wanted: RuleIn) -> RuleOut:
    """Sets a rule, in place of another of that name, also of a standard one."""
    return _rule(service.put(world, actor, wanted.rule(name)))


@router.post("/v1/alerts/rules/{name}/off")
def turn_off(world: TheWorld, actor: TheActor, name: Name) -> RuleOut:
    """Turns a rule off, also a standard one. Setting it again turns it on; removing it brings a standard one back."""
    return _rule(service.turn_off(world, actor, name))


@router.delete("/v1/alerts/rules/{name}")
def remove_rule(world: TheWorld, actor: TheActor, name: Name) -> RemovedOut:
    """Removes a rule of the workspace's own; a standard one of its name holds again."""
    standard = service.remove(world, actor, name)
    return RemovedOut(removed=name, standard=_rule(standard) if standard else None)


@router.post("/v1/alerts/rules/{name}/try")
def try_rule(
    world: TheWorld, actor: TheActor, name: Name, wanted: RuleIn, days: Annotated[int, Query(ge=1, le=30)] = 7
) -> TriedOut:
    """When this rule would have raised an alert over the last days. It is not kept, and nobody is told."""
    found = service.try_out(world, actor, wanted.rule(name), days)
    return TriedOut(days=days, looks=service.TRIALS, found=[_found(at, one) for at, one in found])


@router.get("/v1/alerts")
def list_alerts(
    world: TheWorld,
    actor: TheActor,
    agent: Annotated[str | None, Query(max_length=63)] = None,
    state: Literal["open", "over"] | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> AlertList:
    """Alerts that go on, then those that are over, for 90 days."""
    found = service.find(world, actor, agent=agent, state=state, limit=limit)
    return AlertList(alerts=_alerts(world, actor, found), open=service.count_open(world, actor))


@router.get("/v1/alerts/{alert_id}")
def get_alert(world: TheWorld, actor: TheActor, alert_id: Ident) -> AlertOut:
    """One alert with where it comes from and what was changed before."""
    [found] = _alerts(world, actor, [service.one(world, actor, alert_id)])
    return found


@router.post("/v1/alerts/{alert_id}/see")
def see_alert(world: TheWorld, actor: TheActor, alert_id: Ident, body: SeenIn) -> AlertOut:
    """Says that one looks after it, so that others need not."""
    quiet = span(body.quiet, "quiet") if body.quiet else None
    [found] = _alerts(world, actor, [service.see(world, actor, alert_id, body.note, quiet)])
    return found


class LineOut(BaseModel):
    """One figure of a report: now, before, and both as people write them. ``better``: whether the change is for the
    good, None where that cannot be said."""

    name: str
    now: float | None
    before: float | None
    now_words: str
    before_words: str
    better: bool | None


class AgentLineOut(BaseModel):
    """One agent of a report."""

    agent: str
    calls: int
    runs: int
    error_rate: float | None
    success_rate: float | None
    cost_usd: str
    unpriced: int = Field(description="Calls of models of which no price is known; they are not in the cost")


class ReportOut(BaseModel):
    """A period in figures beside the one before, what went wrong, and what was changed: for those who were not there.
    ``summary``: in a few sentences."""

    since: datetime
    until: datetime
    summary: list[str]
    figures: list[LineOut]
    agents: list[AgentLineOut]
    alerts: list[AlertOut]
    changes: list[ChangeOut]


@router.get("/v1/report")
def get_report(world: TheWorld, actor: TheActor, days: Annotated[int, Query(ge=1, le=90)] = 7) -> ReportOut:
    """The last days of the workspace for those who answer for it, on one page."""
    made = report.make(world, actor, days)
    return ReportOut(
        since=made.since,
        until=made.until,
        summary=list(made.summary),
        figures=[LineOut.model_validate(line, from_attributes=True) for line in made.figures],
        agents=[AgentLineOut.model_validate(line, from_attributes=True) for line in made.agents],
        alerts=_alerts(world, actor, made.alerts),
        changes=[
            ChangeOut(type=one.type, time=one.time, by=one.actor, agent=one.agent or "", name=one.name)
            for one in made.changes
        ],
    )
