"""Where a program sends a person to be let in, and what the person has allowed; as in ``actions``, the API does it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.identity.model import COOKIE
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, cookie_of, form, frame, go, render, stranger
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)
PATH = "/oauth/authorize"
_SCOPE = "scope:"


@router.get(PATH)
async def authorize(request: Request) -> Response:
    """Asks the person whether a program may act for them. A browser that comes from another site brings no session
    along, so it is sent on once from a page of our own."""
    query = request.url.query
    here = f"{PATH}?{query}"
    if not cookie_of(request, COOKIE) and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return render(request, "passing.html", frame=None, to=here, word="Go on")
    api = api_of(request)
    try:
        me, (asked, _) = await asyncio.gather(api.get("/v1/me"), api.post("/v1/oauth/question", {"request": query}))
    except Refused as error:
        if error.status != 401:
            raise
        return await stranger(request, 401, back=here)
    return render(request, "consent.html", frame=None, me=me, asked=asked, query=query, **_told(asked))


@router.post(PATH)
async def decide(request: Request) -> Response:
    """Takes the person's answer to the program. The page goes on by itself: a form may not lead to another site."""
    fields = await form(request)
    allow = fields.get("decision") == "allow"
    scopes = [name.removeprefix(_SCOPE) for name in fields if name.startswith(_SCOPE)]
    body = {"request": fields.get("request", ""), "allow": allow, "agent": fields.get("agent", ""), "scopes": scopes}
    sent, _ = await api_of(request).post("/v1/oauth/answer", body)
    word = "Back to the program"
    return render(request, "passing.html", frame=None, to=str(sent["location"]), word=word)


@router.get("/account/programs")
async def programs(request: Request, everybody: bool = False, done: str = "") -> Response:
    """What programs may do on the person's behalf, or on everybody's."""
    api = api_of(request)
    around, answer = await asyncio.gather(
        frame(api), api.get("/v1/logins", everybody="true") if everybody else api.get("/v1/logins")
    )
    found = items(answer, "logins")
    return render(request, "programs.html", frame=around, logins=found, everybody=everybody, done=done)


@router.post("/account/logins/{login_id}/end")
async def end(request: Request, login_id: str) -> Response:
    """Ends what a program was allowed."""
    fields = await form(request)
    await api_of(request).delete(f"/v1/logins/{quote(login_id, safe='')}")
    return go(request, "/account/programs?done=ended" + ("&everybody=true" if fields.get("everybody") else ""))


def _told(asked: JsonObject) -> dict[str, Any]:
    """How a program is known and where the browser goes, in words that a person can judge."""
    program: JsonObject = asked["program"]
    document = urlsplit(str(program["id"])).hostname if program["how"] == "document" else ""
    sent = urlsplit(str(asked.get("sent_to") or ""))
    here = sent.scheme == "http"
    elsewhere = sent.netloc if sent.scheme == "https" else f"{sent.scheme}:"
    return {"document": document or "", "back_to": "a program on this computer" if here else elsewhere}
