"""Forks over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.forks import service
from tenure.forks.model import MOST_TEXT, Fork, State, Texts
from tenure.forks.service import Wish

router = APIRouter(tags=["forks"])

Text = Annotated[str | None, Field(max_length=MOST_TEXT)]


class PolicyFile(BaseModel):
    """One file of policies."""

    name: str = Field(max_length=255)
    text: str = Field(max_length=4 << 20)


class ForkIn(BaseModel):
    """What is to be otherwise than in the record. With `policy` alone, no model is called: the recorded calls are
    decided again."""

    step: int = Field(
        ge=1, description="The number of the step to begin with, as GET /v1/traces/{trace_id}/steps has it"
    )
    model: str | None = Field(None, max_length=200, description="Another model of the agent's release")
    system: Text = Field(None, description="Other instructions")
    prompt: Text = Field(None, description="Other last words of the person")
    policy: list[PolicyFile] = Field(default_factory=list, max_length=1000, description="Policies that need not run")
    agent: str | None = Field(None, max_length=63, description="Whose model is called; needed for an imported run")
    stand_in: Text = Field(
        None, description="What is answered where the record has no answer; without it the fork ends"
    )
    go_on: bool = Field(False, description="What people said later is said again, whatever the model answers")


class ForkOut(BaseModel):
    """A run that is played again: `trace_id` is its own trace, `of` the run's. `detail` says what it came to."""

    id: str
    trace_id: str
    of: str
    step: int
    agent: str
    model: str
    changed: list[str]
    go_on: bool
    state: State
    detail: str
    turns: int = Field(description="How many times the model was called")
    by: str
    asked_at: datetime
    ended_at: datetime | None


def _out(item: Fork) -> ForkOut:
    return ForkOut.model_validate(item, from_attributes=True)


@router.post("/v1/traces/{trace_id}/forks", status_code=201)
def ask(world: TheWorld, actor: TheActor, trace_id: str, body: ForkIn) -> ForkOut:
    """Plays a recorded run again from a step. The model is called through the gateway; tools are answered from the
    record and nothing is done. It goes on in the background: GET /v1/forks/{fork} tells how far it is."""
    wish = Wish(
        step=body.step,
        texts=Texts(body.system, body.prompt, body.stand_in),
        model=body.model,
        agent=body.agent,
        policy=tuple((file.name, file.text) for file in body.policy),
        go_on=body.go_on,
    )
    return _out(service.ask(world, actor, trace_id, wish))


@router.get("/v1/forks")
def find(
    world: TheWorld,
    actor: TheActor,
    trace: Annotated[str | None, Query(description="Forks of this run, and the fork that has this trace")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[ForkOut]:
    """Runs that were played again, the newest first."""
    return [_out(item) for item in service.find(world, actor, of=trace, limit=limit)]


@router.get("/v1/forks/{fork}")
def get(world: TheWorld, actor: TheActor, fork: str) -> ForkOut:
    """How far a fork is, or what it came to."""
    return _out(service.get(world, actor, fork))
