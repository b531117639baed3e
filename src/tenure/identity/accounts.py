"""A person's own account over HTTP: passwords, passkeys, sessions, and logging in with them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from tenure.base.http import TheActor, TheWorld
from tenure.identity import account_store, logins, passkeys, passwords
from tenure.identity.api import Done, Me, TheCookie, cookie_of, hand_over, set_cookie, visitor_of
from tenure.identity.model import DEVICE_COOKIE, Passkey
from tenure.identity.passkeys import Site

router = APIRouter(tags=["identity"])


class PasswordLoginIn(BaseModel):
    """An address and a password. ``workspace``: the person's home; empty for the installation's own."""

    email: str = Field(max_length=200)
    password: str = Field(max_length=1000)
    workspace: str = Field("", max_length=63)


class PasswordIn(BaseModel):
    """A password to set, and the one until now if there is one."""

    password: str = Field(max_length=1000)
    current: str = Field("", max_length=1000)


class CredentialIn(BaseModel):
    """What a browser answers with a passkey: PublicKeyCredential.toJSON()."""

    credential: dict[str, Any]


class NewPasskeyIn(CredentialIn):
    """A passkey that a browser made, and what its owner calls it."""

    name: str = Field(max_length=100)


class OptionsOut(BaseModel):
    """What to hand to the browser: PublicKeyCredential.parseCreationOptionsFromJSON or parseRequestOptionsFromJSON."""

    options: dict[str, Any]


class PasskeyOut(BaseModel):
    """A passkey."""

    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


class SessionOut(BaseModel):
    """A session of yours in some browser. ``current``: the one that asks."""

    id: str
    workspace: str
    method: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str
    browser: str
    current: bool


class AccountOut(BaseModel):
    """How you log in, and where you are logged in. ``home``: the workspace that says who you are."""

    email: str
    home: str
    password: bool
    passkeys: list[PasskeyOut]
    sessions: list[SessionOut]


class Ended(BaseModel):
    """How many sessions ended."""

    ended: int


def _passkey(found: Passkey) -> PasskeyOut:
    return PasskeyOut(id=found.id, name=found.name, created_at=found.created_at, last_used_at=found.last_used_at)


def _site(request: Request, world: TheWorld) -> Site:
    return Site(world.config.public_url.rstrip("/") or f"{request.url.scheme}://{request.headers.get('host', '')}")


@router.post("/v1/login/password")
async def password_login(
    body: PasswordLoginIn,
    request: Request,
    response: Response,
    world: TheWorld,
) -> Me:
    """Trades an address and a password for a session cookie."""
    home = body.workspace or world.config.workspace
    visitor, device = visitor_of(request), cookie_of(request, DEVICE_COOKIE)
    found = await passwords.login(world, body.email, body.password, workspace=home, visitor=visitor, device=device)
    me = hand_over(found.session, world, request, response)
    set_cookie(request, response, DEVICE_COOKIE, found.device, passwords.DEVICE_LIFE)
    return me


@router.post("/v1/login/passkey/options")
def passkey_login_options(request: Request, world: TheWorld) -> OptionsOut:
    """Asks a browser for a passkey of this site."""
    return OptionsOut(options=dict(passkeys.begin_login(world, _site(request, world))))


@router.post("/v1/login/passkey")
def passkey_login(body: CredentialIn, request: Request, response: Response, world: TheWorld) -> Me:
    """Trades a passkey's signature for a session cookie."""
    session = passkeys.login(world, _site(request, world), body.credential, visitor_of(request))
    return hand_over(session, world, request, response)


@router.get("/v1/account")
def account(actor: TheActor, world: TheWorld, cookie: TheCookie) -> AccountOut:
    """How you log in, and where you are logged in."""
    current, sessions = logins.own_sessions(world, actor, cookie)
    with world.read() as conn:
        known = account_store.password(conn, current.home, current.email) is not None
        keys = account_store.passkeys(conn, current.home, current.email)
    found = [
        SessionOut.model_validate(
            {name: getattr(one, name) for name in SessionOut.model_fields if name != "current"}
            | {"current": one.id == current.id}
        )
        for one in sessions
    ]
    return AccountOut(
        email=current.email, home=current.home, password=known, passkeys=[_passkey(key) for key in keys], sessions=found
    )


@router.post("/v1/account/password")
async def set_password(body: PasswordIn, actor: TheActor, world: TheWorld, cookie: TheCookie) -> Done:
    """Sets your password. Your other sessions end."""
    await passwords.set_password(world, actor, cookie, body.password, body.current)
    return Done()


@router.post("/v1/account/passkeys/options")
def passkey_options(request: Request, actor: TheActor, world: TheWorld, cookie: TheCookie) -> OptionsOut:
    """Asks your browser for a new passkey."""
    return OptionsOut(options=dict(passkeys.begin_registration(world, actor, cookie, _site(request, world))))


@router.post("/v1/account/passkeys")
def add_passkey(
    body: NewPasskeyIn, request: Request, actor: TheActor, world: TheWorld, cookie: TheCookie
) -> PasskeyOut:
    """Keeps the passkey that your browser made."""
    made = passkeys.finish_registration(
        world, actor, cookie, _site(request, world), name=body.name, credential=body.credential
    )
    return _passkey(made)


@router.delete("/v1/account/passkeys/{passkey_id}")
def remove_passkey(passkey_id: str, actor: TheActor, world: TheWorld, cookie: TheCookie) -> Done:
    """Forgets one of your passkeys."""
    passkeys.remove(world, actor, cookie, passkey_id)
    return Done()


@router.delete("/v1/account/sessions")
def end_other_sessions(actor: TheActor, world: TheWorld, cookie: TheCookie) -> Ended:
    """Ends every session of yours but this one."""
    return Ended(ended=logins.end_sessions(world, actor, cookie, None))


@router.delete("/v1/account/sessions/{session_id}")
def end_session(session_id: str, actor: TheActor, world: TheWorld, cookie: TheCookie) -> Ended:
    """Ends one of your sessions."""
    return Ended(ended=logins.end_sessions(world, actor, cookie, session_id))
