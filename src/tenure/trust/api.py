"""Rules of trust over HTTP."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.trust import service
from tenure.trust.model import Rule

router = APIRouter(tags=["trust"])


class RuleIn(BaseModel):
    """Whose word is taken for an agent. ``issuer``: the ``iss`` of an OpenID Connect issuer, or ``spiffe://DOMAIN``;
    ``subject`` and the values of ``claims`` may hold ``*``; ``bundle``: a JWK set, a SPIFFE trust bundle or PEM
    certificates, without which the issuer's own key set is asked for; ``days``: how long the rule is good."""

    agent: str = Field(min_length=1, max_length=63)
    issuer: str = Field(min_length=1, max_length=500)
    subject: str = Field(min_length=1, max_length=500)
    audience: str = Field("", max_length=500)
    claims: dict[str, str] = Field(default_factory=dict, max_length=20)
    bundle: str = Field("", max_length=200_000)
    days: int = 365


class RuleOut(BaseModel):
    """A rule. ``keys``: how many keys and certificates it brings along; 0 means that the issuer's own are asked for."""

    name: str
    agent: str
    issuer: str
    subject: str
    audience: str
    claims: dict[str, str]
    keys: int
    expires_at: datetime
    created_at: datetime
    created_by: str


class Rules(BaseModel):
    """The rules of a workspace, by name."""

    rules: list[RuleOut]


class Removed(BaseModel):
    """It is trusted no longer."""

    removed: str


def _out(rule: Rule) -> RuleOut:
    return RuleOut(
        name=rule.name,
        agent=rule.agent,
        issuer=rule.issuer,
        subject=rule.subject,
        audience=rule.audience,
        claims=dict(rule.claims),
        keys=len(rule.keys) + len(rule.authorities),
        expires_at=rule.expires_at,
        created_at=rule.created_at,
        created_by=rule.created_by,
    )


@router.get("/v1/trust")
def find(world: TheWorld, actor: TheActor) -> Rules:
    """Whose word is taken for which agents."""
    with world.read() as conn:
        return Rules(rules=[_out(rule) for rule in service.list_rules(conn, actor)])


@router.put("/v1/trust/{name}")
def add(world: TheWorld, actor: TheActor, name: str, body: RuleIn) -> RuleOut:
    """Trusts an outside issuer or trust domain for one agent, in place of a rule of the same name."""
    rule = service.add_rule(
        world,
        actor,
        name,
        agent=body.agent,
        issuer=body.issuer,
        subject=body.subject,
        audience=body.audience,
        claims=body.claims,
        bundle=body.bundle,
        days=body.days,
    )
    return _out(rule)


@router.delete("/v1/trust/{name}")
def remove(world: TheWorld, actor: TheActor, name: str) -> Removed:
    """Trusts no longer."""
    service.remove_rule(world, actor, name)
    return Removed(removed=name)
