"""Where traces are sent on to: the places, how each fares, and adding one. The API does it."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/exports")
async def show(request: Request, done: str = "") -> Response:
    """Every place, what was sent to it, what waits, and why."""
    api = api_of(request)
    around, found, secrets = await asyncio.gather(frame(api), api.get("/v1/exports"), api.maybe("/v1/secrets"))
    names = [one["name"] for one in items(secrets)]
    return render(request, "exports.html", frame=around, exports=found["exports"], secrets=names, done=done)


@router.post("/exports")
async def put(request: Request) -> Response:
    """Sends traces on to a place."""
    fields = await form(request)
    body = {name: fields.get(name, "").strip() for name in ("kind", "url", "secret", "project")}
    flags = {name: bool(fields.get(name)) for name in ("content", "whole")}
    await api_of(request).put(f"/v1/exports/{quote(fields.get('name', '').strip(), safe='')}", body | flags)
    return go(request, "/exports?done=put")


@router.post("/exports/{name}/remove")
async def remove(request: Request, name: str) -> Response:
    """Sends traces there no longer."""
    await form(request)
    await api_of(request).delete(f"/v1/exports/{quote(name, safe='')}")
    return go(request, "/exports?done=removed")
