"""Discovery over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import may, permit
from tenure.base.http import TheActor, TheWorld
from tenure.discovery import service, signs
from tenure.discovery.model import (
    MAX_SIGHTINGS,
    WORDS,
    Channel,
    Evidence,
    Finding,
    Sighting,
    State,
    blockable,
    how_to_block,
    united,
)
from tenure.kernel.values import Actor

router = APIRouter(tags=["discovery"])


class SightingIn(BaseModel):
    """One thing that was seen. ``where`` and ``what`` in words, without secrets; ``marks``: what another sighting of
    the same agent has too, as name:billing-bot, path:HOST:/srv/billing, container:HOST:ID, key:MARK, card:ADDRESS,
    caller:WHO@ADDRESS or client:NAME; ``signs``: codes of GET /v1/discovery/signs; ``hints``: framework, provider,
    model, servers and client, for a draft of its manifest and for blocking it."""

    channel: Channel
    name: str = Field(max_length=500)
    where: str = Field(max_length=500)
    what: str = Field(max_length=500)
    marks: list[str] = Field(max_length=20)
    signs: list[str] = Field(max_length=40)
    at: datetime | None = None
    count: int = 1
    hints: dict[str, Any] = Field(default_factory=dict, max_length=20)


class ReportIn(BaseModel):
    """What was seen."""

    sightings: list[SightingIn] = Field(max_length=MAX_SIGHTINGS)


class NoteIn(BaseModel):
    """Why."""

    note: str = Field("", max_length=service.MAX_NOTE)


class RegisterIn(BaseModel):
    """What the draft lacks. ``name``: what to register it as; ``fields``: of the manifest's spec."""

    name: str = Field("", max_length=63)
    fields: dict[str, Any] = Field(default_factory=dict, max_length=50)


class EvidenceOut(BaseModel):
    """A kind of sighting: what, where, when first and last, how often, and how sure it alone would be (percent)."""

    channel: Channel
    channel_words: str
    where: str
    what: str
    signs: list[str]
    confidence: int
    first_seen: datetime
    last_seen: datetime
    count: int


class FindingOut(BaseModel):
    """An agent that nobody registered. ``confidence`` in percent; ``actions``: what the asker may do with it now."""

    id: str
    name: str
    state: State
    confidence: int
    channels: list[Channel]
    first_seen: datetime
    last_seen: datetime
    count: int
    owner: str
    agent: str
    note: str
    decided_by: str
    decided_at: datetime | None
    blocked: list[str]
    actions: list[str]


class WholeOut(FindingOut):
    """A finding with its evidence. ``reason``: why confidence is what it is; ``how_to_block``: what blocking does by
    itself and what a person has to do; ``manifest``: the draft that registering it asks for."""

    reason: str
    evidence: list[EvidenceOut]
    how_to_block: list[str]
    manifest: dict[str, Any]


class Findings(BaseModel):
    """The surest first."""

    findings: list[FindingOut]


class ReportedOut(BaseModel):
    """What became of a report. ``registered``: sightings of agents that are registered; ``weak``: too little to go by;
    ``full``: no room for them."""

    found: list[FindingOut]
    seen: list[FindingOut]
    registered: int
    weak: int
    full: int


class SignOut(BaseModel):
    """A sign. ``weight`` in percent; of one that speaks against an agent (``against``) the most that confidence may
    be."""

    code: str
    words: str
    weight: int
    against: bool


class Signs(BaseModel):
    """The table."""

    sure_enough: int
    signs: list[SignOut]


_STEPS = {
    State.OPEN: ("claim", "register", "block", "ignore"),
    State.CLAIMED: ("register", "block", "ignore", "reopen"),
    State.REGISTERED: (),
    State.BLOCKED: ("reopen",),
    State.IGNORED: ("reopen",),
}
_NEED = {"claim": "discovery:claim", "register": "discovery:claim"}


def _out(actor: Actor, finding: Finding) -> FindingOut:
    person = actor.name.startswith("person:")
    actions = [
        step
        for step in _STEPS[finding.state]
        if may(actor, _NEED.get(step, "discovery:block")) and (step != "claim" or person)
    ]
    facts = {name: getattr(finding, name) for name in FindingOut.model_fields if name != "actions"}
    return FindingOut(**facts, actions=actions)


