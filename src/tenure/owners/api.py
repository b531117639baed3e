"""Hand-overs and concerns over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import Thing, may, permit
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.values import Actor
from tenure.owners import service, store, watching
from tenure.owners.model import MAX_AT_ONCE, MAX_NOTE, OFFER_DAYS, WORDS, Concern, HandOver, Kind, Role, State
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord, thing

router = APIRouter(tags=["owners"])


class OfferIn(BaseModel):
    """Agents by name, or ``all_of`` somebody. ``days``: for how long the offer is good."""

    to: str = Field(max_length=254)
    agents: list[str] = Field(default_factory=list, max_length=MAX_AT_ONCE)
    all_of: str = Field("", max_length=254)
    role: Role = Role.OWNER
    note: str = Field("", max_length=MAX_NOTE)
    days: int = OFFER_DAYS


class AcceptIn(BaseModel):
    """``checklist``: the digest of the one that was looked at (GET /v1/handovers/{id})."""

    checklist: str = Field(max_length=100)
    note: str = Field("", max_length=MAX_NOTE)


class WhyIn(BaseModel):
    """Why."""

    reason: str = Field(max_length=MAX_NOTE)


class HandOverOut(BaseModel):
    """An offer. ``giver`` answers for the agent until ``receiver`` accepts. ``declared``: its manifest says so.
    ``actions``: what the asker may do with it now: accept, decline, withdraw."""

    id: str
    agent: str
    role: Role
    giver: str
    receiver: str
    note: str
    offered_by: str
    offered_at: datetime
    expires_at: datetime
    declared: bool
    state: State
    answered_by: str | None
    answered_at: datetime | None
    answer: str
    actions: list[str] = Field(default_factory=list)


class ChecklistOut(BaseModel):
    """What comes with the agent: ``declared`` is what is accepted, under ``digest``; ``now`` changes by itself."""

    digest: str
    declared: dict[str, Any]
    now: dict[str, Any]


class OfferOut(HandOverOut):
    """An offer with what comes with it."""

    checklist: ChecklistOut
    accepted: dict[str, Any] | None = Field(description="What was accepted, once it was")


class ConcernOut(BaseModel):
    """Why somebody should look after an agent: left (its owner is gone), unconfirmed, inactive or silent (it stopped
    answering). ``due``: when it is suspended for it; ``told``: whose business it is."""

    agent: str
    kind: Kind
    words: str
    owner: str
    sponsor: str
    state: str
    since: datetime
    raised_at: datetime
    due: datetime | None
    told: list[str]
    suspended_at: datetime | None


class OwnersOut(BaseModel):
    """Who answers for an agent. ``owner_here``: the owner has a place in the workspace; ``left_at``: they had one;
    ``pending_owner`` is declared and has not accepted. ``actions``: agents:offer, agents:confirm and agents:take, as
    far as the asker may."""

    agent: str
    owner: str
    sponsor: str
    owner_here: bool
    left_at: datetime | None
    confirmed_at: datetime | None
    confirm_by: datetime | None
    pending_owner: str | None
    pending_sponsor: str | None
    offers: list[HandOverOut]
    concerns: list[ConcernOut]
    actions: list[str]


def _actions(actor: Actor, given: HandOver, own: Thing) -> list[str]:
    if given.state is not State.OPEN:
        return []
    theirs = Thing(owners=(given.receiver,), agent=given.agent)
    can = {
        "accept": may(actor, "agents:accept", theirs),
        "decline": may(actor, "agents:decline", theirs),
        "withdraw": may(actor, "agents:offer", own),
    }
    return [name for name, yes in can.items() if yes]


def _out(world: TheWorld, actor: Actor, offers: list[HandOver]) -> list[HandOverOut]:
    with world.read() as conn:
        known = {agent.name: agent for agent in registry.list_agents(conn, actor.workspace)} if offers else {}
    fields = [name for name in HandOverOut.model_fields if name != "actions"]
    return [
        HandOverOut(
            **{name: getattr(given, name) for name in fields}, actions=_actions(actor, given, thing(known[given.agent]))
        )
        for given in offers
    ]


def _concerns(world: TheWorld, actor: Actor, agent: str | None = None) -> list[ConcernOut]:
    with world.read() as conn:
        found = [one for one in watching.find(conn, actor) if agent in (None, one.agent)]
        known = {one.name: one for one in registry.list_agents(conn, actor.workspace)} if found else {}
    return [_concern(one, known[one.agent]) for one in found]


def _concern(one: Concern, agent: AgentRecord) -> ConcernOut:
    return ConcernOut(
        agent=one.agent,
        kind=one.kind,
        words=WORDS[one.kind],
        owner=agent.owner,
        sponsor=agent.sponsor,
        state=str(agent.state),
        since=one.since,
        raised_at=one.raised_at,
        due=one.due,
        told=list(one.told),
        suspended_at=one.suspended_at,
    )


@router.post("/v1/handovers")
def post_offer(world: TheWorld, actor: TheActor, body: OfferIn) -> list[HandOverOut]:
    """Offers agents to somebody who is to answer for them. They do once they have accepted, and not before."""
    wish = service.Wish(body.to.strip(), body.role, body.agents, body.all_of.strip(), body.note, body.days)
    return _out(world, actor, service.offer(world, actor, wish))


@router.get("/v1/handovers")
def get_offers(
    world: TheWorld, actor: TheActor, state: State | None = None, agent: str | None = None, mine: bool = False
) -> list[HandOverOut]:
    """Offers, the newest first, at most 500; ``mine``: those to or by the asker."""
    with world.read() as conn:
        found = service.find(conn, actor, state=state, agent=agent, mine=mine)
    return _out(world, actor, found)


@router.get("/v1/handovers/{ident}")
def get_offer(world: TheWorld, actor: TheActor, ident: str) -> OfferOut:
    """One offer, and the checklist of what comes with the agent now."""
    given, listed = service.look(world, actor, ident)
    shown = ChecklistOut(digest=listed.digest, declared=dict(listed.declared), now=dict(listed.now))
    plain = _out(world, actor, [given])[0]
    return OfferOut(**plain.model_dump(), checklist=shown, accepted=given.checklist)


@router.post("/v1/handovers/{ident}/accept")
def post_accept(world: TheWorld, actor: TheActor, ident: str, body: AcceptIn) -> HandOverOut:
    """Takes on what one was offered, as the checklist has it."""
    return _out(world, actor, [service.accept(world, actor, ident, body.checklist, body.note)])[0]


@router.post("/v1/handovers/{ident}/decline")
def post_decline(world: TheWorld, actor: TheActor, ident: str, body: WhyIn) -> HandOverOut:
    """Turns down what one was offered."""
    return _out(world, actor, [service.decline(world, actor, ident, body.reason)])[0]


@router.post("/v1/handovers/{ident}/withdraw")
def post_withdraw(world: TheWorld, actor: TheActor, ident: str, body: WhyIn) -> HandOverOut:
    """Takes an offer back."""
    return _out(world, actor, [service.withdraw(world, actor, ident, body.reason)])[0]


@router.get("/v1/concerns")
def get_concerns(world: TheWorld, actor: TheActor) -> list[ConcernOut]:
    """Agents that nobody answers for or confirmed, that do nothing, or stopped answering; the most urgent first."""
    return _concerns(world, actor)


@router.get("/v1/agents/{name}/owners")
def get_owners(world: TheWorld, actor: TheActor, name: str) -> OwnersOut:
    """Who answers for an agent, who did and who was asked to."""
    permit(actor, "agents:read")
    with world.read() as conn:
        agent = registry.the_agent(conn, actor.workspace, name)
        stand = watching.standing(world, conn, agent)
        offers = store.find(conn, actor.workspace, agent=name, limit=50)
    can = [action for action in ("agents:offer", "agents:confirm", "agents:take") if may(actor, action, thing(agent))]
    return OwnersOut(
        agent=name,
        owner=agent.owner,
        sponsor=agent.sponsor,
        owner_here=stand.here,
        left_at=stand.left_at,
        confirmed_at=stand.confirmed_at,
        confirm_by=stand.confirm_by,
        pending_owner=agent.pending_owner,
        pending_sponsor=agent.pending_sponsor,
        offers=_out(world, actor, offers),
        concerns=_concerns(world, actor, name),
        actions=[action for action in can if action != "agents:take" or stand.left_at is not None],
    )


@router.post("/v1/agents/{name}/confirm")
def post_confirm(world: TheWorld, actor: TheActor, name: str) -> OwnersOut:
    """Says that one answers for an agent and that it is needed."""
    service.confirm(world, actor, name)
    return get_owners(world, actor, name)


@router.post("/v1/agents/{name}/take")
def post_take(world: TheWorld, actor: TheActor, name: str, body: WhyIn) -> OwnersOut:
    """Takes over an agent whose owner has left."""
    service.take(world, actor, name, body.reason)
    return get_owners(world, actor, name)
