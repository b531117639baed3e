"""Connectors over HTTP: what there is, and letting agents in. No route gives a token."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.secrets import connectors
from tenure.secrets.model import Connector, Held

router = APIRouter(tags=["secrets"])


class ConnectorOut(BaseModel):
    """An upstream at which each person lets agents in. ``connected``: whether the asking person has, and since when
    (``connected_at``); ``problem``: why agents are not let in for them all the same."""

    name: str
    authorize_url: str
    token_url: str
    client_id: str
    client_secret: str
    scopes: list[str]
    hosts: list[str]
    connected: bool
    connected_at: datetime | None
    expires_at: datetime | None
    problem: str


class ConnectorIn(BaseModel):
    """The upstream's authorization server as it registered Tenure. ``client_secret`` names a secret of the workspace;
    ``hosts``: where people's tokens may be sent."""

    authorize_url: str = Field(max_length=2000)
    token_url: str = Field(max_length=2000)
    client_id: str = Field(max_length=500)
    client_secret: str = Field("", max_length=63)
    scopes: list[str] = Field(default_factory=list, max_length=100)
    hosts: list[str] = Field(max_length=50)


class BegunOut(BaseModel):
    """Where to send the browser, and what it must bring back: a consent is finished in the browser that began it."""

    url: str
    binding: str


class FinishIn(BaseModel):
    """What the upstream sent the browser back with, and the ``binding`` from the beginning."""

    code: str = Field(max_length=4000)
    state: str = Field(max_length=200)
    binding: str = Field(max_length=200)


class GoneOut(BaseModel):
    """The name of what is gone."""

    name: str


class DisconnectedOut(GoneOut):
    """``upstream``: what became of the tokens there: ``revoked``; ``pending``, it is asked again by itself; or
    ``not_revoked``, they are good there until they expire. ``problem`` says why."""

    upstream: str
    problem: str


def _connector(one: Connector, held: Held | None) -> ConnectorOut:
    return ConnectorOut(
        name=one.name,
        authorize_url=one.authorize_url,
        token_url=one.token_url,
        client_id=one.client_id,
        client_secret=one.client_secret,
        scopes=list(one.scopes),
        hosts=list(one.hosts),
        connected=held is not None and not held.problem,
        connected_at=held.connected_at if held is not None else None,
        expires_at=held.expires_at if held is not None else None,
        problem=held.problem if held is not None else "",
    )


@router.get("/v1/connectors")
def find(world: TheWorld, actor: TheActor) -> list[ConnectorOut]:
    """The upstreams at which people let agents in, and whether the asking person has."""
    permit(actor, "secrets:read")
    return [_connector(one, held) for one, held in connectors.find(world, actor)]


@router.put("/v1/connectors/{connector}")
def put(connector: str, body: ConnectorIn, world: TheWorld, actor: TheActor) -> ConnectorOut:
    """Keeps how people let agents in at an upstream."""
    facts = body.model_dump() | {"scopes": tuple(body.scopes), "hosts": tuple(body.hosts)}
    return _connector(connectors.put(world, actor, Connector(actor.workspace, connector, **facts)), None)


@router.delete("/v1/connectors/{connector}")
def remove(connector: str, world: TheWorld, actor: TheActor) -> GoneOut:
    """Forgets a connector, and every token that was got by it."""
    connectors.remove(world, actor, connector)
    return GoneOut(name=connector)


@router.post("/v1/connectors/{connector}/begin")
def begin(connector: str, response: Response, world: TheWorld, actor: TheActor) -> BegunOut:
    """Begins to let agents in for the asking person."""
    response.headers["Cache-Control"] = "no-store"
    begun = connectors.begin(world, actor, connector)
    return BegunOut(url=begun.url, binding=begun.binding)


@router.post("/v1/connectors/{connector}/finish")
def finish(connector: str, body: FinishIn, response: Response, world: TheWorld, actor: TheActor) -> GoneOut:
    """Trades an upstream's code for tokens, which stay here."""
    response.headers["Cache-Control"] = "no-store"
    connectors.finish(world, actor, connector, code=body.code, state=body.state, binding=body.binding)
    return GoneOut(name=connector)


@router.delete("/v1/connectors/{connector}/mine")
def disconnect(connector: str, world: TheWorld, actor: TheActor) -> DisconnectedOut:
    """Forgets the asking person's tokens, and has the upstream revoke them (RFC 7009)."""
    done = connectors.disconnect(world, actor, connector)
    return DisconnectedOut(name=connector, upstream=done.upstream, problem=done.problem)
