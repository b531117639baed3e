"""Retention over HTTP."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import Thing, permit
from tenure.base.http import TheActor, TheWorld
from tenure.retention import service
from tenure.retention.model import MAX_REASON, MAX_SUBJECT

router = APIRouter(tags=["retention"])


class PeriodsOut(BaseModel):
    """How long what is kept, in days. ``by_class`` holds instead of ``content`` for agents that may meet that class of
    data. ``share``: percent of uneventful traces whose content is kept beyond the first hour."""

    content: int
    by_class: dict[str, int]
    records: int
    share: int


class SubjectOut(BaseModel):
    """Somebody about whom content is kept."""

    subject: str
    events: int
    oldest: datetime | None


class ErasureIn(BaseModel):
    """Whose content: ``person:NAME`` as the agents' calls name them, or ``agent:NAME``; and why."""

    subject: str = Field(max_length=MAX_SUBJECT)
    reason: str = Field(max_length=MAX_REASON)


class ErasureOut(BaseModel):
    """An erasure. ``subject`` is empty once it is done."""

    id: str
    subject: str
    asked_by: str
    asked_at: datetime
    reason: str
    done_at: datetime | None
    events: int
    approvals: int


@router.get("/v1/retention")
def get_periods(world: TheWorld, actor: TheActor) -> PeriodsOut:
    """How long content is kept."""
    permit(actor, "content:read", Thing())
    held = service.periods(world)
    return PeriodsOut(content=held.usual, by_class=dict(held.by_class), records=held.records, share=held.share)


@router.get("/v1/subjects")
def get_subjects(world: TheWorld, actor: TheActor, like: str = "") -> list[SubjectOut]:
    """Whom content is kept about, by name, at most 200."""
    return [SubjectOut.model_validate(one, from_attributes=True) for one in service.subjects_like(world, actor, like)]


@router.get("/v1/erasures")
def get_erasures(world: TheWorld, actor: TheActor) -> list[ErasureOut]:
    """What was erased, the newest first, at most 200."""
    return [ErasureOut.model_validate(one, from_attributes=True) for one in service.find(world, actor)]


@router.post("/v1/erasures", status_code=202)
def post_erasure(world: TheWorld, actor: TheActor, body: ErasureIn) -> ErasureOut:
    """Erases all content about somebody that was recorded until now. It cannot be taken back."""
    return ErasureOut.model_validate(service.erase(world, actor, body.subject, body.reason), from_attributes=True)