def _evidence(one: Evidence) -> EvidenceOut:
    return EvidenceOut(
        channel=one.channel,
        channel_words=WORDS[one.channel],
        where=one.where,
        what=one.what,
        signs=list(one.signs),
        confidence=signs.confidence(one.signs),
        first_seen=one.first_seen,
        last_seen=one.last_seen,
        count=one.count,
    )


@router.get("/v1/discovery/signs")
def get_signs(actor: TheActor) -> Signs:
    """What speaks for an agent and how much, and what speaks against."""
    permit(actor, "discovery:read")
    for_it = [SignOut(code=c, words=words, weight=w, against=False) for c, (w, words) in signs.SIGNS.items()]
    against = [SignOut(code=c, words=words, weight=w, against=True) for c, (w, words) in signs.BOUNDS.items()]
    return Signs(sure_enough=signs.SURE_ENOUGH, signs=for_it + against)


@router.post("/v1/discovery/sightings")
def post_sightings(world: TheWorld, actor: TheActor, body: ReportIn) -> ReportedOut:
    """Reports what was seen of agents. What is registered, and what is too little to go by, is not kept."""
    now = world.clock()
    sightings = [
        Sighting(
            channel=one.channel,
            name=one.name,
            where=one.where,
            what=one.what,
            marks=tuple(one.marks),
            signs=signs.known(one.signs) if set(one.signs) <= {*signs.SIGNS, *signs.BOUNDS} else tuple(one.signs),
            at=min(one.at, now) if one.at is not None and one.at.tzinfo is not None else now,
            count=one.count,
            hints=one.hints,
        )
        for one in body.sightings
    ]
    done = service.report(world, actor, sightings)
    found, seen = ([_out(actor, one) for one in part] for part in (done.found, done.seen))
    return ReportedOut(found=found, seen=seen, registered=done.registered, weak=done.weak, full=done.full)


@router.get("/v1/discovery/findings")
def get_findings(world: TheWorld, actor: TheActor, state: State | None = None) -> Findings:
    """Agents that nobody registered, the surest first, at most 500."""
    with world.read() as conn:
        found = service.find(conn, actor, (state,) if state else ())
    return Findings(findings=[_out(actor, one) for one in found])


@router.get("/v1/discovery/findings/{ident}")
def get_finding(world: TheWorld, actor: TheActor, ident: str) -> WholeOut:
    """One finding: its evidence, why it is taken for an agent, and the manifest that it would have."""
    with world.read() as conn:
        found, evidence = service.get(conn, actor, ident)
        draft = service.manifest(conn, actor, ident)
    return WholeOut(
        **_out(actor, found).model_dump(),
        reason=signs.reason(united([one.signs for one in evidence])),
        evidence=[_evidence(one) for one in evidence],
        how_to_block=how_to_block(found.channels, blockable(evidence)),
        manifest=draft,
    )


@router.post("/v1/discovery/findings/{ident}/claim")
def post_claim(world: TheWorld, actor: TheActor, ident: str, body: NoteIn) -> FindingOut:
    """Says that one answers for it."""
    return _out(actor, service.claim(world, actor, ident, body.note))


@router.post("/v1/discovery/findings/{ident}/register")
def post_register(world: TheWorld, actor: TheActor, ident: str, body: RegisterIn) -> FindingOut:
    """Asks for it as an agent: the draft of its manifest, with what is given in place, is applied."""
    return _out(actor, service.register(world, actor, ident, {**body.fields, "name": body.name}))


@router.post("/v1/discovery/findings/{ident}/block")
def post_block(world: TheWorld, actor: TheActor, ident: str, body: NoteIn) -> FindingOut:
    """Blocks it: gateways refuse what calls itself as it does, where it has a name of its own."""
    return _out(actor, service.block(world, actor, ident, body.note))


@router.post("/v1/discovery/findings/{ident}/ignore")
def post_ignore(world: TheWorld, actor: TheActor, ident: str, body: NoteIn) -> FindingOut:
    """Says that it is of no concern."""
    return _out(actor, service.ignore(world, actor, ident, body.note))


@router.post("/v1/discovery/findings/{ident}/reopen")
def post_reopen(world: TheWorld, actor: TheActor, ident: str, body: NoteIn) -> FindingOut:
    """Takes back what was decided about it."""
    return _out(actor, service.reopen(world, actor, ident, body.note))
