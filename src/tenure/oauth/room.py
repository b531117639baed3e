"""The authorization server, as the wiring sees it."""

from __future__ import annotations

from fastapi import APIRouter

from tenure.base.room import Room
from tenure.oauth.api import router
from tenure.oauth.flow import FORGET
from tenure.oauth.login.api import router as login_router

_router = APIRouter()
_router.include_router(router)
_router.include_router(login_router)

ROOM = Room(
    name="oauth",
    events={
        "agent_key.added": "A public key was registered that an agent proves itself with. Data: key (its thumbprint), "
        "kid, name, expires_at.",
        "agent_key.revoked": "A key of an agent ended, with every token that it was shown for. Data: key.",
        "agent_token.revoked": "A token of an agent was ended before its time. Data: jti.",
        "token.refused": "The token endpoint gave no token. Data: error (as in RFC 6749), why, client (as it calls "
        "itself), grant_type, client.address, count (for how many like it this stands).",
        "program.registered": "A program was registered that people log in with. Data: program (its id), name, how, "
        "redirects, client.address.",
        "program.removed": "A program that people logged in with was removed. Data: program, name, how, redirects.",
        "program.refused": "A program that wanted to register itself was not taken. Data: error, why, client.address, "
        "count.",
        "login.turned_away": "A program sent somebody here to be let in, in a way that is not answered. Data: "
        "program, why, message.",
        "login.allowed": "Somebody let a program act as an agent of theirs. Data: login, person, program, name, how, "
        "resource, scopes.",
        "login.refused": "Somebody did not let a program act for them. Data: program, name, resource, scopes.",
        "login.begun": "A program took up what somebody had allowed it. Data: login, person, program, scopes, "
        "resource, jkt (the key it is bound to).",
        "login.ended": "A program may not act for somebody any more. Data: login, person, program, why: revoked, "
        "given_up (the program ended it), or "
        "what was shown twice, by another program, without its proof, or does not hold any more.",
    },
    router=_router,
    flows=(FORGET,),
)
