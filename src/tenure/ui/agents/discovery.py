"""Agents that nobody registered: what was found, why it is taken for one, and each step. The API does it all."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_STEPS = ("claim", "register", "block", "ignore", "reopen")
_STATES = ("open", "claimed", "registered", "blocked", "ignored")
_FIELDS = ("purpose", "instructions", "sponsor", "framework")


def _at(ident: str) -> str:
    return f"/v1/discovery/findings/{quote(ident, safe='')}"


@router.get("/discovery")
async def findings(request: Request, state: str = "open", done: str = "") -> Response:
    """What was found, the surest first; what waits for somebody unless another state is asked for."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get("/v1/discovery/findings"))
    every = items(answer, "findings")
    counts = {name: sum(one["state"] == name for one in every) for name in _STATES}
    facts: dict[str, Any] = {"found": [one for one in every if one["state"] == state], "every": len(every)}
    return render(request, "discovery.html", frame=around, counts=counts, state=state, done=done, **facts)


@router.get("/discovery/{ident}")
async def finding(request: Request, ident: str) -> Response:
    """One finding: its evidence, and each step that the person may take."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get(_at(ident)))
    return render(request, "finding.html", frame=around, found=found)


@router.post("/discovery/{ident}/{step}")
async def decide(request: Request, ident: str, step: str) -> Response:
    """Takes a step."""
    fields = await form(request)
    if step not in _STEPS:
        raise Refused("no_decision", f"Say one of {', '.join(_STEPS)}.", status=422)
    body: JsonObject = {"note": fields.get("note", "").strip()}
    if step == "register":
        given = {name: fields[name].strip() for name in _FIELDS if fields.get(name, "").strip()}
        body = {"name": fields.get("name", "").strip(), "fields": given}
    done, _ = await api_of(request).post(f"{_at(ident)}/{step}", body)
    if step == "register":
        return go(request, f"/agents/{quote(done['agent'], safe='')}")
    return go(request, f"/discovery/{quote(ident, safe='')}" if step == "block" else f"/discovery?done={step}")
