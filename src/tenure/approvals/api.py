"""Approvals over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tenure.approvals import ladder_api, service, standin_api
from tenure.approvals.batches import Batch, batches
from tenure.approvals.ladders import AtDeadline
from tenure.approvals.model import MAX_ANSWERED, Approval, State
from tenure.approvals.showing import shown
from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld

router = APIRouter(tags=["approvals"])
router.include_router(standin_api.router)  # before the address of one approval, which would take their names
router.include_router(ladder_api.router)


class GivenOut(BaseModel):
    """One person's approval. ``by`` answered, under the right of ``holder``; they differ for a stand-in."""

    by: str
    holder: str
    at: datetime
    reason: str


class EscalationOut(BaseModel):
    """The ladder that it took, and what becomes of it at its deadline (``expires_at``) when nobody has answered."""

    ladder: str
    at_deadline: AtDeadline
    steps: list[ladder_api.StepIO]


class ApprovalOut(BaseModel):
    """A held call, as the person who decides sees it. ``why`` and ``policies``: why it was held; ``notes``: what else
    is known of it; ``justification``: what the agent says that it is for; ``reason``: the word of the person who
    decided; ``expires_at``: when the present state runs out by itself; ``on_behalf_of``: for which person it is made.
    ``takes``: how many different people must approve it; ``given``: the approvals so far; ``missing``: in words, whose
    is still waited for; ``decided_for``: for whom a stand-in had the last word. ``escalation``: the ladder that
    it took, ``step`` how many of its steps were taken, ``next_at`` when the next is due. ``chain``: who handed the work
    on, this agent last; ``task``: what work. ``recommended``: what Tenure recommends, ``reject`` or nothing, and
    ``against`` why; ``overruled``: people approved it all the same. ``editable``: it can be approved with other
    arguments; ``edited``: those that a person put in the place of ``arguments``; ``covers``: the digest of what an
    approval is for, which is that of ``edited`` where there are any, else ``digest``. ``withheld``: why arguments,
    justification and notes are not shown, and whom to ask; empty where they are."""

    id: str
    agent: str
    release: str
    purpose: str
    resource: str
    arguments: dict[str, Any]
    digest: str
    why: str
    policies: list[str]
    notes: list[str]
    justification: str
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
    on_behalf_of: str | None
    takes: int
    given: list[GivenOut]
    missing: list[str]
    decided_for: str | None
    escalation: EscalationOut | None
    step: int
    next_at: datetime | None
    chain: list[str]
    task: str | None
    recommended: str
    against: list[str]
    overruled: bool
    editable: bool
    edited: dict[str, Any] | None
    covers: str
    withheld: str = ""


class OneOut(ApprovalOut):
    """One approval, and whether whoever asks may approve it: ``refusal`` says why not, empty where they may or
    nothing is asked any more."""

    refusal: str


class DecisionIn(BaseModel):
    """A person's answer; a rejection needs a reason. ``for``: for whom a stand-in answers; left out, one's own right
    goes first. ``arguments``: to approve the call with others than the agent's, which needs a reason. ``digest``:
    ``covers`` of what the person was shown; needed where somebody has changed the call."""

    model_config = ConfigDict(populate_by_name=True)

    decision: Literal["approve", "reject"]
    reason: str = Field("", max_length=2000)
    for_: str = Field("", max_length=254, alias="for")
    digest: str = Field("", max_length=200)
    arguments: dict[str, Any] | None = None


class BatchOut(BaseModel):
    """Alike held calls. ``same``: the arguments that all give alike, by path, as JSON text; ``differs``: the paths of
    those that they do not; ``rows``: for each call of ``calls``, in their order, its JSON texts of them, "" for an
    argument that it does not give."""

    id: str
    agent: str
    release: str
    purpose: str
    resource: str
    why: str
    policies: list[str]
    same: dict[str, str]
    differs: list[str]
    rows: list[list[str]]
    calls: list[ApprovalOut]


class PersonOut(BaseModel):
    """Who decided how much. Calls decided by one answer are one look; ``look_p50_s``: the most that the person can have
    looked at half of the answers; ``quick``: the share of the approving answers given within ``quick_s``."""

    by: str
    calls: int
    approved: int
    answers: int
    wait_p50_s: float
    wait_p90_s: float
    look_p50_s: float
    quick: float


