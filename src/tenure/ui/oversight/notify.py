"""Notifications: who is told of what, what became of it; and the page that a link in a message opens."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_LOG_ROWS = 50
_MARK = "topic-"


def _at(name: str) -> str:
    return f"/v1/notify/destinations/{quote(name, safe='')}"


@router.get("/notify")
async def destinations(request: Request, done: str = "", problem: str = "") -> Response:
    """Who is told of what, how each destination fares, and the last messages."""
    api = api_of(request)
    around, found, log, topics, secrets = await asyncio.gather(
        frame(api),
        api.get("/v1/notify/destinations"),
        api.get("/v1/notify/deliveries", limit=_LOG_ROWS),
        api.get("/v1/notify/topics"),
        api.maybe("/v1/secrets"),
    )
    facts: dict[str, Any] = {"destinations": items(found), "log": items(log), "topics": items(topics)}
    facts |= {"secrets": [one["name"] for one in items(secrets)], "done": done, "problem": problem[:300]}
    return render(request, "notify.html", frame=around, **facts)


@router.post("/notify")
async def add(request: Request) -> Response:
    """Tells somebody of something from now on."""
    fields = await form(request)
    body = {
        "kind": fields.get("kind", ""),
        "url": fields.get("url", "").strip(),
        "secret": fields.get("secret", "").strip(),
        "to": fields.get("to", "").replace(",", " ").split(),
        "sender": fields.get("sender", "").strip(),
        "person": fields.get("person", "").strip(),
        "answers": bool(fields.get("answers")),
        "bundle_s": int(given) if (given := fields.get("bundle_s", "").strip()).isdecimal() else 60,
        "topics": [name.removeprefix(_MARK) for name in fields if name.startswith(_MARK)],
        "agents": fields.get("agents", "").replace(",", " ").split(),
    }
    await api_of(request).put(_at(fields.get("name", "").strip()), body)
    return go(request, "/notify?done=added")


@router.post("/notify/{name}/test")
async def try_out(request: Request, name: str) -> Response:
    """Sends a test, and says what became of it."""
    await form(request)
    answer, _ = await api_of(request).post(f"{_at(name)}/test")
    found = items(answer)
    failed = [one for one in found if one["state"] != "sent"]
    if failed:
        return go(request, "/notify?" + urlencode({"done": "failed", "problem": f"{name}: {failed[0]['problem']}"}))
    return go(request, f"/notify?done={'arrived' if found else 'nobody'}")


@router.post("/notify/{name}/remove")
async def remove(request: Request, name: str) -> Response:
    """Tells a destination nothing any more."""
    await form(request)
    await api_of(request).delete(_at(name))
    return go(request, "/notify?done=removed")


@router.post("/notify/deliveries/{ident}")
async def replay(request: Request, ident: str) -> Response:
    """Sends a message again."""
    await form(request)
    await api_of(request).post(f"/v1/notify/deliveries/{quote(ident, safe='')}/replay")
    return go(request, "/notify?done=again")


@router.get("/answer")
async def look(request: Request, link: str = "") -> Response:
    """What a link in a message is about. Opening it decides nothing: mail scanners open links too."""
    shown, _ = await api_of(request).post("/v1/answers/look", {"link": link[:200]})
    return render(request, "answer.html", frame=None, link=link, call=shown, done="")


@router.post("/answer")
async def answer(request: Request) -> Response:
    """Decides, as the person whose link it is."""
    fields = await form(request)
    decision = fields.get("decision", "")
    if decision not in ("approve", "reject"):
        raise Refused("no_decision", "Say approve or reject.", status=422)
    body = {"link": fields.get("link", "")[:200], "decision": decision, "reason": fields.get("reason", "").strip()}
    shown, _ = await api_of(request).post("/v1/answers", body)
    return render(request, "answer.html", frame=None, link="", call=shown, done=decision)
