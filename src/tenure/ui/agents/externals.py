"""Agents elsewhere: whose cards were taken, and what is known of them. The API does it all."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/external-agents")
async def show(request: Request, done: str = "") -> Response:
    """Every agent elsewhere, with who may call it here."""
    api = api_of(request)
    around, answer, agents = await asyncio.gather(frame(api), api.get("/v1/external-agents"), api.get("/v1/agents"))
    found = sorted(items(answer), key=lambda one: str(one["name"]))
    callers = {one["name"]: _callers(str(one["name"]), items(agents, "agents")) for one in found}
    return render(request, "externals.html", frame=around, done=done, externals=found, callers=callers)


def _callers(name: str, agents: list[JsonObject]) -> list[str]:
    """The agents here that were granted to call it."""
    specs = {str(agent["name"]): (agent.get("manifest") or {}).get("spec") or {} for agent in agents}
    return sorted(caller for caller, spec in specs.items() if any(p["name"] == name for p in spec.get("agents") or ()))


@router.post("/external-agents")
async def take(request: Request) -> Response:
    """Takes the card of an agent elsewhere from its address."""
    fields = await form(request)
    body: dict[str, Any] = {"url": fields.get("url", "").strip()}
    body |= {name: fields[name].strip() for name in ("name", "credential_env") if fields.get(name, "").strip()}
    await api_of(request).post("/v1/external-agents", body)
    return go(request, "/external-agents?done=taken")


@router.post("/external-agents/{name}/remove")
async def remove(request: Request, name: str) -> Response:
    """Forgets one: no further call of it passes."""
    await form(request)
    await api_of(request).delete(f"/v1/external-agents/{quote(name, safe='')}")
    return go(request, "/external-agents?done=removed")
