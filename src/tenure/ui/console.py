"""The whole console: its rooms' pages, what stands around every page, and what no page has. ``create_router`` is it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from tenure.kernel.errors import Refused
from tenure.kernel.values import LifecycleState
from tenure.ui import assets
from tenure.ui.agents import actions, behaviour, discovery, externals, fleet, graph, owners, search
from tenure.ui.gate import (
    PROGRAMS,
    PageRoute,
    api_of,
    frame,
    is_fragment,
    render,
    told_calls,
    waiting_calls,
    waiting_tools,
)
from tenure.ui.identity import account, consent, credentials, people, revocations, services, signing
from tenure.ui.model import items
from tenure.ui.oversight import (
    approvals,
    autonomy,
    breakers,
    corrections,
    drafts,
    limits,
    notify,
    policies,
    precedents,
    tools,
)
from tenure.ui.runs import alerts, exports, forks, live, paths, record, retention, traces

AGENTS = (fleet, behaviour, actions, owners, externals, discovery, graph, search)
OVERSIGHT = (approvals, drafts, corrections, precedents, autonomy, breakers, policies, limits, tools, notify)
RUNS = (live, traces, forks, paths, alerts, record, retention, exports)
IDENTITY = (account, people, consent, services, credentials, revocations, signing)

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/waiting")
async def waiting(request: Request) -> Response:
    """The number at Approvals in the navigation, which renews itself."""
    return render(request, "_waiting.html", waiting=await waiting_calls(api_of(request)))


@router.get("/waiting/tools")
async def tools_waiting(request: Request) -> Response:
    """The number at Tools in the navigation, which renews itself."""
    return render(request, "_waiting.html", waiting=await waiting_tools(api_of(request)))


@router.get("/attention")
async def attention(request: Request) -> Response:
    """What wants attention first, in a line that renews itself."""
    api = api_of(request)
    held, definitions, agents, stopped, kept, told, answering_for, alarms = await asyncio.gather(
        waiting_calls(api),
        waiting_tools(api),
        api.get("/v1/agents"),
        api.maybe("/v1/breakers"),
        api.maybe("/v1/recording"),
        told_calls(api),
        owners.wanted(api),
        api.maybe("/v1/alerts", state="open", limit=1),
    )
    tripped = sum(bool(one.get("tripped")) for one in items(stopped, "breakers"))
    requested = sum(one.get("state") == LifecycleState.REQUESTED for one in items(agents, "agents"))
    facts = {"waiting": held, "waiting_tools": definitions, "tripped": tripped, "requested": requested}
    facts |= {"record": kept or {}, "told": told, "alerts": (alarms or {}).get("open", 0)}
    return render(request, "_attention.html", **facts, **answering_for)


@router.get("/keys")
async def keys(request: Request) -> Response:
    """The keys of the keyboard, for those whose browser runs no scripts."""
    template = "_keys.html" if is_fragment(request) else "keys.html"
    return render(request, template, frame=await frame(api_of(request)))


class _Elsewhere(PageRoute):
    """Any address that no other route has, except those that programs ask."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = str(scope.get("path", ""))
        if scope["type"] == "http" and path.startswith(PROGRAMS):
            return Match.NONE, {}
        return super().matches(scope)


async def nowhere(request: Request) -> Response:
    """Says so, on a page."""
    raise Refused("no_such_page", f"There is no page {request.url.path}.", fix="Start from the fleet.", status=404)


def create_router() -> APIRouter:
    """The whole console, as one router without a prefix. Include it last: it answers every address that is left."""
    console = APIRouter(include_in_schema=False)
    console.include_router(assets.create_router())
    console.include_router(router)
    for room in (*AGENTS, *OVERSIGHT, *RUNS, *IDENTITY):
        console.include_router(room.router)
    rest = APIRouter(route_class=_Elsewhere, include_in_schema=False)
    rest.add_api_route("/{path:path}", nowhere, methods=["GET"])
    console.include_router(rest)
    return console
