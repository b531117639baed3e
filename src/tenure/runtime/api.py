"""Instances over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.base.room import World
from tenure.runtime import service
from tenure.runtime.lineage import Wish
from tenure.runtime.model import End, Instance, Orders

router = APIRouter(tags=["runtime"])

_ALIVE_S = 10.0
_LOOK_S = 0.5


class StartIn(BaseModel):
    """How to start. ``ttl_s``: the token's life in seconds, at most 86400; ``on_behalf_of``: whom it works for;
    ``scopes``: what its token is limited to, as tool:crm/*; ``task``: a name for what it is for;
    ``confined``: your word that the process reaches nothing but the gateway; ``renewed``: you will fetch newer tokens
    (POST /v1/instances/{id}/token), so this one may be short."""

    ttl_s: int | None = None
    on_behalf_of: str | None = None
    scopes: list[str] = Field(default_factory=list, max_length=100)
    task: str | None = None
    confined: bool = False
    renewed: bool = False


class RenewIn(BaseModel):
    """How long the token is to live, in seconds; null for as long as is usual."""

    ttl_s: int | None = None


class RenewedOut(BaseModel):
    """A further token of a running instance, told this once and kept nowhere."""

    token: str
    issued_at: datetime
    expires_at: datetime


class StartedOut(BaseModel):
    """A new instance. The token is told this once and kept nowhere; ``env`` wires a process to the gateway."""

    instance: str
    agent: str
    release: str
    session: str
    token: str
    issued_at: datetime
    expires_at: datetime
    gateway_url: str
    control_url: str
    env: dict[str, str]


class InstanceOut(BaseModel):
    """One run of an agent; live while ``ended_at`` is null."""

    id: str
    agent: str
    release: str
    session: str
    on_behalf_of: str | None
    started_at: datetime
    started_by: str
    heartbeat_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    end: End | None
    exit_code: int | None
    confined: bool


class OrdersOut(BaseModel):
    """Whether the instance must end now, and why."""

    stop: bool
    reason: str


class EndIn(BaseModel):
    """How it ended, as a shell tells it (128 + signal)."""

    exit_code: int | None = Field(None, ge=-(2**31), lt=2**31)


def _out(instance: Instance) -> InstanceOut:
    return InstanceOut.model_validate(instance, from_attributes=True)


@router.post("/v1/agents/{name}/instances")
def start(world: TheWorld, actor: TheActor, name: str, body: StartIn | None = None) -> StartedOut:
    """Starts one run of an agent that is in staging or production."""
    how = body or StartIn()
    person = how.on_behalf_of
    if person is not None and "@" in person:
        person = person.lower()  # as people's addresses are kept: what limits them is found by it
    wish = Wish(person, how.scopes, how.task)
    started = service.start_instance(
        world, actor, name, ttl_s=how.ttl_s, wish=wish, confined=how.confined, renewed=how.renewed
    )
    instance = started.instance
    return StartedOut(
        instance=instance.id,
        agent=instance.agent,
        release=instance.release,
        session=instance.session,
        token=started.token,
        issued_at=started.issued_at,
        expires_at=instance.expires_at,
        gateway_url=started.gateway_url,
        control_url=started.control_url,
        env=dict(started.env),
    )


@router.get("/v1/agents/{name}/instances")
def find(world: TheWorld, actor: TheActor, name: str, live: bool = False) -> list[InstanceOut]:
    """An agent's newest instances, at most 200."""
    permit(actor, "agents:read")
    with world.read() as conn:
        return [_out(instance) for instance in service.instances(conn, actor.workspace, name, live=live)]


@router.post("/v1/instances/{ident}/heartbeat")
def heartbeat(world: TheWorld, actor: TheActor, ident: str) -> OrdersOut:
    """Says that an instance lives, and hears whether it must end."""
    answer = service.heartbeat(world, actor, ident)
    return OrdersOut(stop=answer.stop, reason=answer.reason)


@router.post("/v1/instances/{ident}/token")
def renew(world: TheWorld, actor: TheActor, ident: str, body: RenewIn | None = None) -> RenewedOut:
    """Gives a running instance a further token. The one that it has stays good until its own end."""
    made = service.renew_token(world, actor, ident, (body or RenewIn()).ttl_s)
    return RenewedOut(token=made.token, issued_at=made.issued_at, expires_at=made.expires_at)


@router.post("/v1/instances/{ident}/end")
def end(world: TheWorld, actor: TheActor, ident: str, body: EndIn | None = None) -> InstanceOut:
    """Says that an instance has exited."""
    return _out(service.end_instance(world, actor, ident, (body or EndIn()).exit_code))


def _watched(world: TheWorld, actor: TheActor, ident: str) -> Instance:
    with world.read() as conn:
        return service.the_instance(conn, actor, ident)


@router.get("/v1/instances/{ident}/watch", response_class=EventSourceResponse)
async def watch(world: TheWorld, instance: Annotated[Instance, Depends(_watched)]) -> AsyncIterator[ServerSentEvent]:
    """One event ``stop`` (data: reason) as soon as the instance must end; until then, signs of life, and an event
    ``renew`` (data: before, in Unix seconds) when a token that was issued up to then is to be replaced now."""
    flag = world.bell.attach()
    try:
        yield ServerSentEvent(comment="watching")
        idle = renewed = 0.0
        while True:
            answer = await asyncio.to_thread(_orders, world, instance)
            if answer.stop:
                yield ServerSentEvent(event="stop", data={"reason": answer.reason})
                return
            if answer.renew > renewed:
                renewed = answer.renew
                yield ServerSentEvent(event="renew", data={"before": renewed})
            if idle >= _ALIVE_S:
                idle = 0.0
                yield ServerSentEvent(comment="alive")
            await world.bell.wait(flag, _LOOK_S)
            idle += _LOOK_S
    finally:
        world.bell.detach(flag)


def _orders(world: World, instance: Instance) -> Orders:
    with world.read() as conn:
        return service.orders_for(conn, instance, world.config.workspace)
