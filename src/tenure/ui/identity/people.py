"""People: who may do what, and what agents may do on their behalf. The API does it all."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/people")
async def people(request: Request, done: str = "") -> Response:
    """Who may do what."""
    api = api_of(request)
    around, answer, programs, directory = await asyncio.gather(
        frame(api), api.get("/v1/people"), api.maybe("/v1/services"), api.maybe("/v1/directory")
    )
    services = items(programs, "services")
    told: dict[str, Any] = {"people": items(answer, "people", "items"), "services": services, "done": done}
    told["directory"] = directory or {"address": "", "users": []}
    return render(request, "people.html", frame=around, **told)


@router.get("/people/{email}")
async def person(request: Request, email: str, done: str = "", force: str = "") -> Response:
    """One person, and what agents may do on their behalf."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get("/v1/people"))
    one = next((one for one in items(answer, "people", "items") if one["email"] == email), None)
    if one is None:
        raise Refused("no_such_person", f"There is no {email}.", fix="See who there is: People.", status=404)
    return render(request, "person.html", frame=around, person=one, done=done, force=force)


@router.post("/people/{email}/scopes")
async def limit(request: Request, email: str) -> Response:
    """Says what agents may do on somebody's behalf."""
    fields = await form(request)
    scopes = fields.get("scopes", "").split() if fields.get("limited") == "yes" else None
    where = f"/people/{quote(email, safe='@')}"
    await api_of(request).put(f"/v1{where}/scopes", {"scopes": scopes})
    return go(request, f"{where}?done=limited")
