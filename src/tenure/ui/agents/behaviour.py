"""What is usual of an agent, where it departs from that, and what can be seen of it; the same of one trace."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, frame, is_fragment, render

router = APIRouter(route_class=PageRoute, include_in_schema=False)

SPANS = ((1, "1 hour"), (24, "24 hours"), (24 * 7, "7 days"), (24 * 30, "30 days"))
"""What may be held against what was before it: hours, and the words for so many."""
MOST = 25


@router.get("/agents/{name}/behaviour")
async def behaviour(
    request: Request, name: str, hours: Annotated[int, Query(ge=1, le=24 * 30)] = 24, release: str = ""
) -> Response:
    """One agent held against what is usual of it, with a picture of its tools before and now."""
    api = api_of(request)
    around, held, signals = await asyncio.gather(
        frame(api),
        api.get(f"/v1/agents/{name}/behaviour", hours=hours, release=release or None),
        api.get(f"/v1/agents/{name}/signals"),
    )
    facts: dict[str, Any] = {"held": held, "signals": signals, "hours": hours, "spans": SPANS, "most": MOST}
    facts |= {"sure": [one for one in held["deviations"] if one["sure"]], "peak": _peak(held)}
    facts |= {"told": [one for one in held["deviations"] if not one["sure"]]}
    return render(request, "behaviour.html", frame=around, **facts)


def _peak(held: JsonObject) -> float:
    """The largest share of all that are drawn, which fills its bar."""
    drawn = [*held["tools"][:MOST], *held["hours"]]
    return max((share for one in drawn for share in (one["expected"], one["seen"])), default=0.0) or 1.0


@router.get("/traces/{trace_id}/deviations")
async def of_trace(request: Request, trace_id: str) -> Response:
    """What the calls of a trace do that their agents never did before it: a part of the trace's page, or a page."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get(f"/v1/traces/{trace_id}/deviations"))
    template = "_deviations.html" if is_fragment(request) else "deviations.html"
    return render(request, template, frame=around, trace_id=trace_id, found=found)
