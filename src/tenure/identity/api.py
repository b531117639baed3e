"""Identity over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Cookie, Request, Response
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld, require
from tenure.identity import service
from tenure.identity import tokens as api_tokens
from tenure.identity.model import COOKIE, ApiToken, Person
from tenure.kernel.values import PEOPLE

router = APIRouter(tags=["identity"])

_HUMANS = tuple(sorted(PEOPLE))


class Me(BaseModel):
    """Who asks."""

    name: str
    workspace: str
    roles: list[str]


class PersonOut(BaseModel):
    """Somebody who may log in."""

    email: str
    roles: list[str]
    created_at: datetime


class People(BaseModel):
    """Everybody of a workspace."""

    people: list[PersonOut]


class PersonIn(BaseModel):
    """Somebody to let in, or to give other roles."""

    email: str = Field(max_length=200)
    roles: list[str] = Field(max_length=10)


class LoginIn(BaseModel):
    """A one-time login code."""

    code: str = Field(min_length=1, max_length=200)


class LinkOut(BaseModel):
    """A one-time login link. Whoever has it can log in as this person until it is used or expires."""

    email: str
    url: str
    code: str
    expires_at: datetime


class TokenIn(BaseModel):
    """An API token to make. ``ttl_s``: its life in seconds; without it, until it is revoked."""

    name: str = Field(max_length=100)
    ttl_s: int | None = None


class TokenOut(BaseModel):
    """An API token. ``token`` is the secret: it is told once, when it is made."""

    id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    token: str | None = None


class Tokens(BaseModel):
    """The API tokens of the person who asks."""

    tokens: list[TokenOut]


class KeySet(BaseModel):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, Any]]


class NewKey(BaseModel):
    """The key that signs from now on."""

    kid: str


class Done(BaseModel):
    """It is done."""

    done: bool = True


def _person(person: Person) -> PersonOut:
    return PersonOut(email=person.email, roles=sorted(person.roles), created_at=person.created_at)


def _token(kept: ApiToken, secret: str | None = None) -> TokenOut:
    return TokenOut(id=kept.id, name=kept.name, created_at=kept.created_at, expires_at=kept.expires_at, token=secret)


@router.post("/v1/login")
def login(body: LoginIn, request: Request, response: Response, world: TheWorld) -> Me:
    """Trades a one-time code for a session cookie of 12 hours."""
    session = service.login(world, body.code, request.client.host if request.client else "unknown")
    response.set_cookie(
        COOKIE,
        session.token,
        max_age=int(service.SESSION_LIFE.total_seconds()),
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    response.headers["Cache-Control"] = "no-store"
    actor = session.actor
    return Me(name=actor.name, workspace=actor.workspace, roles=sorted(actor.roles))


@router.post("/v1/logout")
def logout(response: Response, world: TheWorld, cookie: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> Done:
    """Ends the session."""
    service.logout(world, cookie)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return Done()


@router.get("/v1/me")
def me(actor: TheActor) -> Me:
    """Who asks, and with which roles."""
    return Me(name=actor.name, workspace=actor.workspace, roles=sorted(actor.roles))


@router.get("/v1/people")
def people(actor: TheActor, world: TheWorld) -> People:
    """Everybody who may log in."""
    require(actor, *_HUMANS)
    with world.read() as conn:
        return People(people=[_person(person) for person in service.list_people(conn, actor.workspace)])


@router.post("/v1/people")
def add_person(body: PersonIn, actor: TheActor, world: TheWorld) -> PersonOut:
    """Lets somebody in, or gives somebody other roles."""
    return _person(service.add_person(world, actor, body.email, body.roles))


@router.post("/v1/people/{email}/login-link")
def login_link(email: str, response: Response, actor: TheActor, world: TheWorld) -> LinkOut:
    """Makes a one-time login link that is good for 10 minutes."""
    link = service.login_link(world, actor, email)
    response.headers["Cache-Control"] = "no-store"
    return LinkOut(email=link.email, url=link.url, code=link.code, expires_at=link.expires_at)


@router.get("/v1/tokens")
def tokens(actor: TheActor, world: TheWorld) -> Tokens:
    """Your API tokens, without their secrets."""
    with world.read() as conn:
        return Tokens(tokens=[_token(kept) for kept in api_tokens.list_tokens(conn, actor)])


@router.post("/v1/tokens")
def create_token(body: TokenIn, response: Response, actor: TheActor, world: TheWorld) -> TokenOut:
    """Makes an API token for you. Its secret is in this answer and nowhere else."""
    secret, kept = api_tokens.create_token(world, actor, body.name, body.ttl_s)
    response.headers["Cache-Control"] = "no-store"
    return _token(kept, secret)


@router.delete("/v1/tokens/{token_id}")
def revoke_token(token_id: str, actor: TheActor, world: TheWorld) -> Done:
    """Ends one of your API tokens."""
    api_tokens.revoke_token(world, actor, token_id)
    return Done()


@router.post("/v1/keys/rotate")
def rotate_key(actor: TheActor, world: TheWorld) -> NewKey:
    """Signs agents' tokens with a new key from now on; those of the old key hold until they expire."""
    return NewKey(kid=service.rotate_key(world, actor))


@router.get("/.well-known/jwks.json")
def jwks(response: Response, world: TheWorld) -> KeySet:
    """The public keys that agents' tokens are signed with (RFC 7517). Open to everybody."""
    response.headers["Cache-Control"] = "public, max-age=60"
    with world.read() as conn:
        return KeySet(keys=[dict(key) for key in service.public_keys(conn).values()])
