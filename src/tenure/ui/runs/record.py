"""How well the record is kept, and the chain of the audit."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.ui.gate import PageRoute, api_of, frame, render
from tenure.ui.model import LOSS_WORDS, items

AUDIT_ROWS = 100

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/recording")
async def recording(request: Request) -> Response:
    """How well the record is kept: what the trace store lacks, and what gateways lost."""
    api = api_of(request)
    around, record = await asyncio.gather(frame(api), api.get("/v1/recording"))
    return render(request, "recording.html", frame=around, record=record, reasons=LOSS_WORDS)


@router.get("/audit")
async def audit(request: Request, after: int | None = None, verify: str = "") -> Response:
    """The chain of entries, newest first, and whether it holds."""
    api = api_of(request)
    around, first, checkpoint = await asyncio.gather(
        frame(api), api.get("/v1/audit", limit=1), api.maybe("/v1/audit/checkpoint")
    )
    size = int(first.get("size") or 0)
    start = max(0, size - AUDIT_ROWS) if after is None else max(0, after)
    page = await api.get("/v1/audit", after=start, limit=AUDIT_ROWS)
    verdict = await api.get("/v1/audit/verify") if verify else None
    return render(
        request,
        "audit.html",
        frame=around,
        entries=items(page, "entries")[::-1],
        older=max(0, start - AUDIT_ROWS) if start else None,
        newer=start + AUDIT_ROWS if start + AUDIT_ROWS < size else None,
        checkpoint=checkpoint,
        verdict=verdict,
    )
