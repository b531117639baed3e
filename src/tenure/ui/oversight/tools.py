"""Tools: what agents were granted, the definitions that wait for a person, and the switches. The API does it all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, form, frame, go, is_fragment, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

WAITING = frozenset({"changed", "held"})
"""States in which a person is asked."""
_VERBS = {"off": "disable", "on": "enable"}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool by the name that manifests give it, with each agent that was granted it, as the API tells them."""

    resource: str
    grants: tuple[JsonObject, ...]

    @property
    def waits(self) -> bool:
        """Whether a definition of it waits for a person."""
        return any(grant["state"] in WAITING for grant in self.grants)


def grouped(found: Iterable[JsonObject]) -> list[Tool]:
    """Grants by their tools; what waits for a person first, then by name."""
    by_name: dict[str, list[JsonObject]] = {}
    for grant in found:
        by_name.setdefault(str(grant["resource"]), []).append(grant)
    tools = [Tool(name, tuple(grants)) for name, grants in by_name.items()]
    return sorted(tools, key=lambda tool: (not tool.waits, tool.resource))


@router.get("/tools")
async def tools(request: Request, q: str = "", state: str = "", done: str = "") -> Response:
    """Every tool with the agents that were granted it, and how it stands for each."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get("/v1/tools"))
    found = items(answer)
    words = q.lower().split()
    named = [one for one in found if all(word in f"{one['resource']} {one['agent']}".lower() for word in words)]
    shown = [one for one in named if state in ("", one["state"])]
    facts: dict[str, Any] = {"tools": grouped(shown), "all_tools": len(found), "q": q.strip(), "state": state}
    facts["waiting"] = sum(grant["state"] in WAITING for grant in found)
    return render(request, "tools.html", frame=around, done=done, **facts)


@router.get("/tools/definition")
async def definition(request: Request, agent: str = "", resource: str = "") -> Response:
    """One agent's tool: the accepted definition, the one that waits, where they differ, and the switches."""
    api = api_of(request)
    around, told, answer = await asyncio.gather(
        frame(api), api.get("/v1/tools/definition", agent=agent, resource=resource), api.get("/v1/tools")
    )
    named = [grant for grant in items(answer) if grant["resource"] == resource]
    grant = next((one for one in named if one["agent"] == agent), None)
    if grant is None:
        raise Refused("unknown_tool", f"Agent {agent} has no tool {resource} any more.", status=404)
    mark = told["seen_fingerprint"]
    waits = [str(one["agent"]) for one in named if mark is not None and one["seen"] == mark]
    switched = [(f"{one['server']}/{one['tool']}", one["agent"]) for one in items(grant["off"])]
    return render(request, "tool.html", frame=around, tool=grant, told=told, waits=waits, switched=switched)


@router.get("/tools/switch")
async def switch(request: Request, resource: str = "", agent: str = "", to: str = "off") -> Response:
    """Says what switching a tool off or on will do, and asks for the reason."""
    api, verb = api_of(request), _verb(to)
    ask = api.get if verb == "disable" else api.maybe  # what nobody is granted any more can be switched on all the same
    around, answer = await asyncio.gather(frame(api), ask("/v1/tools/reach", resource=resource, agent=agent))
    reached = items(answer)
    server = resource.partition("/")[0]
    facts = {
        "resource": resource,
        "agent": agent,
        "to": to,
        "agents": sorted({str(one["agent"]) for one in reached}),
        "elsewhere": sorted({f"{one['agent']} ({one['resource']})" for one in reached if one["server"] != server}),
        "calls": None if any(one["recent"] is None for one in reached) else sum(one["recent"] for one in reached),
    }
    return render(request, "_switch.html" if is_fragment(request) else "switch.html", frame=around, **facts)


@router.post("/tools/switch")
async def set_switch(request: Request) -> Response:
    """Switches a tool off or on, for one agent or for all."""
    fields = await form(request)
    verb = _verb(fields.get("to", ""))
    await api_of(request).post(f"/v1/tools/{verb}", _what(fields))
    return go(request, "/tools?" + urlencode({"done": verb}))


@router.post("/tools/decision")
async def decide(request: Request) -> Response:
    """Accepts or rejects exactly the definition that was shown."""
    fields = await form(request)
    decision = fields.get("decision", "")
    if decision not in ("accept", "reject"):
        raise Refused("no_decision", "Say accept or reject.", status=422)
    body = _what(fields) | {"fingerprint": fields.get("fingerprint", ""), "decision": decision}
    await api_of(request).post("/v1/tools/decision", body)
    return go(request, "/tools?" + urlencode({"done": decision}))


def _what(fields: Mapping[str, str]) -> dict[str, str]:
    reason = fields.get("reason", "").strip()
    if not reason:
        raise Refused("reason_required", "This needs a reason; it is kept in the audit.", fix="Say why.", status=422)
    return {"resource": fields.get("resource", ""), "agent": fields.get("agent", ""), "reason": reason}


def _verb(to: str) -> str:
    if to not in _VERBS:
        raise Refused("no_decision", "Say off or on.", status=422)
    return _VERBS[to]
