"""Approvals over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.approvals import service
from tenure.approvals.model import Approval, State
from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld

router = APIRouter(tags=["approvals"])


class ApprovalOut(BaseModel):
    """A held call, as the person who decides sees it. ``why`` and ``policies``: why it was held; ``reason``: the word
    of the person who decided; ``expires_at``: when the present state runs out by itself."""

    id: str
    agent: str
    release: str
    purpose: str
    resource: str
    arguments: dict[str, Any]
    digest: str
    why: str
    policies: list[str]
    policy_version: str
    state: State
    requested_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    reason: str
    call_id: str
    claim: str | None
    session: str | None
    instance: str | None
    trace_id: str | None
    span_id: str | None


class DecisionIn(BaseModel):
    """A person's answer; a rejection needs a reason."""

    decision: Literal["approve", "reject"]
    reason: str = Field("", max_length=2000)


def _out(item: Approval) -> ApprovalOut:
    return ApprovalOut.model_validate(item, from_attributes=True)


@router.get("/v1/approvals")
def find(
    world: TheWorld,
    actor: TheActor,
    state: State | None = None,
    agent: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[ApprovalOut]:
    """Approvals, newest first."""
    permit(actor, "approvals:read")
    return [_out(item) for item in service.find(world, actor.workspace, state=state, agent=agent, limit=limit)]


@router.get("/v1/approvals/{ident}")
def get(world: TheWorld, actor: TheActor, ident: str) -> ApprovalOut:
    """One approval."""
    permit(actor, "approvals:read")
    return _out(service.get(world, actor.workspace, ident))


@router.post("/v1/approvals/{ident}/decision")
def decide(world: TheWorld, actor: TheActor, ident: str, body: DecisionIn) -> ApprovalOut:
    """Approves or rejects a held call. 409 when it does not wait any more."""
    return _out(service.decide(world, actor, ident, body.decision == "approve", body.reason))
