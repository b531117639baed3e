"""The authorization server over HTTP: its metadata, the token endpoint, and agents' keys."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.errors import Refused
from tenure.oauth import service
from tenure.oauth.model import MAX_FORM, MAX_KEY_DAYS, ClientKey, Form, client_id, form_of, refusal
from tenure.oauth.service import Knock

router = APIRouter(tags=["oauth"])

_UNSAID = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "grant_type": {"type": "string"},
                        "client_assertion_type": {"type": "string"},
                        "client_assertion": {"type": "string"},
                        "resource": {"type": "string"},
                        "session": {"type": "string"},
                    },
                    "required": ["grant_type"],
                }
            }
        },
    }
}


_ONE_TOKEN = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}
            }
        },
    }
}


class KeyIn(BaseModel):
    """A public key to register. ``jwk``: P-256 or Ed25519, the public half only (RFC 7517)."""

    jwk: dict[str, Any]
    name: str = Field("", max_length=100)
    days: int = Field(MAX_KEY_DAYS, description="How long it is good for")


class KeyOut(BaseModel):
    """A key that an agent proves itself with. ``client_id`` is what the agent calls itself with it; ``thumbprint`` that
    of RFC 7638; ``instance`` is under which Events tell of what its holder does. It is good until ``expires_at``,
    unless it was revoked."""

    agent: str
    client_id: str
    thumbprint: str
    kid: str
    alg: str
    name: str
    instance: str
    live: bool
    added_at: datetime
    added_by: str
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None


class TokenOut(BaseModel):
    """A token (RFC 6749 section 5.1). ``session`` names the session that it is of: send it again with the next request
    to go on with it."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str | None = None
    session: str | None = None


class IntrospectionOut(BaseModel):
    """Whether a token counts (RFC 7662 section 2.2); what it says only if it does, and only to whom it concerns."""

    active: bool
    iss: str | None = None
    sub: str | None = None
    client_id: str | None = None
    aud: str | None = None
    jti: str | None = None
    exp: int | None = None
    token_type: str | None = None
    agent: str | None = None
    release: str | None = None
    instance: str | None = None
    session: str | None = None
    cnf: dict[str, str] | None = None
    scope: str | None = None
    task: str | None = None
    act: dict[str, Any] | None = None


class OAuthError(BaseModel):
    """A refusal (RFC 6749 section 5.2)."""

    error: str
    error_description: str


REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"model": OAuthError, "description": "Refused (RFC 6749)"}}


def _key(key: ClientKey, world: TheWorld) -> KeyOut:
    values = {name: getattr(key, name) for name in KeyOut.model_fields if name not in ("client_id", "live")}
    return KeyOut(**values, client_id=client_id(key.workspace, key.agent), live=key.live(world.clock()))


@router.get("/.well-known/oauth-authorization-server")
def metadata(response: Response, world: TheWorld) -> dict[str, Any]:
    """What this authorization server can do, and where (RFC 8414). Open to everybody."""
    response.headers["Cache-Control"] = "public, max-age=60"
    return service.metadata(world.config)


def oauth_error(error: Refused) -> JSONResponse:
    """A refusal as RFC 6749 section 5.2 has it."""
    words = _UNSAID.sub("'", f"{error.message} {error.fix}".strip())
    headers = {"Cache-Control": "no-store"}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="tenure"'
    if error.status == 429:
        headers["Retry-After"] = "1"
    return JSONResponse({"error": error.code, "error_description": words}, error.status, headers)


async def read_form(request: Request) -> Form | Refused:
    """The parameters of a request to an OAuth endpoint, or why they cannot be read."""
    try:
        if (
            request.headers.get("content-type", "").partition(";")[0].strip().lower()
            != "application/x-www-form-urlencoded"
        ):
            raise refusal("invalid_request", "bad_form", "The body is no form.", fix="Send it urlencoded.")
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_FORM:
                raise refusal(
                    "invalid_request",
                    "too_long",
                    f"The body is longer than {MAX_FORM} bytes.",
                    fix="Send less.",
                    status=413,
                )
        return form_of(body)
    except Refused as error:
        return error


TheForm = Annotated[Form | Refused, Depends(read_form)]


def _knock(request: Request) -> Knock:
    """What came with a request. A header that was sent twice is joined, and then is no proof."""
    return Knock(
        authorization=request.headers.get("authorization", ""),
        proof=", ".join(request.headers.getlist("dpop")),
        address=request.client.host if request.client else "",
        actor=getattr(request.state, "actor", None),
    )


@router.post("/oauth/token", response_model=TokenOut, responses=REFUSALS, openapi_extra=_FORM)
def token(request: Request, world: TheWorld, form: TheForm) -> Response:
    """Gives a token to a client that shows who it is (RFC 6749 section 3.2)."""
    try:
        if isinstance(form, Refused):
            raise form
        made = service.token(world, form, _knock(request))
    except Refused as error:
        return oauth_error(error)
    kind = "DPoP" if request.headers.get("dpop") else "Bearer"
    body = {"access_token": made.token, "token_type": kind, "expires_in": made.expires_in, **made.more}
    if made.scope:
        body["scope"] = made.scope
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


@router.post("/oauth/introspect", response_model=IntrospectionOut, responses=REFUSALS, openapi_extra=_ONE_TOKEN)
def introspect(request: Request, world: TheWorld, form: TheForm) -> Response:
    """Says whether a token counts, and what it says (RFC 7662): to its agent, and to who may read agents."""
    try:
        if isinstance(form, Refused):
            raise form
        return JSONResponse(service.introspect(world, form, _knock(request)), headers={"Cache-Control": "no-store"})
    except Refused as error:
        return oauth_error(error)


@router.post("/oauth/revoke", responses=REFUSALS, openapi_extra=_ONE_TOKEN)
def revoke(request: Request, world: TheWorld, form: TheForm) -> Response:
    """Ends a token (RFC 7009), for its agent and for who may revoke the agent's keys."""
    try:
        if isinstance(form, Refused):
            raise form
        service.revoke(world, form, _knock(request))
    except Refused as error:
        return oauth_error(error)
    return JSONResponse({}, headers={"Cache-Control": "no-store"})


@router.get("/v1/agents/{name}/keys")
def keys(world: TheWorld, actor: TheActor, name: str) -> list[KeyOut]:
    """The keys that an agent proves itself with, the newest first."""
    permit(actor, "agents:read")
    with world.read() as conn:
        return [_key(key, world) for key in service.list_keys(conn, actor.workspace, name)]


@router.post("/v1/agents/{name}/keys")
def add_key(world: TheWorld, actor: TheActor, name: str, body: KeyIn) -> KeyOut:
    """Registers the public half of a key that an agent holds."""
    return _key(service.add_key(world, actor, name, body.jwk, name=body.name, days=body.days), world)


@router.post("/v1/agents/{name}/keys/{key}/revoke")
def revoke_key(world: TheWorld, actor: TheActor, name: str, key: str) -> KeyOut:
    """Ends a key at once, with every token that it was shown for."""
    return _key(service.revoke_key(world, actor, name, key), world)
