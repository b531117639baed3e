"""The keys that sign agents' tokens: which one does, which is next, and a rotation that says first what it will do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, form, frame, go, is_fragment, render
from tenure.ui.model import moment

router = APIRouter(route_class=PageRoute, include_in_schema=False)

WIDTH = 1000
_AHEAD = timedelta(hours=12)
"""So far into the future the drawing goes at least."""


def timeline(keys: Sequence[Mapping[str, Any]], rotates_at: datetime | None, now: datetime) -> list[JsonObject]:
    """The bar of each key, in parts of ``WIDTH``: ``x`` and ``width`` of the time in which it was ``published`` and
    signed nothing, ``signs``, and is ``believed`` yet; and where ``now`` is. One scale for all of them."""
    ends = [now + _AHEAD, *(time for key in keys if (time := moment(key["retires_at"]))), rotates_at or now]
    first = min([now, *(time for key in keys if (time := moment(key["created_at"])))])
    whole = (max(ends) - first).total_seconds()

    def at(time: datetime) -> float:
        return round((time - first).total_seconds() / whole * WIDTH, 1)

    def part(name: str, begin: datetime, end: datetime) -> JsonObject:
        return {"name": name, "x": at(begin), "width": max(at(end) - at(begin), 0.0)}

    out: list[JsonObject] = []
    for key in keys:
        made, signs = moment(key["created_at"]) or first, moment(key["signs_at"])
        until, retires = moment(key["signs_until"]), moment(key["retires_at"])
        turn = signs or rotates_at or max(ends)
        parts = [part("published", made, turn)]
        if signs is not None:
            parts.append(part("signs", signs, until or rotates_at or max(ends)))
        if until is not None and retires is not None:
            parts.append(part("believed", until, retires))
        out.append({**key, "parts": parts, "now": at(now)})
    return out


@router.get("/signing")
async def keys(request: Request, done: str = "", force: str = "") -> Response:
    """Every key that is believed, and the times of each as a drawing."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/keys"))
    facts = found if isinstance(found, Mapping) else {}
    rotates_at = moment(facts["rotates_at"])
    drawn = timeline(facts["keys"], rotates_at, datetime.now(UTC))
    return render(request, "signing.html", frame=around, keys=drawn, rotates_at=rotates_at, done=done, force=force)


@router.get("/signing/rotate")
async def ask(request: Request) -> Response:
    """Says what a rotation will do."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/keys"))
    effects = found["rotation"] if isinstance(found, Mapping) else []
    template = "_rotate.html" if is_fragment(request) else "rotate.html"
    return render(request, template, frame=around, effects=effects)


@router.post("/signing/rotate")
async def rotate(request: Request) -> Response:
    """Has the next key sign."""
    await form(request)
    await api_of(request).post("/v1/keys/rotate")
    return go(request, "/signing?done=rotated")
