"""Where people decided otherwise than agents, and the form to say so. The API does it all."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

KINDS = ("corrected", "rejected", "executed", "edited", "discarded", "elsewhere", "forced", "level")


@router.get("/corrections")
async def corrections(request: Request, kind: str = "", agent: str = "", done: str = "") -> Response:
    """Every override and correction, newest first, of one kind or agent."""
    api = api_of(request)
    wanted = {name: value for name, value in (("what", kind), ("agent", agent)) if value}
    query = f"?{urlencode(wanted)}" if wanted else ""
    around, found = await asyncio.gather(frame(api), api.get(f"/v1/corrections{query}"))
    facts: dict[str, Any] = {"found": items(found), "kinds": KINDS, "kind": kind, "agent": agent, "done": done}
    return render(request, "corrections.html", frame=around, **facts)


@router.post("/corrections")
async def correct(request: Request) -> Response:
    """Says that a call was wrong; what is right may be JSON, or else is taken as a text."""
    fields = await form(request)
    said = fields.get("right", "").strip()
    try:
        right = json.loads(said) if said else None
    except ValueError:
        right = said
    if not fields.get("call", "").strip():
        raise Refused("no_call", "Which call was wrong?", fix="Its id stands in its trace.", status=422)
    body = {"call": fields["call"].strip(), "reason": fields.get("reason", "").strip(), "right": right}
    await api_of(request).post("/v1/corrections", body)
    return go(request, "/corrections?done=kept")
