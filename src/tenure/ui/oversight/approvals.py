"""Held calls: those that wait, alike ones together, and what was decided. The API does it all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.ui.agents.actions import decision_of
from tenure.ui.gate import PageRoute, api_of, form, frame, go, is_fragment, render
from tenure.ui.model import agent_rows, items
from tenure.ui.oversight.fields import changed_arguments

router = APIRouter(route_class=PageRoute, include_in_schema=False)

CHOSEN = "call-"
"""Begins the name of a field that chooses a call of a batch; its value is the digest of the call that was shown."""
MAX_FIELDS = 600
DECIDED = 50
ALIKE = 5
"""How many other calls of the agent to the same resource the page of one shows."""


@router.get("/approvals")
async def approvals(request: Request, done: str = "", answered: int = 0, left: int = 0) -> Response:
    """Held calls: those that wait for a person first. ``answered``, ``left``: what came of an answer to several."""
    api = api_of(request)
    around, batches, decided, agents = await asyncio.gather(
        frame(api), api.get("/v1/approvals/batches"), api.get("/v1/approvals"), api.maybe("/v1/agents")
    )
    facts: dict[str, Any] = {
        "batches": items(batches),
        "decided": [one for one in items(decided) if one.get("state") != "pending"][:DECIDED],
        "agents": {row.name: row for row in agent_rows(items(agents, "agents"), {}, {})},
        "done": done,
        "answered": answered,
        "left": left,
        "frame": around,
    }
    return render(request, "_approvals.html" if is_fragment(request) else "approvals.html", **facts)


@router.get("/approvals/load")
async def load(request: Request) -> Response:
    """Who decides how many held calls, and how fast."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/approvals/load"))
    return render(request, "approvals_load.html", frame=around, load=found)


@router.get("/approvals/stand-ins")
async def stand_ins(request: Request, done: str = "") -> Response:
    """Who answers held calls for whom."""
    api = api_of(request)
    around, found, people = await asyncio.gather(
        frame(api), api.get("/v1/approvals/stand-ins", everything="true"), api.maybe("/v1/people")
    )
    every = items(found)
    facts: dict[str, Any] = {"open": [one for one in every if not _is_over(one)], "done": done}
    facts["over"] = [one for one in every if _is_over(one)][:DECIDED]
    me = str(around.me.get("name", "")).removeprefix("person:")
    facts["people"] = [one["email"] for one in items(people, "people", "items") if one["email"] != me]
    return render(request, "stand_ins.html", frame=around, **facts)


def _is_over(one: Mapping[str, Any]) -> bool:
    return bool(one["ended_at"]) or datetime.fromisoformat(one["ends_at"]) <= datetime.now(UTC)


@router.post("/approvals/stand-ins")
async def hand_over(request: Request) -> Response:
    """Has somebody else answer for the one who asks, to the end of a day (UTC)."""
    fields = await form(request)
    body = {
        "stand_in": fields.get("stand_in", "").strip(),
        "ends_at": f"{fields.get('until', '').strip()[:10]}T23:59:59Z",
        "reason": fields.get("reason", "").strip(),
        "agents": fields.get("agents", "").split(),
        "tools": fields.get("tools", "").split(),
    }
    if since := fields.get("since", "").strip()[:10]:
        body["begins_at"] = f"{since}T00:00:00Z"
    await api_of(request).post("/v1/approvals/stand-ins", body)
    return go(request, "/approvals/stand-ins?done=made")


@router.post("/approvals/stand-ins/{ident}/end")
async def take_back(request: Request, ident: str) -> Response:
    """Ends it before its time."""
    await api_of(request).post(f"/v1/approvals/stand-ins/{quote(ident, safe='')}/end")
    return go(request, "/approvals/stand-ins?done=ended")


