"""Notifications over HTTP, and answers by link, which need no login: the link says who."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from tenure.approvals.model import Approval
from tenure.base.http import TheActor, TheWorld
from tenure.notify import answering, service
from tenure.notify.model import BUNDLE_S, NAME, Delivery, Destination, Kind, Standing, State
from tenure.notify.words import TOPICS

router = APIRouter(tags=["notify"])
Name = Annotated[str, Path(pattern=f"^{NAME}$", description="The destination's name")]
Limit = Annotated[int, Query(ge=1, le=1000)]


class TopicOut(BaseModel):
    """Something that can be told, in words."""

    topic: str
    words: str


class DestinationIn(BaseModel):
    """Where to tell it. ``url``: the address of a webhook, or the mail server (smtps://user@host:465). ``secret``: the
    name of a secret of the workspace: the signing key (whsec_...), the mail server's password, or the address that
    Slack or Teams gave. ``to``: addresses of mail, ``approvers`` or ``owners``. ``person``: whose own channel it is.
    ``answers``: messages about held calls carry a link that answers as the person they go to. ``bundle_s``: for so
    many seconds after a message about a held call further ones are told as one. ``agents``: patterns, none for all."""

    kind: Kind
    url: str = Field("", max_length=2000)
    secret: str = Field("", max_length=63)
    to: list[str] = Field(default_factory=list, max_length=50)
    sender: str = Field("", max_length=254)
    person: str = Field("", max_length=254)
    answers: bool = False
    bundle_s: int = BUNDLE_S
    topics: list[str] = Field(max_length=50)
    agents: list[Annotated[str, Field(max_length=63)]] = Field(default_factory=list, max_length=50)


class DestinationOut(DestinationIn):
    """A destination as it is kept, and how it fares. ``problem``: of the last attempt, empty when it arrived."""

    name: str
    set_at: datetime
    set_by: str
    waiting: int = 0
    dead: int = 0
    sent_at: datetime | None = None
    problem: str = ""


class RemovedOut(BaseModel):
    """The name of what is told nothing any more."""

    removed: str


class DeliveryOut(BaseModel):
    """A message on its way. ``id`` is the ``webhook-id``. ``problem``: why the last attempt failed."""

    id: str
    destination: str
    address: str
    topic: str
    type: str
    agent: str
    title: str
    state: State
    attempts: int
    created_at: datetime
    next_at: datetime | None
    last_at: datetime | None
    problem: str


class LinkIn(BaseModel):
    """The link's own part."""

    link: str = Field(max_length=200, repr=False)


class AnswerIn(LinkIn):
    """An answer by link; a rejection needs a reason."""

    decision: Literal["approve", "reject"]
    reason: str = Field("", max_length=2000)


class AnswerOut(BaseModel):
    """The held call that a link is about, and as whom it answers. ``against``: why Tenure recommends to reject it; none
    where it recommends nothing."""

    person: str
    approval: str
    against: list[str]
    workspace: str
    agent: str
    purpose: str
    resource: str
    arguments: dict[str, Any]
    digest: str
    why: str
    state: str
    expires_at: datetime | None


def _out(kept: Destination, standing: Standing | None = None) -> DestinationOut:
    given = {name: getattr(kept, name) for name in (*DestinationIn.model_fields, "name", "set_at", "set_by")}
    fares = ("waiting", "dead", "sent_at", "problem")
    given |= {name: getattr(standing, name) for name in fares} if standing is not None else {}
    return DestinationOut.model_validate(given)


def _delivery(item: Delivery) -> DeliveryOut:
    return DeliveryOut.model_validate(item, from_attributes=True)


@router.get("/v1/notify/topics")
def topics(actor: TheActor) -> list[TopicOut]:  # noqa: ARG001 (whoever is logged in)
    """What can be told."""
    return [TopicOut(topic=name, words=words) for name, words in TOPICS.items()]


@router.get("/v1/notify/destinations")
def find(world: TheWorld, actor: TheActor) -> list[DestinationOut]:
    """Who is told of what, and how each destination fares."""
    return [_out(one.destination, one) for one in service.find(world, actor)]


@router.put("/v1/notify/destinations/{name}")
def put(world: TheWorld, actor: TheActor, name: Name, body: DestinationIn) -> DestinationOut:
    """Sets a destination, in place of another of that name."""
    wanted = Destination(
        workspace=actor.workspace,
        name=name,
        kind=body.kind,
        url=body.url,
        secret=body.secret,
        to=tuple(body.to),
        sender=body.sender,
        person=body.person,
        answers=body.answers,
        bundle_s=body.bundle_s,
        topics=tuple(body.topics),
        agents=tuple(body.agents),
    )
    return _out(service.put(world, actor, wanted))


@router.delete("/v1/notify/destinations/{name}")
def remove(world: TheWorld, actor: TheActor, name: Name) -> RemovedOut:
    """Tells a destination nothing any more."""
    service.remove(world, actor, name)
    return RemovedOut(removed=name)


@router.post("/v1/notify/destinations/{name}/test")
def test(world: TheWorld, actor: TheActor, name: Name) -> list[DeliveryOut]:
    """Sends a test now, and says what became of it."""
    return [_delivery(item) for item in service.try_out(world, actor, name)]


@router.get("/v1/notify/deliveries")
def deliveries(
    world: TheWorld, actor: TheActor, destination: str | None = None, state: State | None = None, limit: Limit = 100
) -> list[DeliveryOut]:
    """What was told, newest first."""
    return [_delivery(item) for item in service.deliveries(world, actor, destination, state, limit)]


@router.post("/v1/notify/deliveries/{ident}/replay")
def replay(world: TheWorld, actor: TheActor, ident: str) -> DeliveryOut:
    """Sends a delivery again that was given up, or that arrived; 409 for one that is on its way."""
    return _delivery(service.again(world, actor, ident))


@router.post("/v1/answers/look")
def look(world: TheWorld, body: LinkIn) -> AnswerOut:
    """Shows what a link is about. Looking uses nothing up."""
    shown = answering.look(world, body.link)
    return _answer(shown.approval, shown.person).model_copy(update={"expires_at": shown.expires_at})


@router.post("/v1/answers")
def answer(world: TheWorld, body: AnswerIn) -> AnswerOut:
    """Approves or rejects the held call that a link is about, as the person whose link it is. 410 for a spent link,
    403 for a person who may not decide any more, 409 when the call does not wait any more."""
    shown = answering.look(world, body.link)
    decided = answering.answer(world, body.link, body.decision == "approve", body.reason)
    return _answer(decided, shown.person)


def _answer(call: Approval, person: str) -> AnswerOut:
    told = {name: getattr(call, name) for name in AnswerOut.model_fields if name not in ("person", "approval")}
    told |= {"person": person, "approval": call.id, "arguments": call.now, "digest": call.covers}
    return AnswerOut.model_validate(told)
