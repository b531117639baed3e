"""Prepared calls over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.base.room import World
from tenure.base.sight import Sight, opened
from tenure.drafts import service
from tenure.drafts.model import MAX_REASON, Choice, Draft, State
from tenure.kernel.values import Actor

router = APIRouter(tags=["drafts"])


class DraftOut(BaseModel):
    """A prepared call. ``kind``: draft, or offer of a call that only a person may make; ``work``: its task or session;
    ``whole``: the arguments are exactly the agent's; ``edited``: a person's in their place; ``why``: what was decided;
    ``justification``: what the agent says that it is for; ``times``: how often it wanted the same; ``outcome``: what
    came of it, and ``event`` the Event that tells. ``withheld``: why what the agent said is not shown, and whom to
    ask."""

    id: str
    kind: str
    agent: str
    release: str
    resource: str
    call_kind: str
    work: str
    digest: str
    whole: bool
    arguments: dict[str, Any]
    edited: dict[str, Any] | None
    why: str
    justification: str
    notes: list[str]
    session: str | None
    trace_id: str | None
    drafted_at: datetime
    times: int
    state: State
    decided_by: str | None
    decided_at: datetime | None
    reason: str
    outcome: dict[str, Any] | None
    event: str | None
    withheld: str = ""


class ChoiceIn(BaseModel):
    """A person's answer to the call whose ``digest`` was shown. ``arguments``: others, to make it with. All but making
    it as it is needs a reason."""

    decision: Choice
    digest: str = Field(max_length=200)
    arguments: dict[str, Any] | None = None
    reason: str = Field("", max_length=MAX_REASON)


def _out(world: World, actor: Actor, *items: Draft) -> list[DraftOut]:
    """Prepared calls as ``actor`` sees them (``base.sight``); that they were shown is told."""
    sight, out, looked = Sight(world, actor), [], set[str]()
    for item in items:
        told = DraftOut.model_validate(item, from_attributes=True)
        if sight.of(item.agent):
            looked.add(item.agent)
        else:
            hidden: dict[str, Any] = {"arguments": {}, "edited": None, "outcome": None, "withheld": sight.ask}
            told = told.model_copy(update={**hidden, "justification": "", "notes": []})
        out.append(told)
    for agent in sorted(looked):
        opened(world, actor, f"drafts of {agent}", [agent])
    return out


@router.get("/v1/drafts")
def find(  # noqa: PLR0917 (one filter each)
    world: TheWorld,
    actor: TheActor,
    state: State | None = None,
    agent: str | None = None,
    work: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[DraftOut]:
    """Calls that agents prepared and did not make, newest first; ``work``: of one task or session."""
    return _out(world, actor, *service.find(world, actor, state=state, agent=agent, work=work, limit=limit))


@router.get("/v1/drafts/{ident}")
def get(world: TheWorld, actor: TheActor, ident: str) -> DraftOut:
    """One prepared call."""
    return _out(world, actor, service.get(world, actor, ident))[0]


@router.post("/v1/drafts/{ident}/decision")
def decide(world: TheWorld, actor: TheActor, ident: str, body: ChoiceIn) -> DraftOut:
    """Has it made in the agent's place, throws it away, or says that it was done by other means. 409 when it does not
    wait any more."""
    decided = service.decide(world, actor, ident, body.decision, body.digest, body.reason, body.arguments)
    return _out(world, actor, decided)[0]
