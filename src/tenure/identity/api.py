"""Identity over HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from tenure.base.access import allowed, permit
from tenure.base.http import TheActor, TheWorld
from tenure.base.room import World
from tenure.identity import logins, service, turns
from tenure.identity import people as members
from tenure.identity.logins import Visitor
from tenure.identity.model import CONSOLE, COOKIE, Person, Session, cookie_name, secret_hash
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor

router = APIRouter(tags=["identity"])


class Me(BaseModel):
    """Who asks. ``installation``: whether the workspace is the one that the installation belongs to; ``actions``: what
    the policies of roles let the asker do (docs/roles.md), besides what needs to answer for an agent."""

    name: str
    workspace: str
    roles: list[str]
    installation: bool
    actions: list[str]


class PersonOut(BaseModel):
    """Somebody who may log in. ``home`` is the workspace that says who this is, null for this one. ``scopes``: what
    agents may do on their behalf, as tool:crm/*; null for no limit."""

    email: str
    roles: list[str]
    created_at: datetime
    home: str | None = None
    scopes: list[str] | None = None


class People(BaseModel):
    """Everybody of a workspace."""

    people: list[PersonOut]


class PersonIn(BaseModel):
    """Somebody to let in, or to give other roles."""

    email: str = Field(max_length=200)
    roles: list[str] = Field(max_length=10)


class LimitIn(BaseModel):
    """What agents may do on somebody's behalf, as ``tool:crm/*``; an empty list for nothing, null for no limit."""

    scopes: list[str] | None = Field(max_length=100)


class LimitOut(BaseModel):
    """What agents may do on somebody's behalf from now on."""

    email: str
    scopes: list[str] | None


class LoginIn(BaseModel):
    """A one-time login code."""

    code: str = Field(min_length=1, max_length=200)


class LinkOut(BaseModel):
    """A one-time login link. Whoever has it can log in as this person until it is used or expires."""

    email: str
    url: str
    code: str
    expires_at: datetime


class WorkspaceIn(BaseModel):
    """A workspace to make."""

    name: str = Field(max_length=63)


class PlaceOut(BaseModel):
    """A workspace that you belong to, your roles there, and since when. ``current``: the one that you are in."""

    name: str
    roles: list[str]
    since: datetime
    current: bool


class Places(BaseModel):
    """The workspaces that you belong to, by name."""

    workspaces: list[PlaceOut]


class KeySet(BaseModel):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, Any]]


class KeyTurnOut(BaseModel):
    """A key that signs agents' tokens from ``signs_at`` on (null: it comes next) and is believed until ``retires_at``
    (null: it was not replaced)."""

    kid: str
    created_at: datetime
    signs_at: datetime | None
    retires_at: datetime | None


class KeyStateOut(KeyTurnOut):
    """``state``: ``next``, ``waiting`` (for ``signs_at``), ``signing``, or ``believed`` yet. ``signs_until``: when its
    successor signs (null: that is not set)."""

    state: str
    signs_until: datetime | None


class KeyTurns(BaseModel):
    """The keys that are believed, the newest first; when the next rotation on schedule is due (null: there is no
    schedule); what one that is asked for now will do, in sentences."""

    keys: list[KeyStateOut]
    rotates_at: datetime | None
    rotation: list[str]


class Done(BaseModel):
    """It is done."""

    done: bool = True


def _person(person: Person, limits: Mapping[str, Sequence[str]]) -> PersonOut:
    home = person.home if person.home != person.workspace else None
    scopes = list(limits[person.email]) if person.email in limits else None
    return PersonOut(
        email=person.email, roles=sorted(person.roles), created_at=person.created_at, home=home, scopes=scopes
    )


def _place(person: Person, workspace: str) -> PlaceOut:
    current = person.workspace == workspace
    return PlaceOut(name=person.workspace, roles=sorted(person.roles), since=person.created_at, current=current)


def visitor_of(request: Request) -> Visitor:
    """Who knocks. The console's requests come from within this process, and say for whom they are made."""
    if request.client is not None and request.client.host == CONSOLE:
        return Visitor(request.headers.get("x-tenure-address", ""), request.headers.get("x-tenure-browser", ""))
    return Visitor(request.client.host if request.client else "unknown", request.headers.get("user-agent", ""))


def _me(actor: Actor, world: World) -> Me:
    return Me(
        name=actor.name,
        workspace=actor.workspace,
        roles=sorted(actor.roles),
        installation=actor.workspace == world.config.workspace,
        actions=allowed(actor),
    )


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS to us, or to the proxy in front of us."""
    if request.client is not None and request.client.host == CONSOLE:
        return request.headers.get("x-tenure-scheme") == "https"
    return request.url.scheme == "https"


def set_cookie(request: Request, response: Response, name: str, value: str, life: timedelta) -> None:
    """A cookie that scripts cannot read, that other sites cannot send, and that only this host can set."""
    secure = is_secure(request)
    response.set_cookie(
        cookie_name(name, secure),
        value,
        max_age=int(life.total_seconds()),
        path="/",
        httponly=True,
        samesite="strict",
        secure=secure,
    )


def cookie_of(request: Request, name: str) -> str:
    """The value of a cookie, empty when the browser sent none."""
    return request.cookies.get(cookie_name(name, is_secure(request)), "")


def hand_over(session: Session, world: World, request: Request, response: Response) -> Me:
    """The session's cookie to the browser, and who it is of."""
    set_cookie(request, response, COOKIE, session.token, session.expires_at - world.clock())
    response.headers["Cache-Control"] = "no-store"
    return _me(session.actor, world)


def _session_cookie(request: Request, actor: TheActor) -> str:
    """The cookie that ``actor`` came with. Raises Refused for a program, whose token stays what it is."""
    cookie = cookie_of(request, COOKIE)
    if not cookie or request.headers.get("authorization") is not None:
        raise Refused(
            "no_session",
            f"{actor.name} came with a token, which is good in one workspace only.",
            fix="Make one for the other workspace: `tenure tokens create NAME --workspace WORKSPACE`.",
            status=409,
        )
    return cookie


TheCookie = Annotated[str, Depends(_session_cookie)]


@router.post("/v1/login")
def login(body: LoginIn, request: Request, response: Response, world: TheWorld) -> Me:
    """Trades a one-time code for a session cookie of 12 hours."""
    return hand_over(logins.login(world, body.code, visitor_of(request)), world, request, response)


@router.post("/v1/logout")
def logout(request: Request, response: Response, world: TheWorld) -> Done:
    """Ends the session."""
    logins.logout(world, cookie_of(request, COOKIE))
    secure = is_secure(request)
    response.delete_cookie(cookie_name(COOKIE, secure), path="/", secure=secure, httponly=True, samesite="strict")
    return Done()


@router.get("/v1/me")
def me(actor: TheActor, world: TheWorld) -> Me:
    """Who asks, and with which roles."""
    return _me(actor, world)


@router.get("/v1/people")
def people(actor: TheActor, world: TheWorld) -> People:
    """Everybody who may log in."""
    permit(actor, "people:read")
    with world.read() as conn:
        limits = members.limits(conn, actor.workspace)
        return People(people=[_person(person, limits) for person in members.list_people(conn, actor.workspace)])


@router.post("/v1/people")
def add_person(body: PersonIn, actor: TheActor, world: TheWorld) -> PersonOut:
    """Lets somebody in, or gives somebody other roles."""
    person = members.add_person(world, actor, body.email, body.roles)
    with world.read() as conn:
        return _person(person, members.limits(conn, actor.workspace))


@router.put("/v1/people/{email}/scopes")
def limit_person(email: str, body: LimitIn, actor: TheActor, world: TheWorld) -> LimitOut:
    """Says what agents may do on somebody's behalf. It holds from the next call on."""
    scopes = members.limit_person(world, actor, email, body.scopes)
    return LimitOut(email=email.strip().lower(), scopes=None if scopes is None else list(scopes))


@router.delete("/v1/people/{email}")
def remove_person(email: str, actor: TheActor, world: TheWorld) -> Done:
    """Takes somebody's place away. Sessions and API tokens for it end at once."""
    members.remove_person(world, actor, email)
    return Done()


@router.post("/v1/people/{email}/login-link")
def login_link(email: str, response: Response, actor: TheActor, world: TheWorld) -> LinkOut:
    """Makes a one-time login link that is good for 10 minutes."""
    link = logins.login_link(world, actor, email)
    response.headers["Cache-Control"] = "no-store"
    return LinkOut(email=link.email, url=link.url, code=link.code, expires_at=link.expires_at)


@router.get("/v1/workspaces")
def workspaces(actor: TheActor, world: TheWorld) -> Places:
    """The workspaces that you belong to."""
    with world.read() as conn:
        return Places(workspaces=[_place(one, actor.workspace) for one in members.places(conn, actor)])


@router.post("/v1/workspaces")
def create_workspace(body: WorkspaceIn, actor: TheActor, world: TheWorld) -> PlaceOut:
    """Makes a workspace, in which you have every role. Operators of the installation's own workspace only."""
    return _place(members.create_workspace(world, actor, body.name), actor.workspace)


@router.post("/v1/workspaces/join")
def join_workspace(body: LoginIn, actor: TheActor, world: TheWorld, _cookie: TheCookie) -> PlaceOut:
    """Takes the place in another workspace that a login code of that workspace stands for."""
    return _place(members.join(world, actor, secret_hash(body.code)), actor.workspace)


@router.post("/v1/workspaces/{name}/enter")
def enter_workspace(name: str, request: Request, response: Response, world: TheWorld, cookie: TheCookie) -> Me:
    """Goes on in another workspace that you belong to, in a new session."""
    return hand_over(logins.enter(world, cookie, name, visitor_of(request)), world, request, response)


@router.get("/v1/keys")
def signing_keys(actor: TheActor, world: TheWorld) -> KeyTurns:
    """The keys of this installation that sign agents' tokens: which one does, which comes next, which are believed."""
    with world.read() as conn:
        found = turns.turns(world, conn, actor)
    keys = [
        KeyStateOut(**dataclasses.asdict(one.key), state=one.state, signs_until=one.signs_until) for one in found.keys
    ]
    return KeyTurns(keys=keys, rotates_at=found.rotates_at, rotation=list(found.rotation))


@router.post("/v1/keys/rotate")
def rotate_key(actor: TheActor, world: TheWorld) -> KeyTurnOut:
    """Signs agents' tokens with the next key, as soon as nobody can have an older key set; tokens of the key before
    hold until they expire."""
    return KeyTurnOut.model_validate(service.rotate_key(world, actor), from_attributes=True)


@router.get("/.well-known/jwks.json")
def jwks(response: Response, world: TheWorld) -> KeySet:
    """The public keys that agents' tokens are signed with (RFC 7517), the one that comes next among them. Open to
    everybody, and good for as long as it says: no key signs before that is over."""
    response.headers["Cache-Control"] = f"public, max-age={world.config.jwks_max_age_s}"
    with world.read() as conn:
        return KeySet(keys=[dict(key) for key in service.public_keys(conn).values()])
