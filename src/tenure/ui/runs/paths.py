"""The ways that runs go, drawn and listed. The API does it all; filters stay in the address."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.ui.gate import PageRoute, api_of, frame, render
from tenure.ui.model import agents_of, items
from tenure.ui.runs.trail import drawn

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HOURS = ((24, "a day"), (168, "a week"), (720, "30 days"), (8760, "a year"))
LIMITS = (100, 200, 500, 1000)
PATHS = 100
RUNS = 100


@router.get("/paths")
async def paths(  # noqa: PLR0917 (one filter each)
    request: Request,
    agent: str = "",
    hours: int = 168,
    limit: int = 200,
    edge_from: str = "",
    edge_to: str = "",
    way: str = "",
    node: str = "",
) -> Response:
    """Which ways runs go, and the runs behind the way that is chosen."""
    api = api_of(request)
    wanted: dict[str, Any] = {"agent": agent or None, "hours": hours, "limit": limit}
    chosen = {"edge_from": edge_from, "edge_to": edge_to, "way": way, "node": node}
    given = {name: value for name, value in chosen.items() if value}
    around, found, agents, runs = await asyncio.gather(
        frame(api),
        api.get("/v1/paths", **wanted),
        api.maybe("/v1/agents"),
        api.get("/v1/paths/runs", **wanted, **given) if given else asyncio.sleep(0, None),
    )
    query = {"agent": agent, "hours": hours, "limit": limit}
    facts: dict[str, Any] = {"found": found, "picture": drawn(found, query), "query": query, "chosen": chosen}
    facts |= {
        "names": agents_of(agents, agent),
        "limits": LIMITS,
        "hours": HOURS,
    }
    behind = items(runs)
    facts |= {"runs": behind[:RUNS], "many": len(behind), "paths": found["paths"][:PATHS]}
    return render(request, "paths.html", frame=around, **facts)
