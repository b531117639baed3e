"""Revocation by a button: what it will do is said first, in the words of the API, which does it all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, form, frame, go, is_fragment, render

router = APIRouter(route_class=PageRoute, include_in_schema=False)

WHAT = {
    "agent": "every credential of agent",
    "release": "what was issued under release",
    "instance": "the credentials of instance",
    "person": "what is shown by or for",
    "key": "every token that was signed by key",
}
"""What the console revokes, as its pages say it. Whole workspaces are for `tenure revoke`."""


@router.get("/revoke")
async def ask(request: Request, kind: str = "", subject: str = "", agent: str = "") -> Response:
    """Says what a revocation will do, and asks for the reason. ``agent``: on whose page it was begun."""
    api, wish = api_of(request), _wish(kind, subject)
    around, (seen, _) = await asyncio.gather(
        frame(api), api.post("/v1/revocations", {**wish, "reason": "", "dry_run": True})
    )
    facts: dict[str, Any] = {"kind": kind, "subject": subject, "agent": agent, "what": WHAT[kind]}
    template = "_revoke.html" if is_fragment(request) else "revoke.html"
    return render(request, template, frame=around, effects=seen["effects"], back=_page(kind, subject, agent), **facts)


@router.post("/revoke")
async def revoke(request: Request) -> Response:
    """Revokes. The page that answers says where it is in force."""
    fields = await form(request)
    kind, subject, agent = (fields.get(name, "") for name in ("kind", "subject", "agent"))
    body = {**_wish(kind, subject), "reason": fields.get("reason", "").strip()}
    done, _ = await api_of(request).post("/v1/revocations", body)
    told = {"done": "revoked", "force": in_force(done["settled"])}
    return go(request, f"{_page(kind, subject, agent)}?{urlencode(told)}")


def in_force(settled: Mapping[str, Any]) -> str:
    """Whether a revocation reached every gateway, as a word for the address of the next page."""
    if not settled["complete"]:
        return "soon"
    return "everywhere" if settled["gateways"] else "none"


def _wish(kind: str, subject: str) -> JsonObject:
    if kind not in WHAT:
        raise Refused("bad_kind", f"A page revokes {', '.join(WHAT)}.", fix="See `tenure revoke --help`.", status=422)
    return {"kind": kind, "subject": subject}


def _page(kind: str, subject: str, agent: str) -> str:
    """The page that it was begun on."""
    if kind == "person":
        return f"/people/{quote(subject, safe='@')}"
    if kind == "key":
        return "/signing"
    name = subject if kind == "agent" else agent
    return f"/agents/{quote(name, safe='')}" if name else "/"
