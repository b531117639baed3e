"""The audit chain over HTTP. It can be read and checked; there is no way to change it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel

from tenure.audit import service
from tenure.audit.model import Checkpoint, Entry
from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld

router = APIRouter(tags=["audit"], prefix="/v1/audit")


class EntryOut(BaseModel):
    """One entry. ``facts``: identifiers and the decision; ``digest``: of the whole Event; ``hash``: of this entry, over
    everything above it and ``prev``."""

    seq: int
    workspace: str
    time: datetime
    event: str
    type: str
    actor: str
    agent: str | None
    digest: str
    facts: dict[str, Any]
    prev: str
    hash: str


class Entries(BaseModel):
    """A stretch of the chain. ``size``: the number of the workspace's newest entry; ``next``: ``after`` for the entries
    that follow, None at the end."""

    entries: list[EntryOut]
    size: int
    next: int | None


class CheckpointOut(BaseModel):
    """A chain of ``size`` entries whose last has the hash ``head``."""

    size: int
    head: str
    time: datetime


class SignedCheckpoint(CheckpointOut):
    """``signature``: a detached JWS over the canonical JSON of size, head and time; ``public_key``: the JWK for it."""

    signature: str
    public_key: dict[str, Any]


class ProblemOut(BaseModel):
    """What is wrong, and from which entry on."""

    seq: int
    kind: str
    message: str


class VerdictOut(BaseModel):
    """What a check of the whole chain found."""

    ok: bool
    entries: int
    head: str
    problems: list[ProblemOut]
    checkpoint: CheckpointOut | None


def _entry(entry: Entry) -> EntryOut:
    try:
        facts = msgspec.json.decode(entry.facts)
    except msgspec.DecodeError:  # somebody wrote into the database: it is shown as it is, verify says what is wrong
        facts = {"unreadable": entry.facts}
    return EntryOut(
        seq=entry.seq,
        workspace=entry.workspace,
        time=entry.time,
        event=entry.event,
        type=entry.type,
        actor=entry.actor,
        agent=entry.agent,
        digest=entry.digest,
        facts=facts if isinstance(facts, dict) else {"unreadable": entry.facts},
        prev=entry.prev,
        hash=entry.hash,
    )


def _checkpoint(checkpoint: Checkpoint) -> CheckpointOut:
    return CheckpointOut(size=checkpoint.size, head=checkpoint.head, time=checkpoint.time)


@router.get("")
def entries(
    actor: TheActor,
    world: TheWorld,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    agent: str | None = None,
) -> Entries:
    """Entries of your workspace after number ``after``, oldest first."""
    permit(actor, "audit:read")
    with world.read() as conn:
        found = service.entries(conn, actor.workspace, after, limit, agent=agent)
        size = service.size(conn, actor.workspace)
    return Entries(
        entries=[_entry(entry) for entry in found],
        size=size,
        next=found[-1].seq if len(found) == limit else None,
    )


@router.get("/verify")
def verify(actor: TheActor, world: TheWorld) -> VerdictOut:
    """Checks every entry, every link and the checkpoint."""
    permit(actor, "audit:read")
    verdict = service.verify(world)
    return VerdictOut(
        ok=verdict.ok,
        entries=verdict.entries,
        head=verdict.head,
        problems=[ProblemOut(seq=p.seq, kind=p.kind, message=p.message) for p in verdict.problems],
        checkpoint=_checkpoint(verdict.checkpoint) if verdict.checkpoint else None,
    )


@router.get("/checkpoint")
def checkpoint(actor: TheActor, world: TheWorld) -> SignedCheckpoint:
    """The newest checkpoint, to be kept where nobody who writes to the database can reach it."""
    permit(actor, "audit:read")
    pinned = service.checkpoint(world)
    return SignedCheckpoint(
        **_checkpoint(pinned.checkpoint).model_dump(),
        signature=pinned.signature,
        public_key=dict(pinned.public_key),
    )
