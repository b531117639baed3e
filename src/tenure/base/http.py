"""What every API route shares: who asks, which world it asks, and how an error is told (RFC 9457)."""

from __future__ import annotations

import zlib
from typing import Annotated, Any, cast

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Actor

# What the credentials look like, for the OpenAPI document; who they belong to is found out before any route runs.
_bearer = HTTPBearer(auto_error=False, description="An API token of a person, or the token of an agent or a gateway.")
_cookie = APIKeyCookie(name="tenure_session", auto_error=False, description="What `POST /v1/login` sets in a browser.")


async def _world(request: Request) -> World:
    return cast("World", request.app.state.world)


async def _actor(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Actor:
    refusal = getattr(request.state, "refusal", None)
    if refusal is not None:
        raise refusal
    actor = getattr(request.state, "actor", None)
    if actor is None:
        sent = bearer is not None or cookie is not None
        raise Refused(
            "not_authenticated",
            "The credential that was sent is not known here, or it has ended."
            if sent
            else "This needs a person or a program that is logged in.",
            fix="Send `Authorization: Bearer <token>` (commands take TENURE_TOKEN, or operator.token in the folder "
            "TENURE_DATA), or open a login link.",
            status=401,
        )
    return cast("Actor", actor)


TheWorld = Annotated[World, Depends(_world)]
TheActor = Annotated[Actor, Depends(_actor)]
"""Who asks, as ``app.server`` found out; a route that names it refuses strangers."""


async def body_of(request: Request, limit: int) -> bytes:
    """The request's body, unpacked, or Refused once it is longer than ``limit`` bytes either way."""
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding not in ("identity", "gzip"):
        raise Refused("unknown_encoding", f"Content-Encoding {coding!r} is not known.", fix="Use gzip.", status=415)
    packed = bytearray()
    async for chunk in request.stream():
        packed += chunk
        if len(packed) > limit:
            raise _too_large(limit)
    if coding == "identity":
        return bytes(packed)
    unpack = zlib.decompressobj(wbits=31)
    try:
        body = unpack.decompress(bytes(packed), limit + 1)
    except zlib.error as error:
        raise Refused("malformed_gzip", f"The body is not gzip: {error}", fix="Send whole gzip data.") from error
    if len(body) > limit:
        raise _too_large(limit)
    if not unpack.eof:
        raise Refused("malformed_gzip", "The gzip data is cut off.", fix="Send whole gzip data.")
    return body


def _too_large(limit: int) -> Refused:
    return Refused("body_too_large", f"The body is longer than {limit} bytes.", fix="Send smaller batches.", status=413)


class Problem(BaseModel):
    """An error, as RFC 9457 has it, with our own members code, fix and details."""

    type: str = Field(description="urn:tenure:error:<code>")
    title: str
    status: int
    detail: str = Field(description="What is wrong, in a sentence")
    code: str = Field(description="What is wrong, for programs; it does not change")
    fix: str = Field("", description="What to do about it")
    details: dict[str, Any] | list[Any] | None = Field(None, description="Every fault with its place, or other facts")


def problem(status: int, code: str, message: str, fix: str = "", details: Any = None) -> JSONResponse:
    """An error as ``application/problem+json`` (RFC 9457), with our own members code, fix and details."""
    body: dict[str, Any] = {"type": f"urn:tenure:error:{code}", "title": code.replace("_", " "), "status": status}
    body |= {"detail": message, "code": code}
    if fix:
        body["fix"] = fix
    if details:
        body["details"] = details
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status_code=status, media_type="application/problem+json", headers=headers)


_FRAMEWORK = {
    400: ("unreadable_body", "Send one JSON value in UTF-8."),
    404: ("not_found", "See /docs for what there is."),
    405: ("method_not_allowed", "See /docs for what there is."),
}
"""What the framework itself refuses, before any route of ours: status -> code and what to do."""


def install_errors(app: FastAPI) -> None:
    """Teaches an application to answer the two families of error, and bad input whole with where and why."""

    @app.exception_handler(Refused)
    async def _refused(_request: Request, error: Refused) -> JSONResponse:
        return problem(error.status, error.code, error.message, error.fix, dict(error.details))

    @app.exception_handler(Failed)
    async def _failed(_request: Request, error: Failed) -> JSONResponse:
        fix = "Try again in a moment." if error.retry else "Run `tenure doctor`."
        return problem(error.status, error.code, error.message, fix)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [{"path": ".".join(map(str, fault["loc"])), "problem": fault["msg"]} for fault in error.errors()]
        return problem(422, "invalid_request", "The request does not have the shape this needs.", "See /docs.", faults)

    @app.exception_handler(HTTPException)
    async def _unreadable(_request: Request, error: HTTPException) -> JSONResponse:
        code, fix = _FRAMEWORK.get(error.status_code, ("bad_request", "See /docs."))
        answer = problem(error.status_code, code, f"{error.detail}.", fix)
        answer.headers.update(error.headers or {})
        return answer

    describe = app.openapi
    setattr(app, "openapi", lambda: _as_it_is(describe()))  # noqa: B010 (FastAPI's own way to extend the document)


def _as_it_is(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with what FastAPI cannot know: how errors look, and summaries from our words."""
    error = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        words = " ".join(operation.get("description", operation["summary"]).split())
        operation["summary"] = words.split(". ")[0].rstrip(".")
        operation["responses"].pop("422", None)
        refused = {"description": "Refused: the caller can mend it", "content": error}
        operation["responses"].setdefault("4XX", refused)  # a standard may have a shape of its own for it
        failed = {"description": "Failed: not the caller's fault", "content": error}
        operation["responses"].setdefault("5XX", failed)
    return document
