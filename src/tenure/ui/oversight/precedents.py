"""Rules made from approvals: drawn up on one page, looked at and published on another. The API does it all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

MAX_FIELDS = 200
REPLAYED_DAYS = 7


@router.get("/precedents")
async def precedents(request: Request, done: str = "") -> Response:
    """Every precedent: those that wait for somebody to publish them first."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get("/v1/precedents"))
    found = sorted(items(answer), key=lambda one: one["state"] != "proposed")
    return render(request, "precedents.html", frame=around, precedents=found, done=done)


@router.get("/precedents/new")
async def new(request: Request, approval: str = "") -> Response:
    """Asks what of the approved call may differ, and for how long."""
    if not approval:
        raise Refused("no_approval", "A rule is made of an approval.", fix="Choose one on Approvals.", status=404)
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get(f"/v1/approvals/{quote(approval, safe='')}"))
    given = _leaves(found.get("arguments") or {})
    return render(request, "precedent_new.html", frame=around, approval=found, given=given)


def _leaves(value: Json, path: str = "") -> list[tuple[str, Any, bool]]:
    """(path, JSON text, whether it is a number) of every argument that a policy can look at."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    elif value is not None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return [(path, json.dumps(value, ensure_ascii=False), number)]
    found = []
    for key, item in pairs:
        name = str(key).replace("\\", "\\\\").replace(".", "\\.")
        found += _leaves(item, f"{path}.{name}" if path else name)
    return found


@router.post("/precedents/new")
async def propose(request: Request) -> Response:
    """Draws it up and keeps it as proposed."""
    fields = await form(request, MAX_FIELDS)
    up_to: dict[str, str] = {}
    free: list[str] = []
    for name, path in fields.items():
        number = name.removeprefix("path-")
        if number == name:
            continue
        how = fields.get(f"how-{number}", "same")
        if how == "up_to":
            up_to[path] = fields.get(f"most-{number}", "").strip()
        elif how == "free":
            free.append(path)
    body = {
        "approval": fields.get("approval", ""),
        "up_to": up_to,
        "free": free,
        "days": _days(fields.get("days", "")),
        "reason": fields.get("reason", "").strip(),
    }
    drawn, _ = await api_of(request).post("/v1/precedents", body)
    ident = drawn["precedent"]["id"] if isinstance(drawn, Mapping) else ""
    return go(request, f"/precedents/{ident}?" + urlencode({"done": "proposed"}))


def _days(text: str) -> int:
    if not text.isdecimal() or len(text) > 3:
        raise Refused("bad_terms", "Days are a whole number.", status=422)
    return int(text)


@router.get("/precedents/{ident}")
async def precedent(request: Request, ident: str, done: str = "") -> Response:
    """One precedent: the policy that is added, and which recorded calls would have come out otherwise."""
    api = api_of(request)
    around, drawn = await asyncio.gather(frame(api), api.get(f"/v1/precedents/{quote(ident, safe='')}"))
    one, replayed = drawn["precedent"], None
    if one["state"] == "proposed" and not drawn["faults"]:
        body = {"files": drawn["files"], "days": REPLAYED_DAYS, "agent": one["agent"]}
        replayed, _ = await api.post("/v1/policies/replay", body)
    tests = json.loads(one["tests"])["tests"]
    facts = {"one": one, "faults": drawn["faults"], "tests": tests, "replayed": replayed, "days": REPLAYED_DAYS}
    return render(request, "precedent.html", frame=around, done=done, **facts)


@router.post("/precedents/{ident}")
async def decide(request: Request, ident: str) -> Response:
    """Publishes it, or takes it back."""
    fields = await form(request)
    verb = {"approve": "publish", "reject": "revoke"}.get(fields.get("decision", ""))
    if verb is None:
        raise Refused("no_decision", "Say publish or revoke.", status=422)
    body = {"reason": fields.get("reason", "").strip()}
    await api_of(request).post(f"/v1/precedents/{quote(ident, safe='')}/{verb}", body)
    return go(request, f"/precedents/{quote(ident, safe='')}?" + urlencode({"done": verb}))
