"""Calls that agents prepared and did not make, those of a task together. The API does it all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items
from tenure.ui.oversight.fields import changed_arguments

router = APIRouter(route_class=PageRoute, include_in_schema=False)

DECIDED = 50
CHOICES = ("execute", "discard", "elsewhere")


@router.get("/drafts")
async def drafts(request: Request, done: str = "") -> Response:
    """Prepared calls: those that wait, by task or session, and what became of others."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/drafts"))
    every = items(found)
    waiting = sorted((one for one in every if one["state"] == "open"), key=lambda one: one["drafted_at"])
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in waiting:
        groups.setdefault((one["agent"], one["work"]), []).append(one)
    others = [one for one in every if one["state"] != "open"][:DECIDED]
    return render(request, "drafts.html", frame=around, groups=groups, others=others, done=done)


@router.post("/drafts/{ident}")
async def decide(request: Request, ident: str) -> Response:
    """Has it made, throws it away, or says that it was done by other means."""
    fields = await form(request)
    choice = fields.get("decision", "")
    if choice not in CHOICES:
        raise Refused("no_decision", "Say execute, discard or elsewhere.", status=422)
    body: dict[str, Any] = {
        "decision": choice,
        "digest": fields.get("digest", ""),
        "reason": fields.get("reason", "").strip(),
    }
    if choice == "execute" and (changed := changed_arguments(fields)) is not None:
        body["arguments"] = changed
    await api_of(request).post(f"/v1/drafts/{quote(ident, safe='')}/decision", body)
    return go(request, "/drafts?" + urlencode({"done": choice}))
