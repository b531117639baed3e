"""One question over agents, tools and policies. The API does it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.ui.gate import PageRoute, api_of, frame, render

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_LONGEST = 500


@router.get("/search")
async def search(request: Request, q: str = "", kind: str = "") -> Response:
    """What is about ``q``; without one, what can be asked."""
    api, asked = api_of(request), q.strip()[:_LONGEST]
    wanted = kind if kind in ("agent", "tool", "policy") else ""
    if asked:
        around, found = await asyncio.gather(frame(api), api.get("/v1/search", q=asked, what=wanted or None, limit=50))
    else:
        around, found = await frame(api), None
    return render(request, "everywhere.html", frame=around, found=found, q=asked, kind=wanted)
