"""What programs show instead of a cookie, and which role may do what, over HTTP."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from tenure.base.access import permit, table
from tenure.base.http import TheActor, TheWorld
from tenure.identity import tokens as api_tokens
from tenure.identity.api import Done
from tenure.identity.model import ApiToken, Service

router = APIRouter(tags=["identity"])


class TokenIn(BaseModel):
    """An API token to make. ``ttl_s``: its life in seconds; without it, until it is revoked. ``scopes``: what it is
    limited to, as agents:read, agents:* or *:read; without them, all that you may do. ``workspace``: another one that
    you belong to."""

    name: str = Field(max_length=100)
    ttl_s: int | None = None
    scopes: list[str] | None = Field(None, max_length=100)
    workspace: str = Field("", max_length=63)


class ServiceIn(BaseModel):
    """A service account to make, or to give other roles."""

    name: str = Field(max_length=63)
    roles: list[str] = Field(max_length=10)


class ServiceOut(BaseModel):
    """A service account."""

    name: str
    roles: list[str]
    created_at: datetime
    created_by: str


class Services(BaseModel):
    """The service accounts of the workspace, by name."""

    services: list[ServiceOut]


class KeyIn(BaseModel):
    """A key of a service account. ``ttl_s``: its life in seconds, at most 366 days; ``scopes`` as for an API token."""

    name: str = Field(max_length=100)
    scopes: list[str] = Field(max_length=100)
    ttl_s: int = 90 * 86_400


class TokenOut(BaseModel):
    """An API token, or a service account's key. ``prefix`` is how the secret begins; ``token`` is the secret: it is
    told once, when it is made."""

    id: str
    name: str
    prefix: str
    scopes: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    token: str | None = None


class Tokens(BaseModel):
    """API tokens of a person, or keys of a service account, the newest first."""

    tokens: list[TokenOut]


class RoleRow(BaseModel):
    """Something that can be done; for each role ``yes``, ``own`` (agents that the person answers for) or nothing."""

    action: str
    words: str
    approver: str
    auditor: str
    operator: str
    owner: str
    viewer: str


class Roles(BaseModel):
    """Which role may do what."""

    roles: list[RoleRow]


def _token(kept: ApiToken, secret: str | None = None) -> TokenOut:
    return TokenOut(
        id=kept.id,
        name=kept.name,
        prefix=kept.prefix,
        scopes=None if kept.scopes is None else list(kept.scopes),
        created_at=kept.created_at,
        expires_at=kept.expires_at,
        last_used_at=kept.last_used_at,
        token=secret,
    )


def _service(found: Service) -> ServiceOut:
    return ServiceOut(
        name=found.name, roles=sorted(found.roles), created_at=found.created_at, created_by=found.created_by
    )


@router.get("/v1/tokens")
def tokens(actor: TheActor, world: TheWorld) -> Tokens:
    """Your API tokens, without their secrets."""
    with world.read() as conn:
        return Tokens(tokens=[_token(kept) for kept in api_tokens.list_tokens(conn, actor)])


@router.post("/v1/tokens")
def create_token(body: TokenIn, response: Response, actor: TheActor, world: TheWorld) -> TokenOut:
    """Makes an API token for you. Its secret is in this answer and nowhere else."""
    secret, kept = api_tokens.create_token(
        world, actor, body.name, body.ttl_s, scopes=body.scopes, workspace=body.workspace
    )
    response.headers["Cache-Control"] = "no-store"
    return _token(kept, secret)


@router.delete("/v1/tokens/{token_id}")
def revoke_token(token_id: str, actor: TheActor, world: TheWorld) -> Done:
    """Ends one of your API tokens."""
    api_tokens.revoke_token(world, actor, token_id)
    return Done()


@router.get("/v1/services")
def services(actor: TheActor, world: TheWorld) -> Services:
    """The service accounts of the workspace."""
    with world.read() as conn:
        return Services(services=[_service(found) for found in api_tokens.list_services(conn, actor)])


@router.post("/v1/services")
def put_service(body: ServiceIn, actor: TheActor, world: TheWorld) -> ServiceOut:
    """Makes a service account, or gives one other roles."""
    return _service(api_tokens.put_service(world, actor, body.name, body.roles))


@router.delete("/v1/services/{name}")
def remove_service(name: str, actor: TheActor, world: TheWorld) -> Done:
    """Ends a service account and every key of it, at once."""
    api_tokens.remove_service(world, actor, name)
    return Done()


@router.get("/v1/services/{name}/keys")
def service_keys(name: str, actor: TheActor, world: TheWorld) -> Tokens:
    """The keys of a service account, without their secrets."""
    with world.read() as conn:
        return Tokens(tokens=[_token(kept) for kept in api_tokens.keys(conn, actor, name)])


@router.post("/v1/services/{name}/keys")
def create_service_key(name: str, body: KeyIn, response: Response, actor: TheActor, world: TheWorld) -> TokenOut:
    """Makes a key of a service account. Its secret is in this answer and nowhere else."""
    secret, kept = api_tokens.create_key(world, actor, name, body.name, ttl_s=body.ttl_s, scopes=body.scopes)
    response.headers["Cache-Control"] = "no-store"
    return _token(kept, secret)


@router.delete("/v1/services/{name}/keys/{key_id}")
def revoke_service_key(name: str, key_id: str, actor: TheActor, world: TheWorld) -> Done:
    """Ends a key of a service account, at once."""
    api_tokens.revoke_key(world, actor, name, key_id)
    return Done()


@router.get("/v1/roles")
def roles(actor: TheActor) -> Roles:
    """Which role may do what, as the policies of roles say."""
    permit(actor, "people:read")
    return Roles(roles=[RoleRow(action=action, words=words, **marks) for action, words, marks in table()])