@router.get("/approvals/ladders")
async def ladders(request: Request, done: str = "") -> Response:
    """Whom held calls are shown to when nobody answers."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get("/v1/approvals/ladders"))
    return render(request, "ladders.html", frame=around, ladders=items(found), done=done)


@router.post("/approvals/ladders")
async def put_ladder(request: Request) -> Response:
    """Sets a ladder; times are in minutes, one step a line: MINUTES WHO WHO."""
    fields = await form(request)
    body = {
        "steps": [_step(line) for line in fields.get("steps", "").splitlines() if line.strip()],
        "deadline_s": _minutes(fields.get("deadline", "")),
        "reason": fields.get("reason", "").strip(),
        "at_deadline": fields.get("at_deadline", "deny"),
        **{name: fields.get(name, "").split() for name in ("agents", "tools", "policies")},
    }
    await api_of(request).put(f"/v1/approvals/ladders/{quote(fields.get('name', '').strip() or '-', safe='')}", body)
    return go(request, "/approvals/ladders?done=set")


def _step(line: str) -> dict[str, Any]:
    after, *ask = line.replace(",", " ").split()
    return {"after_s": _minutes(after), "ask": ask}


def _minutes(text: str) -> int:
    try:
        return round(float(text) * 60)
    except (ValueError, OverflowError):
        raise Refused(
            "bad_time", f"{text[:30]!r} is no number of minutes.", fix="As in 5 or 0.5.", status=422
        ) from None


@router.post("/approvals/ladders/{name}/remove")
async def remove_ladder(request: Request, name: str) -> Response:
    """Removes a ladder."""
    fields = await form(request)
    body = {"reason": fields.get("reason", "").strip()}
    await api_of(request).post(f"/v1/approvals/ladders/{quote(name, safe='')}/remove", body)
    return go(request, "/approvals/ladders?done=removed")


@router.post("/approvals/answer")
async def answer(request: Request) -> Response:
    """One answer to the chosen calls of a batch."""
    fields = await form(request, MAX_FIELDS)
    decision = decision_of(fields)
    chosen = [
        {"id": name.removeprefix(CHOSEN), "digest": value} for name, value in fields.items() if name.startswith(CHOSEN)
    ]
    if not chosen:
        raise Refused("nothing_chosen", "No call was chosen, so nothing was decided.", fix="Tick some.", status=422)
    body = {"decision": decision, "chosen": chosen, "reason": fields.get("reason", "").strip()}
    told, _ = await api_of(request).post("/v1/approvals/answer", body)
    left = sum(bool(one["code"]) for one in items(told))
    return go(request, "/approvals?" + urlencode({"done": decision, "answered": len(chosen) - left, "left": left}))


@router.get("/approvals/{ident}")
async def approval(request: Request, ident: str, done: str = "") -> Response:
    """One held call: all that who decides must see, and afterwards what became of it."""
    api = api_of(request)
    around, one = await asyncio.gather(frame(api), api.get(f"/v1/approvals/{quote(ident, safe='')}"))
    found, agent = await asyncio.gather(
        api.get("/v1/approvals", agent=one["agent"]), api.maybe(f"/v1/agents/{quote(one['agent'], safe='')}")
    )
    alike = [other for other in items(found) if other["resource"] == one["resource"] and other["id"] != one["id"]]
    facts: dict[str, Any] = {"one": one, "agent": agent, "alike": alike[:ALIKE], "done": done, "frame": around}
    return render(request, "_approval_one.html" if is_fragment(request) else "approval.html", **facts)


@router.post("/approvals/{ident}")
async def decide(request: Request, ident: str) -> Response:
    """Approves or rejects one held call, or approves it with other arguments (``edit``). A form of its own page
    (``page``) leads back to it."""
    fields = await form(request)
    edit = fields.get("decision") == "edit"
    decision = "approve" if edit else decision_of(fields)
    body: dict[str, Any] = {"decision": decision, "reason": fields.get("reason", "").strip()}
    body["digest"] = fields.get("digest", "")
    if edit:
        body["arguments"] = changed_arguments(fields)
    told, _ = await api_of(request).post(f"/v1/approvals/{quote(ident, safe='')}/decision", body)
    said = "half" if told["state"] == "pending" else decision
    here = f"/approvals/{quote(ident, safe='')}" if fields.get("page") else "/approvals"
    return go(request, f"{here}?done={said}")
