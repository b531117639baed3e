"""What is kept: for how long, about whom, and erasing it. The API does it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/retention")
async def show(request: Request, like: str = "", erase: str = "", done: str = "") -> Response:
    """The periods, whom content is kept about (for those who may know), and what was erased; ``erase``: who is asked
    about before it is done."""
    api = api_of(request)
    around, periods, erasures = await asyncio.gather(frame(api), api.get("/v1/retention"), api.get("/v1/erasures"))
    subjects = items(await api.get("/v1/subjects", like=like)) if around.may("content:erase") else []
    facts = {
        "periods": periods,
        "erasures": items(erasures),
        "subjects": subjects,
        "like": like,
        "erase": erase,
        "done": done,
    }
    return render(request, "retention.html", frame=around, **facts)


@router.post("/retention/erase")
async def erase_for_good(request: Request) -> Response:
    """Erases what is kept about somebody."""
    fields = await form(request)
    body = {"subject": fields.get("subject", "").strip(), "reason": fields.get("reason", "").strip()}
    await api_of(request).post("/v1/erasures", body)
    return go(request, "/retention?done=asked")
