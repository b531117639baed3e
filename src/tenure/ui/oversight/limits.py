"""Limits and budgets: what was used of each account, what gateways may still use, and setting one. The API does it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

MARKS = (80, 100)
"""Percent of a limit that are told when they are reached."""
_ROOM = 110.0
"""A bar has room for so many percent, so that the mark of the whole and what went beyond it are seen."""


def bar_of(amount: str, account: Mapping[str, Any]) -> JsonObject:
    """The bar of an account, in hundredths of its width: what is ``spent``, what is ``held`` by gateways beyond that,
    and where the ``marks`` stand."""
    whole = float(Decimal(amount)) or 1.0
    spent = min(float(Decimal(str(account["spent"]))) / whole * 100, _ROOM)
    held = min(float(Decimal(str(account["held"]))) / whole * 100, _ROOM - spent)
    scale = 100 / _ROOM
    percent = int(account["percent"])
    state = "full" if percent >= MARKS[1] else "near" if percent >= MARKS[0] else "room"
    marks = [round(mark * scale, 2) for mark in MARKS]
    return {"spent": round(spent * scale, 2), "held": round(held * scale, 2), "marks": marks, "state": state}


@router.get("/limits")
async def limits(request: Request, done: str = "") -> Response:
    """Every limit with its accounts, the fullest first."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/limits"))
    shown = [
        {**one, "bars": [(account, bar_of(one["amount"], account)) for account in one["accounts"]]}
        for one in items(found)
    ]
    shown.sort(key=lambda one: -max((account["percent"] for account in one["accounts"]), default=-1))
    full = sum(account["percent"] >= MARKS[1] for one in shown for account in one["accounts"])
    return render(request, "limits.html", frame=around, limits=shown, full=full, done=done)


@router.post("/limits")
async def set_limit(request: Request) -> Response:
    """Sets a limit of the workspace."""
    fields = await form(request)
    body = {
        "of": fields.get("of", ""),
        "amount": fields.get("amount", "").strip(),
        "per": fields.get("per", ""),
        "each": fields.get("each", ""),
        "only": fields.get("only", "").strip(),
        "sliding": bool(fields.get("sliding")),
        "reason": fields.get("reason", "").strip(),
    }
    await api_of(request).put(f"/v1/limits/{quote(fields.get('name', '').strip(), safe='')}", body)
    return go(request, "/limits?done=set")


@router.post("/limits/{name}/remove")
async def remove(request: Request, name: str) -> Response:
    """Takes a limit of the workspace back."""
    fields = await form(request)
    await api_of(request).delete(f"/v1/limits/{quote(name, safe='')}", reason=fields.get("reason", "").strip())
    return go(request, "/limits?done=removed")
