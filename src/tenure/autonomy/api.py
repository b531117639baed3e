"""Oversight over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.autonomy import earned, service
from tenure.autonomy.earning import LEAST_BOUND, LEAST_CALLS, Record, State
from tenure.autonomy.model import LEVELS, Floor, Notice
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.values import Autonomy, LifecycleState

router = APIRouter(tags=["autonomy"])


class FloorOut(BaseModel):
    """The least oversight that every tool of every agent of the workspace has; ``by`` is empty when nobody set it."""

    level: Autonomy
    words: str
    by: str = ""
    since: datetime | None = None
    reason: str = ""


class FloorIn(BaseModel):
    """A new floor, and why."""

    level: Autonomy
    reason: str = Field(min_length=1, max_length=2000)


class FurtherOut(BaseModel):
    """A policy that may decide otherwise, by what a call says: what it would come to (proceed, approval, stop), and
    what it looks at."""

    policy: str
    speaks: str
    reason: str
    looks_at: list[str]


class LevelOut(BaseModel):
    """The level in force, and those that it is the strictest of; ``earned`` stands for the manifest's where a person
    relaxed them; ``set_by``: which of them ask for it."""

    in_force: Autonomy
    own: Autonomy
    agent: Autonomy
    workspace: Autonomy
    earned: Autonomy | None
    set_by: list[str]


class LineOut(BaseModel):
    """One thing that the agent was granted. ``verdict``: it may proceed, needs approval, or must stop; ``off``: why
    nothing passes now all the same."""

    kind: str
    resource: str
    verdict: str
    why: str
    policies: list[str]
    level: LevelOut | None
    further: list[FurtherOut]
    off: str


class BoundaryOut(BaseModel):
    """Where the agent's own decisions end, under this release and this version of the policies."""

    agent: str
    state: LifecycleState
    release: str
    policy_version: str
    floor: Autonomy
    lines: list[LineOut]


class NoticeOut(BaseModel):
    """Calls on the level notify that nobody has said to have seen; ``call_id`` and ``trace_id``: the last one's."""

    agent: str
    resource: str
    calls: int
    first_at: datetime
    last_at: datetime
    call_id: str
    trace_id: str | None


class SeenIn(BaseModel):
    """What was seen: everything up to ``upto``, as the list shows it in ``last_at``."""

    agent: str = Field(max_length=63)
    resource: str = Field(max_length=400)
    upto: datetime


class EarnedOut(BaseModel):
    """What is on record of an agent's use of a tool under its present release. ``bound``: the share of good calls that
    is proved at 95 % (Clopper and Pearson); ``wanted``: the share, and ``least`` the calls, that it takes to propose
    ``level`` in place of ``declared``. ``in_force``: a person has accepted it."""

    agent: str
    resource: str
    release: str
    declared: Autonomy
    level: Autonomy
    state: State
    calls: int
    good: int
    failed: int
    overridden: int
    share: float
    bound: float
    wanted: float
    least: int
    in_force: bool
    since: datetime | None
    by: str
    reason: str


class EarnedIn(BaseModel):
    """A person's answer to what was shown: accept or decline a proposal, or end what was accepted."""

    agent: str = Field(max_length=63)
    resource: str = Field(max_length=400)
    release: str = Field(max_length=80)
    decision: Literal["accept", "decline", "end"]
    reason: str = Field(min_length=1, max_length=2000)


def _earned(item: Record) -> EarnedOut:
    return EarnedOut(
        agent=item.agent,
        resource=item.resource,
        release=item.release,
        declared=item.declared,
        level=item.level,
        state=item.state,
        calls=item.calls,
        good=item.good,
        failed=item.failed,
        overridden=item.overridden,
        share=round(item.good / item.calls, 4) if item.calls else 0.0,
        bound=round(item.bound, 4),
        wanted=LEAST_BOUND,
        least=LEAST_CALLS,
        in_force=item.state is State.ACCEPTED,
        since=item.since,
        by=item.by,
        reason=item.reason,
    )


def _floor(item: Floor | None) -> FloorOut:
    if item is None:
        return FloorOut(level=Autonomy.AUTONOMOUS, words=LEVELS[Autonomy.AUTONOMOUS])
    words = LEVELS[item.level]
    return FloorOut(level=item.level, words=words, by=item.by, since=item.since, reason=item.reason)


def _notice(item: Notice) -> NoticeOut:
    return NoticeOut.model_validate(item, from_attributes=True)


def _line(line: service.Line) -> LineOut:
    bound = line.bound
    return LineOut(
        kind=bound.kind.value,
        resource=bound.resource,
        verdict=bound.verdict,
        why=bound.why,
        policies=list(bound.policies),
        level=LevelOut.model_validate(line.level, from_attributes=True) if line.level is not None else None,
        further=[FurtherOut.model_validate(one, from_attributes=True) for one in bound.further],
        off=line.off,
    )


@router.get("/v1/autonomy")
def floor(world: TheWorld, actor: TheActor) -> FloorOut:
    """The least oversight that every tool of every agent of the workspace has."""
    return _floor(service.floor_of(world, actor))


@router.put("/v1/autonomy")
def set_floor(world: TheWorld, actor: TheActor, body: FloorIn) -> FloorOut:
    """Sets it. It holds from the next Snapshot on; of it, the agent and the tool the strictest is in force."""
    return _floor(service.set_floor(world, actor, body.level, body.reason))


@router.get("/v1/agents/{name}/boundary")
def boundary(world: TheWorld, actor: TheActor, name: str) -> BoundaryOut:
    """For everything that the agent was granted: it may proceed, needs a person's approval, or must stop, and why."""
    found = service.boundary(world, actor, name)
    return BoundaryOut(
        agent=found.agent,
        state=found.state,
        release=found.release,
        policy_version=found.policy_version,
        floor=found.floor,
        lines=[_line(line) for line in found.lines],
    )


@router.get("/v1/notices")
def notices(world: TheWorld, actor: TheActor) -> list[NoticeOut]:
    """What agents did on the level notify and nobody has said to have seen, the newest first."""
    return [_notice(item) for item in service.notices(world, actor)]


@router.post("/v1/notices/seen", status_code=204)
def see(world: TheWorld, actor: TheActor, body: SeenIn) -> None:
    """Says that it was seen. 409 when the agent has done more since ``upto``."""
    service.see(world, actor, body.agent, body.resource, body.upto)


@router.get("/v1/autonomy/earned")
def earned_levels(world: TheWorld, actor: TheActor) -> list[EarnedOut]:
    """The evidence on every tool whose level could be relaxed; what a person is asked about first."""
    return [_earned(item) for item in earned.find(world, actor)]


@router.post("/v1/autonomy/earned/decision")
def decide(world: TheWorld, actor: TheActor, body: EarnedIn) -> EarnedOut:
    """Answers a proposal, or ends what was accepted. 409 when the evidence or the release is another one by now."""
    told = (body.agent, body.resource, body.release, body.decision, body.reason)
    return _earned(earned.decide(world, actor, *told))
