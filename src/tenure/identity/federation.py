"""Logging in at another issuer, over HTTP."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from tenure.base.http import TheWorld, body_of
from tenure.identity import backchannel, oidc
from tenure.identity.api import Me, hand_over, visitor_of

router = APIRouter(tags=["identity"])
_MAX_TOKEN = 1 << 14


class Issuers(BaseModel):
    """The names of the issuers that people log in with."""

    issuers: list[str]


class BeginIn(BaseModel):
    """Where to go on after the login."""

    back: str = Field("/", max_length=2000)


class BeginOut(BaseModel):
    """Where to send the browser, and what it must bring back: a login is finished in the browser that began it."""

    url: str
    binding: str


class FinishIn(BaseModel):
    """What the issuer sent the browser back with, and the ``binding`` from the beginning."""

    code: str = Field(max_length=4000)
    state: str = Field(max_length=200)
    iss: str = Field("", max_length=500)
    binding: str = Field(max_length=200)


class FinishOut(Me):
    """Who it is, and where to go on."""

    back: str


class LoggedOut(BaseModel):
    """How many sessions here were ended."""

    ended: int


@router.get("/v1/login/oidc")
def issuers(world: TheWorld) -> Issuers:
    """The issuers that people log in with."""
    return Issuers(issuers=[one.name for one in oidc.issuers(world.config)])


@router.post("/v1/login/oidc/{issuer}/begin")
def begin(issuer: str, body: BeginIn, response: Response, world: TheWorld) -> BeginOut:
    """Begins a login at an issuer."""
    response.headers["Cache-Control"] = "no-store"
    sent = oidc.begin(world, issuer, body.back)
    return BeginOut(url=sent.url, binding=sent.binding)


@router.post("/v1/login/oidc/{issuer}/finish")
def finish(issuer: str, body: FinishIn, request: Request, response: Response, world: TheWorld) -> FinishOut:
    """Trades an issuer's code for a session cookie."""
    session, back = oidc.finish(
        world,
        issuer,
        code=body.code,
        state=body.state,
        iss=body.iss,
        binding=body.binding,
        visitor=visitor_of(request),
    )
    return FinishOut(**hand_over(session, world, request, response).model_dump(), back=back)


@router.post(
    "/v1/login/oidc/{issuer}/logout",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "required": ["logout_token"],
                        "properties": {"logout_token": {"type": "string", "maxLength": 16384}},
                    }
                }
            },
        }
    },
)
async def logout(issuer: str, request: Request, response: Response, world: TheWorld) -> LoggedOut:
    """Ends the sessions that an issuer says are over (OpenID Connect Back-Channel Logout 1.0)."""
    response.headers["Cache-Control"] = "no-store"
    pairs = parse_qsl((await body_of(request, _MAX_TOKEN)).decode("ascii", "replace"), max_num_fields=20)
    tokens = [value for name, value in pairs if name == "logout_token"]
    visitor = visitor_of(request)
    return LoggedOut(ended=await asyncio.to_thread(backchannel.end, world, issuer, "".join(tokens[:1]), visitor))
