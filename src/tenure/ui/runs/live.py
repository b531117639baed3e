"""What happens now, and the sessions that there were."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.values import Status
from tenure.ui.gate import PageRoute, api_of, frame, render
from tenure.ui.model import agents_of, items
from tenure.ui.words import newest_first

FEED_ROWS = 60

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/live")
async def live(request: Request, agent: str = "", status: str = "") -> Response:
    """What happens now, newest first."""
    api = api_of(request)
    wanted = status if status in set(Status) else ""
    around, feed, agents = await asyncio.gather(
        frame(api),
        api.get("/v1/feed/recent", agent=agent or None, status=wanted or None, limit=FEED_ROWS),
        api.maybe("/v1/agents"),
    )
    names = agents_of(agents, agent)
    rows = newest_first(items(feed, "items"))
    facts: dict[str, Any] = {"rows": rows, "agent": agent, "status": wanted, "names": names}
    facts["blanks"] = newest_first({"status": one, "agent": "a", "trace_id": "t", "title": "t"} for one in Status)
    return render(request, "live.html", frame=around, **facts)


@router.get("/sessions")
async def sessions(request: Request, agent: str = "", source: str = "") -> Response:
    """Sessions with how they ended."""
    api = api_of(request)
    around, found, agents = await asyncio.gather(
        frame(api), api.get("/v1/sessions", agent=agent or None, source=source or None), api.maybe("/v1/agents")
    )
    names = agents_of(agents, agent)
    facts: dict[str, Any] = {
        "sessions": items(found, "sessions", "items")[:200],
        "agent": agent,
        "source": source,
        "names": names,
    }
    return render(request, "sessions.html", frame=around, **facts)
