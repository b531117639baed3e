"""Stand-ins over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from tenure.approvals import standing
from tenure.approvals.standins import StandIn
from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld

router = APIRouter(tags=["approvals"])

Pattern = Annotated[str, Field(max_length=200)]


class StandInIn(BaseModel):
    """Who answers held calls for the person who asks for this. ``agents`` and ``tools`` are patterns with ``*``, none
    for all; ``begins_at``: left out, at once."""

    stand_in: str = Field(max_length=254)
    ends_at: AwareDatetime
    reason: str = Field(max_length=500)
    begins_at: AwareDatetime | None = None
    agents: list[Pattern] = Field([], max_length=50)
    tools: list[Pattern] = Field([], max_length=50)


class StandInOut(BaseModel):
    """``stand_in`` answers for ``person`` from ``begins_at`` until ``ends_at``, or until ``ended_at`` where somebody
    ended it before; ``in_force``: now."""

    id: str
    person: str
    stand_in: str
    agents: list[str]
    tools: list[str]
    begins_at: datetime
    ends_at: datetime
    reason: str
    made_at: datetime
    ended_at: datetime | None
    ended_by: str
    in_force: bool


def _out(item: StandIn, now: datetime) -> StandInOut:
    names = (name for name in StandInOut.model_fields if name != "in_force")
    return StandInOut(**{name: getattr(item, name) for name in names}, in_force=item.in_force(now))


@router.get("/v1/approvals/stand-ins")
def find(world: TheWorld, actor: TheActor, everything: bool = False) -> list[StandInOut]:
    """Who answers held calls for whom, the newest first; with ``everything`` those that are over as well."""
    permit(actor, "approvals:read")
    now = world.clock()
    return [_out(item, now) for item in standing.stand_ins(world, actor.workspace, everything)]


@router.post("/v1/approvals/stand-ins")
def hand_over(world: TheWorld, actor: TheActor, body: StandInIn) -> StandInOut:
    """Has somebody else answer held calls for whoever asks, with what they may decide themselves and no more."""
    now = world.clock()
    item = standing.drawn_up(
        actor,
        body.stand_in,
        tuple(body.agents),
        tuple(body.tools),
        body.begins_at or now,
        body.ends_at,
        body.reason,
        now,
    )
    return _out(standing.hand_over(world, actor, item), now)


@router.post("/v1/approvals/stand-ins/{ident}/end")
def take_back(world: TheWorld, actor: TheActor, ident: str) -> StandInOut:
    """Ends a stand-in before its time. 409 when it is over already."""
    return _out(standing.take_back(world, actor, ident), world.clock())
