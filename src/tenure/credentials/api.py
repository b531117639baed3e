"""Revocations over HTTP."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.credentials import rotation, service
from tenure.credentials.model import MAX_REASON
from tenure.revocation import service as revocation
from tenure.revocation.model import Kind

router = APIRouter(tags=["credentials"])


class RevokeIn(BaseModel):
    """What to revoke. ``subject``: an agent's name, an instance's id, a release's digest, a key's id, a person's
    address or the workspace's name. ``dry_run`` says what would happen and changes nothing."""

    kind: Kind
    subject: str = Field(min_length=1, max_length=254)
    reason: str = Field(max_length=MAX_REASON)
    dry_run: bool = False


class SettledOut(BaseModel):
    """Whether a change is in force everywhere: ``gateways`` act on facts, ``waiting`` of them may act on older ones
    yet, for ``within_s`` seconds at most; it was waited for ``took_ms``."""

    complete: bool
    gateways: int
    waiting: int
    within_s: float
    took_ms: float


class RevokedOut(BaseModel):
    """What a revocation does, in sentences, and once it is done: its id and whether it is in force everywhere."""

    kind: Kind
    subject: str
    effects: list[str]
    id: str | None = None
    settled: SettledOut | None = None


class MarkOut(BaseModel):
    """One thing that was revoked. ``kind`` may be ``replaced``: an agent's credentials from before ``before``, which
    are dead from ``since`` on."""

    id: str
    kind: Kind
    subject: str
    before: datetime
    since: datetime
    actor: str
    reason: str


@router.post("/v1/revocations")
def revoke(world: TheWorld, actor: TheActor, body: RevokeIn) -> RevokedOut:
    """Revokes at once. The answer comes when every gateway refuses what was revoked, or cannot act any more."""
    if body.dry_run:
        with world.read() as conn:
            seen = service.look(world, conn, actor, body.kind, body.subject)
        return RevokedOut(kind=seen.kind, subject=seen.subject, effects=list(seen.sentences))
    done = service.revoke(world, actor, body.kind, body.subject, body.reason)
    return RevokedOut(
        kind=done.effects.kind,
        subject=done.effects.subject,
        effects=list(done.effects.sentences),
        id=done.mark.id,
        settled=SettledOut(**{name: getattr(done.settled, name) for name in SettledOut.model_fields}),
    )


class RotateIn(BaseModel):
    """For how long the old credentials are good beside the new ones; null for TENURE_OVERLAP."""

    overlap_s: int | None = None
    reason: str = Field("", max_length=MAX_REASON)


class RotatedOut(BaseModel):
    """Credentials that were issued up to ``before`` are dead from ``good_until`` on."""

    agent: str
    before: datetime
    good_until: datetime


@router.post("/v1/agents/{name}/credentials/rotate")
def rotate(world: TheWorld, actor: TheActor, name: str, body: RotateIn | None = None) -> RotatedOut:
    """Has everything that runs as an agent fetch new credentials now; the old ones are good for a while yet."""
    wish = body or RotateIn()
    made = rotation.rotate_agent(world, actor, name, overlap_s=wish.overlap_s, reason=wish.reason)
    return RotatedOut(agent=name, before=made.before, good_until=made.since)


@router.get("/v1/revocations")
def find(world: TheWorld, actor: TheActor) -> list[MarkOut]:
    """What was revoked in the workspace, the newest first; at most 200."""
    permit(actor, "credentials:read")
    with world.read() as conn:
        return [MarkOut.model_validate(one, from_attributes=True) for one in revocation.newest(conn, actor.workspace)]
