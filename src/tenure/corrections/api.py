"""Overrides and corrections over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.corrections import service
from tenure.corrections.model import MAX_REASON, Correction, Kind

router = APIRouter(tags=["corrections"])


class CorrectionOut(BaseModel):
    """One override or correction. ``event``: the call, draft or Event that it is about; ``given``: what the agent had;
    ``before``: what it did, or what held; ``after``: what a person put in its place."""

    id: str
    at: datetime
    kind: Kind
    by: str
    agent: str
    release: str
    resource: str
    event: str
    session: str | None
    trace_id: str | None
    reason: str
    given: Any
    before: Any
    after: Any


class CorrectionIn(BaseModel):
    """A call that was wrong, why, and what would have been right (any JSON; null for nothing at all)."""

    call: str = Field(max_length=64)
    reason: str = Field(max_length=MAX_REASON)
    right: Any = None


def _out(item: Correction) -> CorrectionOut:
    return CorrectionOut.model_validate(item, from_attributes=True)


@router.get("/v1/corrections")
def find(  # noqa: PLR0917 (one filter each)
    world: TheWorld,
    actor: TheActor,
    what: Kind | None = None,
    agent: str | None = None,
    by: str | None = None,
    since: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[CorrectionOut]:
    """Where people decided otherwise, newest first. ``by``: ``person:EMAIL``."""
    found = service.find(world, actor, kind=what, agent=agent, by=by, since=since, limit=limit)
    return [_out(item) for item in found]


@router.get("/v1/corrections/export")
def export(
    world: TheWorld, actor: TheActor, what: Kind | None = None, agent: str | None = None
) -> list[dict[str, Any]]:
    """The same as cases for an evaluation (`tenure import corrections` takes them, one JSON object a line)."""
    return service.export(world, actor, kind=what, agent=agent)


@router.post("/v1/corrections")
def correct(world: TheWorld, actor: TheActor, body: CorrectionIn) -> CorrectionOut:
    """Says that a call, or a model's answer, was wrong."""
    return _out(service.correct(world, actor, body.call, body.reason, body.right))
