"""Breakers: what is stopped and why, the button that stops, and letting go on. The API does it all."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, form, frame, go, is_fragment, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_VERBS = {"stop": "stop", "start": "reset"}


def words_of(scope: str, name: str) -> str:
    """What a breaker stops, as people say it."""
    if scope == "workspace":
        return "the whole workspace"
    return f"all work that {name} began" if scope == "chain" else f"{scope} {name}"


@router.get("/breakers")
async def breakers(request: Request, done: str = "") -> Response:
    """Every breaker: what is stopped first, and why; what trips each."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get("/v1/breakers"))
    found = items(answer)
    stopped = sum(one["state"] != "closed" for one in found)
    return render(request, "breakers.html", frame=around, breakers=found, stopped=stopped, done=done, words=words_of)


@router.get("/breakers/change")
async def change(request: Request, scope: str = "", name: str = "", to: str = "stop") -> Response:
    """Says what stopping something, or letting it go on, will do, and asks for the reason."""
    api, verb = api_of(request), _verb(to)
    facts: dict[str, JsonObject] = {"reach": {}, "breaker": {}}
    if verb == "stop":
        around, facts["reach"] = await asyncio.gather(frame(api), api.get("/v1/breakers/reach", scope=scope, name=name))
    else:
        around, answer = await asyncio.gather(frame(api), api.get("/v1/breakers"))
        found = [one for one in items(answer) if (one["scope"], one["name"]) == (scope, name)]
        facts["breaker"] = found[0] if found else {}
    template = "_breaker.html" if is_fragment(request) else "breaker.html"
    return render(request, template, frame=around, scope=scope, name=name, to=to, whom=words_of(scope, name), **facts)


@router.post("/breakers/change")
async def set_change(request: Request) -> Response:
    """Stops, or lets go on."""
    fields = await form(request)
    to, scope, name = fields.get("to", ""), fields.get("scope", ""), fields.get("name", "")
    body: dict[str, Any] = {"scope": scope, "name": name, "reason": fields.get("reason", "").strip()}
    if to == "start" and fields.get("trials", ""):
        body["trials"] = _number(fields["trials"])
    await api_of(request).post(f"/v1/breakers/{_verb(to)}", body)
    if scope == "agent":
        return go(request, f"/agents/{quote(name, safe='')}?{urlencode({'done': to})}")
    return go(request, "/breakers?" + urlencode({"done": to}))


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 3:
        raise Refused("bad_trials", "Trial calls are a whole number.", status=422)
    return int(text)


def _verb(to: str) -> str:
    if to not in _VERBS:
        raise Refused("no_decision", "Say stop or start.", status=422)
    return _VERBS[to]
