"""What depends on what, drawn, and what is hit when one of it goes. The API does it all."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.ui.agents.picture import drawn, filtered
from tenure.ui.gate import PageRoute, api_of, frame, render

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_TABLE_ROWS = 300


@router.get("/graph")
async def graph(request: Request, q: str = "", focus: str = "") -> Response:
    """The graph of the workspace, or what is around one node."""
    api = api_of(request)
    around, found, blast = await asyncio.gather(
        frame(api),
        api.get("/v1/graph", focus=focus or None),
        api.get("/v1/graph/blast", node=focus) if focus else asyncio.sleep(0, None),
    )
    part = filtered(found, q)
    facts: dict[str, Any] = {
        "picture": drawn(part, focus),
        "edges": part["edges"][:_TABLE_ROWS],
        "q": q,
        "focus": focus,
    }
    facts |= {"total": len(found["nodes"]), "shown": len(part["nodes"]), "blast": blast}
    facts["more"] = len(part["edges"]) + found["cut"] - len(facts["edges"])
    return render(request, "graph.html", frame=around, **facts)
