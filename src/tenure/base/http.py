"""What every API route shares: who asks, which world it asks, and how an error is told (RFC 9457)."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Actor, Role


def _world(request: Request) -> World:
    return cast("World", request.app.state.world)


def _actor(request: Request) -> Actor:
    actor = getattr(request.state, "actor", None)
    if actor is None:
        raise Refused(
            "not_authenticated",
            "This needs a person or a program that is logged in.",
            fix="Send `Authorization: Bearer <token>`, or open a login link (`tenure login-link`).",
            status=401,
        )
    return cast("Actor", actor)


TheWorld = Annotated[World, Depends(_world)]
TheActor = Annotated[Actor, Depends(_actor)]
"""Who asks, as ``app.server`` found out; a route that names it refuses strangers."""


def require(actor: Actor, *roles: Role) -> None:
    """Raises Refused unless the actor has one of the roles."""
    if not actor.roles.intersection(roles):
        raise Refused(
            "not_permitted",
            f"{actor.name} may not do this: it takes the role {' or '.join(sorted(roles))}.",
            fix="Ask an operator for the role, or a person who has it to do this.",
            status=403,
        )


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
