"""Identity, as the wiring sees it."""

from __future__ import annotations

from fastapi import APIRouter

from tenure.base.room import Room
from tenure.identity import accounts, api, federation, flow, programs

_router = APIRouter()
_router.include_router(api.router)
_router.include_router(programs.router)
_router.include_router(accounts.router)
_router.include_router(federation.router)

ROOM = Room(
    name="identity",
    events={
        "key.created": "A key was published that will sign agents' tokens. Data: kid.",
        "key.rotated": "The next key signs agents' tokens. Data: kid, signs_at.",
        "key.retired": "Tokens of a replaced signing key are no longer believed. Data: kid.",
        "token.issued": "An instance of an agent was given a token. Data: jti, kid, expires_at, epoch, on_behalf_of, "
        "scopes, chain, bounds, task, audience, jkt (the key it is bound to), and of what the authorization server "
        "issued: grant_type, key, subject, rule, issuer, outside; never the token.",
        "person.created": "Somebody may log in. Data: email, roles.",
        "person.changed": "Somebody has other roles. Data: email, roles.",
        "person.removed": "Somebody is no longer let in; sessions and API tokens here have ended. Data: email.",
        "person.limited": "What agents may do on somebody's behalf was changed. Data: email, scopes (null: no limit).",
        "person.credentials_ended": "A person's sessions, API tokens and login codes have ended. Data: email.",
        "person.joined": "Somebody took a place in this workspace as who another workspace says. Data: email, home.",
        "person.entered": "Somebody switched to this workspace. Data: email.",
        "workspace.created": "A workspace was made. Data: name.",
        "login_link.created": "Somebody made a one-time code that logs a person in. Data: email; never the code.",
        "person.logged_in": "Somebody logged in and has a session. Data: email, method.",
        "api_token.created": "Somebody made an API token, or a key of a service account. Data: token_id, name, scopes, "
        "service; never the token.",
        "api_token.revoked": "Somebody ended an API token, or a key of a service account. Data: token_id, service.",
        "person.logged_out": "An issuer said that somebody has logged out there; their sessions here that began with "
        "its word have ended. Data: email, count.",
        "person.password_changed": "Somebody set a password; their other sessions ended. Data: email.",
        "person.passkey_added": "Somebody added a passkey. Data: email, name.",
        "person.passkey_removed": "Somebody removed a passkey. Data: email, name.",
        "person.sessions_ended": "Somebody ended sessions of their own. Data: email, count.",
        "service.created": "A service account was made. Data: name, roles.",
        "service.changed": "A service account has other roles. Data: name, roles.",
        "service.removed": "A service account and all its keys have ended. Data: name.",
    },
    router=_router,
    flows=(flow.TEND_KEYS,),
)
