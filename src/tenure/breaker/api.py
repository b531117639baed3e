"""Breakers over HTTP."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.breaker import service
from tenure.breaker.model import Breaker

router = APIRouter(tags=["breaker"])


class BreakerOut(BaseModel):
    """An agent's breaker: ``threshold`` violations within ``window_s`` seconds trip it. ``violations``: those counted
    since the last reset."""

    agent: str
    tripped: bool
    tripped_at: datetime | None
    reason: str
    epoch: int
    violations: int
    threshold: int
    window_s: float
    reset_by: str | None
    reset_reason: str


class ResetIn(BaseModel):
    """Why it is safe to let the agent act again."""

    reason: str = Field(min_length=1, max_length=2000)


class ResetOut(BaseModel):
    """The breaker after its reset."""

    agent: str
    tripped: bool
    epoch: int


def _out(standing: service.Standing) -> BreakerOut:
    item: Breaker = standing.breaker
    return BreakerOut(
        agent=item.agent,
        tripped=item.tripped,
        tripped_at=item.tripped_at,
        reason=item.reason,
        epoch=item.epoch,
        violations=item.violations,
        threshold=standing.threshold,
        window_s=standing.window_s,
        reset_by=item.reset_by,
        reset_reason=item.reset_reason,
    )


@router.get("/v1/breakers")
def find(world: TheWorld, actor: TheActor) -> list[BreakerOut]:
    """The breaker of every agent."""
    permit(actor, "breakers:read")
    return [_out(standing) for standing in service.find(world, actor.workspace)]


@router.post("/v1/agents/{name}/breaker/reset")
def reset(world: TheWorld, actor: TheActor, name: str, body: ResetIn) -> ResetOut:
    """Lets an agent act again. Operators only; 409 when its breaker is not tripped."""
    item = service.reset(world, actor, name, body.reason)
    return ResetOut(agent=item.agent, tripped=item.tripped, epoch=item.epoch)
