"""Ladders over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.approvals import escalation
from tenure.approvals.ladders import AtDeadline, Ladder, Step
from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld

router = APIRouter(tags=["approvals"])

Word = Annotated[str, Field(max_length=200)]


class StepIO(BaseModel):
    """``after_s`` seconds after the call was held these are asked: ``approver``, ``operator`` or addresses."""

    after_s: int = Field(ge=0)
    ask: list[Annotated[str, Field(max_length=254)]] = Field(max_length=50)


class LadderIn(BaseModel):
    """For which held calls (patterns of agents and of tools, ids of policies; none for all), whom they are shown to
    when, and what becomes of those that nobody answered by ``deadline_s``."""

    steps: list[StepIO] = Field(max_length=50)
    deadline_s: int
    reason: str = Field(max_length=500)
    agents: list[Word] = Field([], max_length=100)
    tools: list[Word] = Field([], max_length=100)
    policies: list[Word] = Field([], max_length=100)
    at_deadline: AtDeadline = AtDeadline.DENY


class LadderOut(LadderIn):
    """A ladder, and who set it when."""

    name: str
    set_at: datetime
    set_by: str


class RemoveIn(BaseModel):
    """Why."""

    reason: str = Field(max_length=500)


def _out(item: Ladder) -> LadderOut:
    return LadderOut.model_validate(item, from_attributes=True)


@router.get("/v1/approvals/ladders")
def find(world: TheWorld, actor: TheActor) -> list[LadderOut]:
    """The ladders in the order in which they are looked through: a held call takes the first that is for it."""
    permit(actor, "approvals:read")
    return [_out(item) for item in escalation.ladders(world, actor.workspace)]


@router.put("/v1/approvals/ladders/{name}")
def put(world: TheWorld, actor: TheActor, name: str, body: LadderIn) -> LadderOut:
    """Sets a ladder, for calls that are held from now on."""
    item = Ladder(
        workspace=actor.workspace,
        name=name,
        agents=tuple(body.agents),
        tools=tuple(body.tools),
        policies=tuple(body.policies),
        steps=tuple(Step(one.after_s, tuple(one.ask)) for one in body.steps),
        deadline_s=body.deadline_s,
        at_deadline=body.at_deadline,
        reason=body.reason.strip(),
        set_at=world.clock(),
        set_by=actor.name,
    )
    return _out(escalation.put(world, actor, item))


@router.post("/v1/approvals/ladders/{name}/remove")
def remove(world: TheWorld, actor: TheActor, name: str, body: RemoveIn) -> list[LadderOut]:
    """Removes a ladder, and returns those that are left; what is under way by it goes on."""
    escalation.remove(world, actor, name, body.reason)
    return find(world, actor)
