"""SCIM over HTTP. Its errors, its content type and its words are those of RFC 7644, not ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from tenure.base.http import TheActor, TheWorld
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.scim import service
from tenure.scim.model import bad, config, error, listed, resource_type, schema, shown

MEDIA = "application/scim+json"


class ScimJson(JSONResponse):
    """An answer in SCIM's content type."""

    media_type = MEDIA


class ScimRoute(APIRoute):
    """A route whose refusals are SCIM's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI asks for it."""
        inner: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await inner(request)
            except Refused as refused:
                told = refused
            except (RequestValidationError, HTTPException):
                told = bad("invalidSyntax", "The request is not of the shape that SCIM gives it.")
            headers = {"WWW-Authenticate": "Bearer"} if told.status == 401 else None
            return ScimJson(error(told), told.status, headers)

        return handler


_REFUSED: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Refused", "content": {MEDIA: {"schema": {"type": "object"}}}}
}
router = APIRouter(
    prefix="/scim/v2", tags=["scim"], route_class=ScimRoute, default_response_class=ScimJson, responses=_REFUSED
)


def _base(world: World) -> str:
    return f"{identity.issuer(world.config)}/scim/v2"


@router.get("/ServiceProviderConfig")
def get_config(world: TheWorld, _actor: TheActor) -> dict[str, Any]:
    """What this server can do."""
    return dict(config(_base(world)))


@router.get("/ResourceTypes")
def get_types(world: TheWorld, _actor: TheActor) -> dict[str, Any]:
    """The kinds of resources there are: users."""
    return dict(listed([resource_type(_base(world))], 1, 1))


@router.get("/Schemas")
def get_schemas(world: TheWorld, _actor: TheActor) -> dict[str, Any]:
    """The attributes of a user that are kept."""
    return dict(listed([schema(_base(world))], 1, 1))


@router.get("/ResourceTypes/{name}", include_in_schema=False)
def get_type(world: TheWorld, _actor: TheActor, name: str) -> dict[str, Any]:
    """One kind of resources."""
    return _named(resource_type(_base(world)), name)


@router.get("/Schemas/{name}", include_in_schema=False)
def get_schema(world: TheWorld, _actor: TheActor, name: str) -> dict[str, Any]:
    """One schema."""
    return _named(schema(_base(world)), name)


def _named(found: JsonObject, name: str) -> dict[str, Any]:
    if found["id"] != name:
        raise bad("notFound", f"There is no {name}.", status=404)
    return dict(found)


@router.get("/Users")
def find(
    world: TheWorld,
    actor: TheActor,
    asked: Annotated[str, Query(alias="filter")] = "",
    start: Annotated[int, Query(alias="startIndex")] = 1,
    count: int = 100,
) -> dict[str, Any]:
    """Users, at most 200 at once. ``filter``: userName, externalId, id or emails.value eq "..."."""
    found, total = service.find(world, actor, asked, start, count)
    base = _base(world)
    return dict(listed([shown(user, base) for user in found], total, max(start, 1)))


@router.get("/Users/{ident}")
def get(world: TheWorld, actor: TheActor, ident: str) -> dict[str, Any]:
    """One user."""
    return dict(shown(service.get(world, actor, ident), _base(world)))


@router.post("/Users", status_code=201)
def create(world: TheWorld, actor: TheActor, body: dict[str, Any]) -> dict[str, Any]:
    """Somebody new, who may log in from now on."""
    return dict(shown(service.create(world, actor, body), _base(world)))


@router.put("/Users/{ident}")
def replace(world: TheWorld, actor: TheActor, ident: str, body: dict[str, Any]) -> dict[str, Any]:
    """All that is said of a user, anew."""
    return dict(shown(service.replace(world, actor, ident, body), _base(world)))


@router.patch("/Users/{ident}")
def patch(world: TheWorld, actor: TheActor, ident: str, body: dict[str, Any]) -> dict[str, Any]:
    """Some of what is said of a user; ``active`` false ends their place, sessions and keys."""
    return dict(shown(service.patch(world, actor, ident, body), _base(world)))


@router.delete("/Users/{ident}", status_code=204, response_class=Response)
def delete(world: TheWorld, actor: TheActor, ident: str) -> None:
    """Forgets a user, who has left."""
    service.delete(world, actor, ident)


plain = APIRouter(tags=["identity"])


class DirectoryUser(BaseModel):
    """Somebody whom a directory speaks of. ``email`` is what they log in with."""

    id: str
    user_name: str
    email: str
    active: bool


class DirectoryOut(BaseModel):
    """Where a directory finds this server, and whom it has spoken of."""

    address: str
    users: list[DirectoryUser]


@plain.get("/v1/directory")
def directory(world: TheWorld, actor: TheActor) -> DirectoryOut:
    """Whom a directory has spoken of over SCIM."""
    with world.read() as conn:
        found = service.every(conn, actor)
    users = [DirectoryUser.model_validate(one, from_attributes=True) for one in found]
    return DirectoryOut(address=_base(world), users=users)
