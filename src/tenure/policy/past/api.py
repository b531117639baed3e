"""What was decided, over HTTP: why, and what other policies would have said."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.base.sight import Sight, opened
from tenure.kernel.values import CallKind, Decision, Effect
from tenure.policy import service
from tenure.policy.api import File, RuleOut, rule_out
from tenure.policy.past import hindsight
from tenure.policy.past.replay import as_counts

router = APIRouter(tags=["policy"])


class ReplayIn(BaseModel):
    """Policies to decide the recorded calls by: of the last ``days``, of one agent or of all."""

    files: list[File] = Field(max_length=service.MAX_FILES)
    days: float = Field(7, gt=0, le=hindsight.MAX_DAYS)
    agent: str | None = None


class CountOut(BaseModel):
    """So many calls of an agent would have come out ``after`` instead of ``before``."""

    before: Effect
    after: Effect
    agent: str
    calls: int


class ChangeOut(BaseModel):
    """One such call, and which policies would have decided it."""

    id: str
    at: datetime
    agent: str
    resource: str
    before: Effect
    after: Effect
    policies: list[str]
    reason: str


class ReplayOut(BaseModel):
    """What came of it. ``changes`` are the first hundred, ``counts`` has all. Not decided again: ``skipped`` calls were
    refused for their agent's standing, of ``unknown`` ones too little is kept. Out of the arguments of ``inexact`` ones
    something had been taken before they were kept."""

    version: str
    since: datetime
    calls: int
    changed: int
    skipped: int
    unknown: int
    inexact: int
    counts: list[CountOut]
    changes: list[ChangeOut]
    took_s: float


class DecisionOut(BaseModel):
    """A decision. ``because``: the ids of the earlier calls that led to it. ``over``: the policies that gave way to
    those which determined it."""

    effect: Effect
    reason: str
    policies: list[str]
    obligations: list[str]
    policy_version: str
    because: list[str]
    over: list[str]


class AppliedOut(RuleOut):
    """A policy in scope: whether its conditions held, and whether the decision names it."""

    applies: bool
    determined: bool


class ExplainedOut(BaseModel):
    """A past decision, and the same decided again. ``same`` is null where that could not be done, ``missing`` says
    why, or what the second decision lacks. ``facts`` is the digest of what was known of the agent. ``words``: whether
    its policies were written in the words of this program (``current``), in those of one before it that are kept
    (``kept``), or of which it is not known ("")."""

    call_id: str
    at: datetime
    agent: str
    kind: CallKind
    resource: str
    arguments: dict[str, Any]
    withheld: str
    approved: bool
    facts: str
    words: Literal["current", "kept", ""]
    decided: DecisionOut
    again: DecisionOut | None
    same: bool | None
    missing: str
    rules: list[AppliedOut]


@router.post("/v1/policies/replay")
def replay(world: TheWorld, actor: TheActor, body: ReplayIn) -> ReplayOut:
    """Decides the calls of the last days by these files, and tells which would have been decided otherwise."""
    permit(actor, "events:read")
    files = [(file.name, file.text) for file in body.files]
    replayed = hindsight.replay_candidate(world, actor.workspace, files, body.days, body.agent)
    found = replayed.found
    return ReplayOut(
        version=replayed.version,
        since=replayed.since,
        calls=found.calls,
        changed=found.changed,
        skipped=found.skipped,
        unknown=found.unknown,
        inexact=found.inexact,
        counts=[CountOut.model_validate(row) for row in as_counts(found)],
        changes=[ChangeOut.model_validate(asdict(change)) for change in found.changes],
        took_s=replayed.took_s,
    )


@router.get("/v1/decisions/{call_id}")
def explain(world: TheWorld, actor: TheActor, call_id: str) -> ExplainedOut:
    """Why a past call was decided as it was: decided again from the same policies and facts, rule by rule."""
    permit(actor, "events:read")
    found = hindsight.explain(world, actor.workspace, call_id)
    past = found.past
    sight = Sight(world, actor)
    if seen := sight.of(found.past.agent):
        opened(world, actor, f"decision {found.past.id}", [found.past.agent])
    return ExplainedOut(
        call_id=past.id,
        at=past.at,
        agent=past.agent,
        kind=past.call.kind,
        resource=past.call.resource,
        arguments=dict(past.call.arguments) if seen else {},
        withheld=sight.ask,
        approved=past.approved,
        facts=past.facts,
        words=found.words,
        decided=_decision(past.decided),
        again=_decision(found.again) if found.again else None,
        same=found.same,
        missing=found.missing,
        rules=[
            AppliedOut(**rule_out(rule).model_dump(), applies=applies, determined=rule.id in past.decided.policies)
            for rule, applies in found.rules
        ],
    )


def _decision(decision: Decision) -> DecisionOut:
    return DecisionOut(
        effect=decision.effect,
        reason=decision.reason,
        policies=list(decision.policies),
        obligations=list(decision.obligations),
        policy_version=decision.policy_version,
        because=list(decision.because),
        over=list(decision.over),
    )
