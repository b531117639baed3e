"""Logging in over HTTP: what the consent page asks and says, what is allowed, and which programs there are."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, cast

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from tenure.base.access import permit
from tenure.base.http import TheActor, TheWorld
from tenure.kernel.errors import Refused
from tenure.oauth.api import REFUSALS
from tenure.oauth.login import programs, service, store
from tenure.oauth.login.documents import Documents
from tenure.oauth.login.model import MAX_REQUEST, Asked, Login, Program, Turned, parameters, words_of

router = APIRouter(tags=["logins"])
_MAX_REGISTRATION = 16_384
_METADATA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "redirect_uris": {"type": "array", "items": {"type": "string"}},
                        "client_name": {"type": "string"},
                    },
                    "required": ["redirect_uris"],
                }
            }
        },
    }
}


class RequestIn(BaseModel):
    """An authorization request, as the query of ``/oauth/authorize`` has it."""

    request: str = Field(max_length=MAX_REQUEST)


class AnswerIn(RequestIn):
    """What the person answers. ``agent``: whom the program may act as, ``scopes`` how far; both only when it is
    allowed."""

    allow: bool
    agent: str = Field("", max_length=63)
    scopes: list[str] = Field(default_factory=list, max_length=100)


class ProgramOut(BaseModel):
    """A program that people log in with. ``how`` it is known: document, registration or operator."""

    id: str
    name: str
    redirects: list[str]
    how: str
    created_at: datetime
    created_by: str


class ProgramIn(BaseModel):
    """A program to register. ``redirects``: where it may have the browser sent back to."""

    name: str = Field(max_length=80)
    redirects: list[str] = Field(max_length=20)


class ProgramsOut(BaseModel):
    """The programs of a workspace, the newest first."""

    programs: list[ProgramOut]


class ChoiceOut(BaseModel):
    """An agent that the program could act as."""

    name: str
    purpose: str
    state: str


class ScopeOut(BaseModel):
    """What the program asks for, and in words."""

    scope: str
    words: str


class QuestionOut(BaseModel):
    """What a person is asked. With a ``location`` there is nothing to ask: the program made a mistake, and the browser
    is sent back there with the error. ``sent_to``: where the answer goes."""

    location: str | None = None
    problem: str | None = None
    program: ProgramOut
    sent_to: str | None = None
    resource: str | None = None
    scopes: list[ScopeOut] = Field(default_factory=list)
    agents: list[ChoiceOut] = Field(default_factory=list)


class SentOut(BaseModel):
    """Where the browser goes with the answer. It holds a code that is good for once: keep it out of logs."""

    location: str


class LoginOut(BaseModel):
    """What a program may do for a person. ``id`` is the instance that Events tell of."""

    id: str
    person: str
    agent: str
    program: str
    program_name: str
    how: str
    resource: str
    scopes: list[str]
    words: list[str]
    allowed_at: datetime
    last_used_at: datetime | None
    expires_at: datetime


class LoginsOut(BaseModel):
    """What is allowed now, the newest first."""

    logins: list[LoginOut]


class RegisteredOut(BaseModel):
    """A program that registered itself (RFC 7591 section 3.2.1)."""

    client_id: str
    client_id_issued_at: int
    client_name: str
    redirect_uris: list[str]
    grant_types: list[str]
    response_types: list[str]
    token_endpoint_auth_method: str


class Ended(BaseModel):
    """What there was has ended."""

    ended: bool = True


def _program(found: Program) -> ProgramOut:
    values = {name: getattr(found, name) for name in ProgramOut.model_fields}
    return ProgramOut(**values | {"redirects": list(found.redirects)})


def _login(found: Login) -> LoginOut:
    values = {name: getattr(found, name) for name in LoginOut.model_fields if hasattr(found, name)}
    more = {"person": found.email, "resource": found.audience, "scopes": list(found.scopes)}
    return LoginOut(**values | more, words=words_of(found.scopes))


def _documents(request: Request, world: TheWorld) -> Documents:
    state = request.app.state
    if not hasattr(state, "client_documents"):
        state.client_documents = programs.documents(world.config)
    return cast("Documents", state.client_documents)


async def _asking(request: Request, world: TheWorld, actor: TheActor, query: str) -> Program:
    client_id = parameters(query).get("client_id", "")
    return await programs.find(world, actor, _documents(request, world), client_id)


@router.post("/v1/oauth/question")
async def question(body: RequestIn, request: Request, world: TheWorld, actor: TheActor) -> QuestionOut:
    """What an authorization request asks of the person: who wants what, and as which agents it could act."""
    program = await _asking(request, world, actor, body.request)
    found = await asyncio.to_thread(service.look, world, actor, body.request, program)
    if isinstance(found, Turned):
        return QuestionOut(location=found.location, problem=found.message, program=_program(program))
    wants: Asked = found.wants
    return QuestionOut(
        program=_program(program),
        sent_to=wants.redirect,
        resource=wants.audience,
        scopes=[
            ScopeOut(scope=scope, words=words)
            for scope, words in zip(wants.scopes, words_of(wants.scopes), strict=True)
        ],
        agents=[
            ChoiceOut(name=agent.name, purpose=str(agent.manifest["spec"].get("purpose") or ""), state=agent.state)
            for agent in found.agents
        ],
    )


@router.post("/v1/oauth/answer")
async def answer(body: AnswerIn, request: Request, world: TheWorld, actor: TheActor) -> SentOut:
    """The person agrees or refuses; where to send the browser with that."""
    program = await _asking(request, world, actor, body.request)
    if not body.allow:
        return SentOut(location=await asyncio.to_thread(service.refuse, world, actor, body.request, program))
    location = await asyncio.to_thread(
        service.allow, world, actor, body.request, program, body.agent, tuple(body.scopes)
    )
    return SentOut(location=location)


@router.get("/v1/logins")
def logins(world: TheWorld, actor: TheActor, everybody: bool = False) -> LoginsOut:
    """What programs may do on your behalf, or on that of ``everybody`` here."""
    with world.read() as conn:
        found = service.list_logins(conn, actor, world.clock(), everybody=everybody)
    return LoginsOut(logins=[_login(one) for one in found])


@router.delete("/v1/logins/{ident}")
def end_login(ident: str, world: TheWorld, actor: TheActor) -> Ended:
    """Ends what a program was allowed: its next call is refused."""
    service.end(world, actor, ident)
    return Ended()


@router.get("/v1/programs")
def list_programs(world: TheWorld, actor: TheActor) -> ProgramsOut:
    """The programs that were registered for this workspace."""
    permit(actor, "people:read")
    with world.read() as conn:
        return ProgramsOut(programs=[_program(one) for one in store.programs(conn, actor.workspace)])


@router.post("/v1/programs", status_code=201)
def add_program(body: ProgramIn, world: TheWorld, actor: TheActor) -> ProgramOut:
    """Registers a program that people log in with. It has an id and no secret."""
    return _program(programs.add(world, actor, body.name, body.redirects))


@router.delete("/v1/programs/{ident}")
def remove_program(ident: str, world: TheWorld, actor: TheActor) -> Ended:
    """Forgets a program, and ends what it was allowed."""
    programs.remove(world, actor, ident)
    return Ended()


@router.post(
    "/oauth/register", status_code=201, response_model=RegisteredOut, responses=REFUSALS, openapi_extra=_METADATA
)
async def register(request: Request, world: TheWorld) -> JSONResponse:
    """A program registers itself (RFC 7591), where TENURE_OAUTH_CLIENTS allows it. It gets an id and no secret."""
    address = request.client.host if request.client else ""
    try:
        metadata = await _metadata(request)
        program = await asyncio.to_thread(programs.register, world, metadata, address)
    except Refused as error:
        body = {"error": error.code, "error_description": f"{error.message} {error.fix}".strip()}
        return JSONResponse(body, error.status, {"Cache-Control": "no-store"})
    told = {
        "client_id": program.id,
        "client_id_issued_at": int(program.created_at.timestamp()),
        "client_name": program.name,
        "redirect_uris": list(program.redirects),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    return JSONResponse(told, 201, {"Cache-Control": "no-store"})


async def _metadata(request: Request) -> dict[str, Any]:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_REGISTRATION:
            raise Refused("invalid_client_metadata", "The metadata are too long.", fix="Send less.", status=413)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refused("invalid_client_metadata", "The metadata are no JSON object.", fix="Send one.") from error