class LoadOut(BaseModel):
    """What waits now, and who decided how much in the last ``days``, who most first."""

    open: int
    oldest: datetime | None
    days: float
    quick_s: float
    people: list[PersonOut]


class ChosenIn(BaseModel):
    """A call of a batch, with the digest that was shown with it."""

    id: str = Field(max_length=64)
    digest: str = Field(max_length=200)


class AnswerIn(BaseModel):
    """One answer for alike calls; a rejection needs a reason. ``for`` as of one answer."""

    model_config = ConfigDict(populate_by_name=True)

    decision: Literal["approve", "reject"]
    chosen: list[ChosenIn] = Field(max_length=MAX_ANSWERED)
    reason: str = Field("", max_length=2000)
    for_: str = Field("", max_length=254, alias="for")


class AnsweredOut(BaseModel):
    """What came of one of them. ``code`` and ``message`` say why it was not decided; empty when it was."""

    id: str
    state: State | None
    code: str
    message: str


def _out(item: Approval, withheld: str = "") -> ApprovalOut:
    return ApprovalOut.model_validate(item, from_attributes=True).model_copy(update={"withheld": withheld})


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
    found = service.find(world, actor.workspace, state=state, agent=agent, limit=limit)
    return [_out(*one) for one in shown(world, actor, found)]


def _batch(batch: Batch, withheld: Mapping[str, str]) -> BatchOut:
    first = batch.calls[0]
    return BatchOut(
        id=batch.id,
        agent=first.agent,
        release=first.release,
        purpose=first.purpose,
        resource=first.resource,
        why=first.why,
        policies=list(first.policies),
        same=dict(batch.same),
        differs=list(batch.differs),
        rows=[list(row) for row in batch.rows],
        calls=[_out(call, withheld[call.id]) for call in batch.calls],
    )


@router.get("/v1/approvals/batches")
def find_batches(world: TheWorld, actor: TheActor, agent: str | None = None) -> list[BatchOut]:
    """The calls that wait for a person, alike ones together, with what differs between them."""
    permit(actor, "approvals:read")
    waiting = [call for batch in service.waiting(world, actor.workspace, agent) for call in batch.calls]
    found = shown(world, actor, waiting)
    withheld = {call.id: ask for call, ask in found}
    return [_batch(batch, withheld) for batch in batches(call for call, _ in found)]


@router.get("/v1/approvals/load")
def load(
    world: TheWorld,
    actor: TheActor,
    days: Annotated[float, Query(gt=0, le=366)] = 30,
    quick_s: Annotated[float, Query(gt=0, le=3600)] = 5,
) -> LoadOut:
    """How many calls wait, and by whom how many were decided how fast."""
    permit(actor, "approvals:read")
    waiting, found = service.load(world, actor.workspace, days, quick_s)
    oldest = waiting[0].requested_at if waiting else None
    people = [PersonOut.model_validate(one, from_attributes=True) for one in found]
    return LoadOut(open=len(waiting), oldest=oldest, days=days, quick_s=quick_s, people=people)


@router.post("/v1/approvals/answer")
def answer(world: TheWorld, actor: TheActor, body: AnswerIn) -> list[AnsweredOut]:
    """One answer for several alike calls. Each is decided by itself; what came of each is told. 422 when they are not
    alike."""
    chosen = [(one.id, one.digest) for one in body.chosen]
    answered = service.answer(world, actor, chosen, body.decision == "approve", body.reason, body.for_)
    return [AnsweredOut.model_validate(one, from_attributes=True) for one in answered]


@router.get("/v1/approvals/{ident}")
def get(world: TheWorld, actor: TheActor, ident: str) -> OneOut:
    """One approval, with whether whoever asks may give it."""
    permit(actor, "approvals:read")
    found = service.get(world, actor.workspace, ident)
    [one] = shown(world, actor, [found], found.trace_id or f"held call {found.id}")
    return OneOut(**_out(*one).model_dump(), refusal=service.refusal(world, actor, found))


@router.post("/v1/approvals/{ident}/decision")
def decide(world: TheWorld, actor: TheActor, ident: str, body: DecisionIn) -> ApprovalOut:
    """Approves or rejects a held call. One that takes more than one person waits on for the others,
    ``pending``. 409 when it does not wait any more."""
    grant, said = body.decision == "approve", (body.reason, body.for_)
    return _out(service.decide(world, actor, ident, grant, *said, shown=body.digest, arguments=body.arguments))
