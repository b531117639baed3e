"""Alerts, the rules that raise them, and a period on one page. The API does it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.ui.gate import PageRoute, api_of, form, frame, go, is_fragment, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_TRY_DAYS = 7
_NAMED = ("name", "measure", "way", "bound", "over", "against", "at_least", "agents", "severity", "about")


@router.get("/alerts")
async def show(request: Request, state: str = "", agent: str = "", done: str = "") -> Response:
    """What rules found: those alerts that go on first."""
    api = api_of(request)
    wanted = state if state in ("open", "over") else ""
    around, found = await asyncio.gather(
        frame(api), api.get("/v1/alerts", state=wanted or None, agent=agent.strip() or None)
    )
    facts = {"alerts": items(found, "alerts"), "open": found["open"], "state": wanted, "agent": agent, "done": done}
    return render(request, "_alerts.html" if is_fragment(request) else "alerts.html", frame=around, **facts)


@router.get("/alerts/rules")
async def rules(request: Request, done: str = "") -> Response:
    """Every rule, and setting one."""
    return await _rules(request, done=done)


async def _rules(request: Request, **facts: Any) -> Response:
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/alerts/rules"))
    facts = {"tried": None, "done": "", **facts}
    facts["written"] = dict.fromkeys(_NAMED, "") | facts.get("written", {})
    return render(request, "alert_rules.html", frame=around, rules=found["rules"], **facts)


@router.post("/alerts/rules")
async def put(request: Request) -> Response:
    """Sets a rule, or tries it over the last days without setting it."""
    fields = await form(request)
    name = fields.get("name", "").strip()
    body = {key: fields.get(key, "").strip() for key in ("measure", "way", "over", "against", "severity", "about")}
    numbers: dict[str, Any] = {key: fields.get(key, "").strip() for key in ("bound", "at_least")}
    wanted = {key: value for key, value in (body | numbers).items() if value}
    wanted["agents"] = fields.get("agents", "").replace(",", " ").split()
    path = f"/v1/alerts/rules/{quote(name, safe='')}"
    api = api_of(request)
    if fields.get("do") == "try":
        tried, _ = await api.post(f"{path}/try?days={_TRY_DAYS}", wanted)
        return await _rules(request, written=wanted | {"name": name}, tried=tried)
    await api.put(path, wanted)
    return go(request, "/alerts/rules?done=put")


@router.post("/alerts/rules/{name}/off")
async def off(request: Request, name: str) -> Response:
    """Turns a rule off."""
    await form(request)
    await api_of(request).post(f"/v1/alerts/rules/{quote(name, safe='')}/off")
    return go(request, "/alerts/rules?done=off")


@router.post("/alerts/rules/{name}/remove")
async def remove(request: Request, name: str) -> Response:
    """Removes a rule of one's own; a standard one of its name holds again."""
    await form(request)
    await api_of(request).delete(f"/v1/alerts/rules/{quote(name, safe='')}")
    return go(request, "/alerts/rules?done=removed")


@router.get("/alerts/{alert_id}")
async def one(request: Request, alert_id: str, done: str = "") -> Response:
    """One alert: what it is about, where it comes from, what was changed, and what to do."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get(f"/v1/alerts/{quote(alert_id, safe='')}"))
    return render(request, "alert.html", frame=around, alert=found, done=done)


@router.post("/alerts/{alert_id}/see")
async def see(request: Request, alert_id: str) -> Response:
    """Says that one looks after it."""
    fields = await form(request)
    body = {"note": fields.get("note", ""), "quiet": fields.get("quiet", "")}
    await api_of(request).post(f"/v1/alerts/{quote(alert_id, safe='')}/see", body)
    return go(request, f"/alerts/{quote(alert_id, safe='')}?done=seen")


@router.get("/report")
async def report(request: Request, days: int = 7) -> Response:
    """A period on one page, to print."""
    api = api_of(request)
    days = min(max(days, 1), 90)
    around, found = await asyncio.gather(frame(api), api.get("/v1/report", days=days))
    return render(request, "report.html", frame=around, report=found, days=days)
