"""Service accounts and their keys. The API does it all; a key's secret is on the page that answers its making, and
nowhere else."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.values import PEOPLE
from tenure.ui.gate import Api, PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

LIVES = (("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("366", "a year"))
"""How long a key may live, in days, and in words."""


@router.post("/services")
async def make(request: Request) -> Response:
    """Makes a service account."""
    fields = await form(request)
    roles = sorted(role.value for role in PEOPLE if fields.get(f"role-{role.value}"))
    name = fields.get("name", "").strip()
    await api_of(request).post("/v1/services", {"name": name, "roles": roles})
    return go(request, f"/services/{quote(name, safe='')}?done=made")


@router.get("/services/{name}")
async def show(request: Request, name: str, done: str = "") -> Response:
    """A service account with its keys, and the form for another one."""
    return await _page(request, api_of(request), name, done=done)


@router.post("/services/{name}/keys")
async def make_key(request: Request, name: str) -> Response:
    """Makes a key and shows its secret. No redirect: it must not be in an address, and is told this once."""
    fields = await form(request)
    days = fields.get("days", "")
    if days not in dict(LIVES):
        raise Refused("bad_life", "A key lives for 7, 30, 90 or 366 days.", status=422)
    body = {"name": fields.get("name", "").strip(), "scopes": fields.get("scopes", "").replace(",", " ").split()}
    api = api_of(request)
    made, _ = await api.post(f"/v1/services/{quote(name, safe='')}/keys", {**body, "ttl_s": int(days) * 86_400})
    return await _page(request, api, name, made=made)


@router.post("/services/{name}/keys/{key_id}/revoke")
async def revoke_key(request: Request, name: str, key_id: str) -> Response:
    """Ends a key."""
    await form(request)
    at = quote(name, safe="")
    await api_of(request).delete(f"/v1/services/{at}/keys/{quote(key_id, safe='')}")
    return go(request, f"/services/{at}?done=revoked")


@router.post("/services/{name}/remove")
async def remove(request: Request, name: str) -> Response:
    """Ends a service account and every key of it."""
    await form(request)
    await api_of(request).delete(f"/v1/services/{quote(name, safe='')}")
    return go(request, "/people?done=service-removed")


async def _page(request: Request, api: Api, name: str, done: str = "", made: Any = None) -> Response:
    around, answer, keys = await asyncio.gather(
        frame(api), api.get("/v1/services"), api.get(f"/v1/services/{quote(name, safe='')}/keys")
    )
    found = next((one for one in items(answer, "services") if one["name"] == name), None)
    if found is None:
        raise Refused("no_such_service", f"There is no service account {name}.", fix="See /people.", status=404)
    facts: dict[str, Any] = {"service": found, "keys": items(keys, "tokens"), "lives": LIVES}
    return render(request, "service.html", frame=around, done=done, made=made, **facts)
