"""Precedents over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.precedents import service
from tenure.precedents.model import MAX_DAYS, Precedent, State, Terms, rule_id
from tenure.precedents.service import Drawn

router = APIRouter(tags=["precedents"])


class TermsIn(BaseModel):
    """What a person makes of an approval that was given. ``up_to``: by path of an argument the most that it may be;
    ``free``: the arguments that may be anything of their type; every other must be as it was approved, and a call that
    gives one more waits. With ``keep`` false it is only shown what would come of it."""

    approval: str = Field(max_length=64)
    up_to: dict[str, str | int | float] = Field(default_factory=dict)
    free: list[str] = Field(default_factory=list)
    days: float = Field(30, gt=0, le=MAX_DAYS)
    reason: str = Field(max_length=500)
    keep: bool = True


class SaidIn(BaseModel):
    """Why; kept in the audit."""

    reason: str = Field(max_length=500)


class PrecedentOut(BaseModel):
    """A precedent. ``policy`` is how decisions name it; ``reason`` the word of who proposed it and ``decision`` of who
    decided; ``problem`` why it was stopped."""

    id: str
    policy: str
    approval: str
    agent: str
    resource: str
    terms: dict[str, Any]
    cedar: str
    tests: str
    state: State
    proposed_by: str
    proposed_at: datetime
    reason: str
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision: str
    problem: str


class FileOut(BaseModel):
    """A file of policies."""

    name: str
    text: str


class DrawnOut(BaseModel):
    """A precedent beside the policies that run now. ``files``: all of them as they would be with it, which
    ``POST /v1/policies/replay`` decides recorded calls by; ``added``: those of them that are new, which is all that
    differs; ``faults``: the tests that fail."""

    precedent: PrecedentOut
    running: str | None
    files: list[FileOut]
    added: list[str]
    faults: list[str]


def _out(item: Precedent) -> PrecedentOut:
    values = {name: getattr(item, name) for name in PrecedentOut.model_fields if name != "policy"}
    return PrecedentOut(policy=rule_id(item.id), **values)


def _drawn(drawn: Drawn) -> DrawnOut:
    return DrawnOut(
        precedent=_out(drawn.precedent),
        running=drawn.running,
        files=[FileOut(name=name, text=text) for name, text in drawn.files],
        added=[name for name, _ in drawn.precedent.files],
        faults=list(drawn.faults),
    )


@router.get("/v1/precedents")
def find(world: TheWorld, actor: TheActor, state: State | None = None) -> list[PrecedentOut]:
    """Precedents, the newest first."""
    permit(actor, "precedents:read")
    return [_out(item) for item in service.find(world, actor.workspace, state)]


@router.post("/v1/precedents")
def propose(world: TheWorld, actor: TheActor, body: TermsIn) -> DrawnOut:
    """Draws a precedent up from an approval, and keeps it for a person who may publish policies."""
    terms = Terms({path: str(most) for path, most in body.up_to.items()}, tuple(body.free), body.days, body.reason)
    return _drawn(service.propose(world, actor, body.approval, terms, keep=body.keep))


@router.get("/v1/precedents/{ident}")
def get(world: TheWorld, actor: TheActor, ident: str) -> DrawnOut:
    """One precedent, beside the policies that run now."""
    permit(actor, "precedents:read")
    return _drawn(service.get(world, actor.workspace, ident))


@router.post("/v1/precedents/{ident}/publish")
def publish(world: TheWorld, actor: TheActor, ident: str, body: SaidIn) -> PrecedentOut:
    """Puts it in force. 422 when its tests fail beside the policies that run now."""
    return _out(service.publish(world, actor, ident, body.reason))


@router.post("/v1/precedents/{ident}/revoke")
def revoke(world: TheWorld, actor: TheActor, ident: str, body: SaidIn) -> PrecedentOut:
    """Drops a proposal, or ends one in force at once."""
    return _out(service.revoke(world, actor, ident, body.reason))
