"""Limits over HTTP."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.kernel.budgets import LimitFact
from tenure.kernel.errors import Refused
from tenure.kernel.money import nano, of_nano
from tenure.limits import service
from tenure.limits.model import shown, words
from tenure.limits.store import Rule

router = APIRouter(tags=["limits"])

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Name = Annotated[str, Path(pattern=NAME, description="The limit's name")]


class UsageLimitIn(BaseModel):
    """At most ``amount`` (a whole number, or dollars in whole cents) of ``of`` in each window, for each account."""

    of: Literal["calls", "tokens", "input_tokens", "output_tokens", "usd"]
    amount: Decimal = Field(ge=0, le=10**12)
    per: Literal["minute", "hour", "day", "month"]
    each: Literal["workspace", "agent", "person", "chain", "tool", "model"] = "workspace"
    only: str = Field("", max_length=200)
    sliding: bool = False
    zone: str = Field("UTC", max_length=64)
    reason: str = Field(min_length=1, max_length=2000)


class UsageOut(BaseModel):
    """What was used of one account in the present window. ``held``: what gateways may use still under their leases."""

    whom: str
    spent: str
    held: str
    percent: int
    spent_shown: str
    ends: datetime


class UsageLimitOut(BaseModel):
    """A limit with its accounts, the fullest first; ``more`` are left out. ``name`` is that of a limit of the
    workspace, ``agent`` whose manifest it is in. ``unpriced``: models whose calls a limit in dollars lets pass because
    nobody knows their price."""

    id: str
    name: str
    agent: str
    of: str
    amount: str
    per: str
    each: str
    only: str
    sliding: bool
    zone: str
    allowed: str
    by: str
    since: datetime | None
    reason: str
    accounts: list[UsageOut]
    more: int
    unpriced: list[str]


class UsageLimitSet(BaseModel):
    """A limit of the workspace as it was set or taken back."""

    name: str
    id: str
    allowed: str


def _number(of: str, amount: int) -> str:
    return f"{of_nano(amount).normalize():f}" if of == "usd" else str(amount)


def _account(limit: LimitFact, use: service.Use) -> UsageOut:
    return UsageOut(
        whom=use.whom,
        spent=_number(limit.of, use.spent),
        held=_number(limit.of, use.held),
        percent=use.spent * 100 // limit.amount if limit.amount else 100,
        spent_shown=shown(limit.of, use.spent),
        ends=use.ends,
    )


def _out(item: service.Standing) -> UsageLimitOut:
    limit, rule = item.limit, item.rule
    return UsageLimitOut(
        id=limit.id,
        name=rule.name if rule is not None else "",
        agent=item.agent,
        of=limit.of,
        amount=_number(limit.of, limit.amount),
        per=limit.per,
        each=limit.each,
        only=limit.only,
        sliding=limit.sliding,
        zone=limit.zone,
        allowed=words(limit),
        by=rule.by if rule is not None else "",
        since=rule.since if rule is not None else None,
        reason=rule.reason if rule is not None else "",
        accounts=[_account(limit, use) for use in item.uses],
        more=item.more,
        unpriced=list(item.unpriced),
    )


def _set(rule: Rule) -> UsageLimitSet:
    return UsageLimitSet(name=rule.name, id=rule.fact.id, allowed=words(rule.fact))


@router.get("/v1/limits")
def find(world: TheWorld, actor: TheActor) -> list[UsageLimitOut]:
    """Every limit of the workspace and of its agents' manifests, and what was used of it."""
    return [_out(item) for item in service.find(world, actor)]


@router.put("/v1/limits/{name}")
def set_limit(world: TheWorld, actor: TheActor, name: Name, body: UsageLimitIn) -> UsageLimitSet:
    """Sets a limit of the workspace, in place of another of that name. It holds from the next Snapshot on."""
    step = Decimal("0.01") if body.of == "usd" else Decimal(1)
    if body.amount % step:
        text = f"{body.amount} is no amount of {body.of}."
        raise Refused("bad_limit", text, fix="Say a whole number, or whole cents.", status=422)
    amount = nano(body.amount) if body.of == "usd" else int(body.amount)
    limit = LimitFact("", body.of, amount, body.per, body.each, body.only, body.sliding, body.zone)
    return _set(service.set_limit(world, actor, name, limit, body.reason))


@router.delete("/v1/limits/{name}")
def remove(
    world: TheWorld,
    actor: TheActor,
    name: Name,
    reason: Annotated[str, Query(min_length=1, max_length=2000, description="Why")],
) -> UsageLimitSet:
    """Takes a limit of the workspace back."""
    return _set(service.remove(world, actor, name, reason))
