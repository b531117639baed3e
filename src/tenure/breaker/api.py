"""Breakers over HTTP."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.breaker import cascade, service
from tenure.breaker.model import Breaker, Count, Limits, Scope, Setting, Share, Spend

router = APIRouter(tags=["breaker"])

Name = Annotated[
    str,
    Field(
        max_length=200,
        description="The agent, `server/tool`, the release's digest, or the agent that began the work; empty for the "
        "workspace",
    ),
]
Window = Annotated[float, Field(description="Seconds, 1 to 86400")]
Reason = Annotated[str, Field(min_length=1, max_length=2000, description="Why; kept in the audit")]


class CountIn(BaseModel):
    """So many within so long."""

    count: int
    window_s: Window


class ShareIn(BaseModel):
    """A share of the calls, of at least so many, within so long."""

    share: float = Field(description="Above 0, at most 1")
    least: int = Field(description="Calls, below which it does not trip")
    window_s: Window


class SpendIn(BaseModel):
    """So much money within so long."""

    usd: Decimal = Field(description="US dollars", max_digits=18)
    window_s: Window


class LimitsBody(BaseModel):
    """What trips a breaker. ``violations`` of an agent are its manifest's to say. ``trials``: so many calls must go
    well after a reset before all may pass again; 0: they may at once."""

    violations: CountIn | None = None
    anomalies: CountIn | None = None
    errors: ShareIn | None = None
    spend: SpendIn | None = None
    trials: int = 0


class BreakerOut(BaseModel):
    """A breaker: of an agent, a tool, a release, a chain (all work that an agent began) or the workspace. ``state``:
    closed, half_open (only ``trials`` calls may pass, of which ``tried`` may and ``good`` went well) or tripped.
    ``violations``: those counted since the last reset."""

    scope: Scope
    name: str
    state: str
    tripped: bool
    tripped_at: datetime | None
    tripped_by: str
    reason: str
    epoch: int
    violations: int
    limits: LimitsBody
    trials: int
    tried: int
    good: int
    reset_at: datetime | None
    reset_by: str | None
    reset_reason: str


class DependantOut(BaseModel):
    """An agent that depends on another. ``steps``: 1 for one that calls it itself, 2 for one that calls such a one...;
    ``through``: whom it reaches it by. ``declared``: its manifest says that it cannot work without; ``granted``: it
    may call it; ``calls``: how often it did in the last seven days, null when nobody knows now."""

    agent: str
    state: str
    steps: int
    through: str
    declared: bool
    granted: bool
    calls: int | None


class DependantsOut(BaseModel):
    """Who depends on an agent, the nearest first. ``while_stopped``: what becomes of calls of it while it is stopped:
    hold (refused, and why is said), tell or allow (they pass)."""

    agent: str
    while_stopped: str
    dependants: list[DependantOut]


class ReachOut(BaseModel):
    """What stopping comes to: agents whose calls are refused, their running instances, calls that wait for approval,
    and calls of the last minute (null: not known)."""

    scope: Scope
    name: str
    agents: list[str]
    instances: int
    held: int
    calls_last_minute: int | None


class StopIn(BaseModel):
    """What to stop, and why."""

    scope: Scope
    name: Name = ""
    reason: Reason


class ResetIn(StopIn):
    """What may go on, and why that is safe. ``trials``: only so many calls at first; null: as many as is set."""

    trials: int | None = None


class StoppedOut(BaseModel):
    """``changed`` is false when it stood already."""

    changed: bool
    breaker: BreakerOut


class SettingOut(BaseModel):
    """What is set for a breaker; the name ``*`` means each of the scope."""

    scope: Scope
    name: str
    limits: LimitsBody
    set_by: str
    set_at: datetime


class LimitsIn(BaseModel):
    """What is to trip a breaker; the name ``*`` means each of the scope, counted for itself."""

    scope: Scope
    name: Name = ""
    limits: LimitsBody


class PlaceIn(BaseModel):
    """A breaker."""

    scope: Scope
    name: Name = ""


def _limits_out(limits: Limits) -> LimitsBody:
    return LimitsBody.model_validate(limits, from_attributes=True)


def _limits_in(body: LimitsBody) -> Limits:
    def count(part: CountIn | None) -> Count | None:
        return Count(part.count, part.window_s) if part else None

    return Limits(
        violations=count(body.violations),
        anomalies=count(body.anomalies),
        errors=Share(body.errors.share, body.errors.least, body.errors.window_s) if body.errors else None,
        spend=Spend(body.spend.usd, body.spend.window_s) if body.spend else None,
        trials=body.trials,
    )


def _out(item: Breaker, limits: Limits) -> BreakerOut:
    return BreakerOut(
        scope=item.place.scope,
        name=item.place.name,
        state=item.state,
        tripped=item.tripped,
        tripped_at=item.tripped_at,
        tripped_by=item.tripped_by,
        reason=item.reason,
        epoch=item.epoch,
        violations=item.violations,
        limits=_limits_out(limits),
        trials=item.trials,
        tried=len(item.tried),
        good=item.good,
        reset_at=item.reset_at,
        reset_by=item.reset_by,
        reset_reason=item.reset_reason,
    )


def _setting(item: Setting) -> SettingOut:
    return SettingOut(
        scope=item.place.scope,
        name=item.place.name,
        limits=_limits_out(item.limits),
        set_by=item.set_by,
        set_at=item.set_at,
    )


@router.get("/v1/breakers")
def find(world: TheWorld, actor: TheActor) -> list[BreakerOut]:
    """Every breaker: each agent's, the workspace's, and those that were ever stopped or that something is set for; what
    is not closed first."""
    permit(actor, "breakers:read")
    return [_out(one.breaker, one.limits) for one in service.find(world, actor.workspace)]


@router.get("/v1/breakers/reach")
def reach(world: TheWorld, actor: TheActor, scope: Scope, name: str = "") -> ReachOut:
    """What stopping something would come to."""
    permit(actor, "breakers:read")
    found = service.reach(world, actor, scope, name)
    return ReachOut(
        scope=found.place.scope,
        name=found.place.name,
        agents=list(found.agents),
        instances=found.instances,
        held=found.held,
        calls_last_minute=found.calls_last_minute,
    )


@router.get("/v1/agents/{name}/dependants")
def dependants(world: TheWorld, actor: TheActor, name: str) -> DependantsOut:
    """Who depends on an agent, by its declaration, by a grant to call it or by having called it: what stopping it would
    come to for others."""
    permit(actor, "agents:read")
    found = cascade.dependants(world, actor, name)
    listed = [DependantOut.model_validate(one, from_attributes=True) for one in found.dependants]
    return DependantsOut(agent=found.agent, while_stopped=found.while_stopped, dependants=listed)


@router.post("/v1/breakers/stop")
def stop(world: TheWorld, actor: TheActor, body: StopIn) -> StoppedOut:
    """Stops at once: gateways are told before anything else is done, and refuse every call of it; streams end."""
    done = service.stop(world, actor, body.scope, body.name, body.reason)
    return StoppedOut(changed=done.changed, breaker=_out(done.breaker, Limits()))


@router.post("/v1/breakers/reset")
def reset(world: TheWorld, actor: TheActor, body: ResetIn) -> BreakerOut:
    """Lets calls pass again, or some on trial. Operators only, persons only; 409 when the breaker is closed."""
    done = service.reset(world, actor, body.scope, body.name, body.reason, trials=body.trials)
    return _out(done, Limits())


@router.get("/v1/breakers/limits")
def settings(world: TheWorld, actor: TheActor) -> list[SettingOut]:
    """What this workspace has set."""
    permit(actor, "breakers:read")
    return [_setting(one) for one in service.settings(world, actor.workspace)]


@router.put("/v1/breakers/limits")
def set_limits(world: TheWorld, actor: TheActor, body: LimitsIn) -> SettingOut:
    """Sets what trips a breaker, in place of what was set for it before."""
    return _setting(service.set_limits(world, actor, body.scope, body.name, _limits_in(body.limits)))


@router.post("/v1/breakers/limits/drop")
def drop_limits(world: TheWorld, actor: TheActor, body: PlaceIn) -> PlaceIn:
    """Forgets what was set for a breaker."""
    service.drop_limits(world, actor, body.scope, body.name)
    return body
