"""Who answers for agents: offers that wait, what is of concern, and handing an agent over. The API does it all."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.ui.gate import Api, PageRoute, api_of, form, frame, go, is_fragment, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)


async def wanted(api: Api) -> dict[str, Any]:
    """How many agents wait for the answer of the one who looks, and how many somebody should look after."""
    offers, concerns = await asyncio.gather(
        api.maybe("/v1/handovers", state="open", mine="true"), api.maybe("/v1/concerns")
    )
    return {
        "offered": sum("decline" in one["actions"] for one in items(offers)),
        "concerns": len({one["agent"] for one in items(concerns)}),
    }


_ANSWERS = ("accept", "decline", "withdraw")


@router.get("/owners")
async def owners(request: Request, done: str = "") -> Response:
    """Offers that wait for the one who looks, what is of concern, and every other offer that waits."""
    api = api_of(request)
    around, offers, concerns = await asyncio.gather(
        frame(api), api.get("/v1/handovers", state="open"), api.get("/v1/concerns")
    )
    found = items(offers)
    facts: dict[str, Any] = {"mine": [one for one in found if "decline" in one["actions"]]}
    facts |= {"others": [one for one in found if "decline" not in one["actions"]], "concerns": items(concerns)}
    return render(request, "owners.html", frame=around, done=done, **facts)


@router.get("/owners/offers/{ident}")
async def one_offer(request: Request, ident: str) -> Response:
    """One offer: all that comes with the agent, and the answer."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get(f"/v1/handovers/{quote(ident, safe='')}"))
    return render(request, "handover.html", frame=around, offer=found)


@router.post("/owners/offers/{ident}/{answer}")
async def answer(request: Request, ident: str, answer: str) -> Response:
    """Accepts, declines or takes back."""
    fields = await form(request)
    if answer not in _ANSWERS:
        raise Refused("no_decision", "Say accept, decline or withdraw.", status=422)
    body: JsonObject = {"reason": fields.get("reason", "").strip()}
    if answer == "accept":
        body = {"checklist": fields.get("checklist", ""), "note": fields.get("reason", "").strip()}
    done = (await api_of(request).post(f"/v1/handovers/{quote(ident, safe='')}/{answer}", body))[0]
    if answer == "accept":
        return go(request, f"/agents/{quote(done['agent'], safe='')}?done=accepted")
    return go(request, "/owners?" + urlencode({"done": answer}))


@router.get("/owners/offer")
async def ask(request: Request, agent: str = "", all_of: str = "") -> Response:
    """Asks to whom an agent, or every agent of somebody, is to be handed over."""
    api = api_of(request)
    around, people = await asyncio.gather(frame(api), api.maybe("/v1/people"))
    giver = all_of or str((await api.get(f"/v1/agents/{quote(agent, safe='')}/owners"))["owner"])
    able = [one["email"] for one in items(people, "people", "items") if "owner" in one["roles"]]
    facts: dict[str, Any] = {"agent": agent, "all_of": all_of, "giver": giver}
    facts["able"] = [email for email in able if email != giver.lower()]
    return render(request, "_offer.html" if is_fragment(request) else "offer.html", frame=around, **facts)


@router.post("/owners/offer")
async def offer(request: Request) -> Response:
    """Offers it."""
    fields = await form(request)
    agent, all_of = fields.get("agent", ""), fields.get("all_of", "")
    role = fields.get("role", "owner")
    body = {"to": fields.get("to", "").strip(), "agents": [agent] if agent else [], "all_of": all_of, "role": role}
    await api_of(request).post("/v1/handovers", {**body, "note": fields.get("note", "").strip()})
    return go(request, f"/agents/{quote(agent, safe='')}?done=offered" if agent else "/owners?done=offered")


@router.post("/owners/confirm")
async def confirm(request: Request) -> Response:
    """Says that one answers for an agent."""
    name = quote((await form(request)).get("agent", ""), safe="")
    await api_of(request).post(f"/v1/agents/{name}/confirm")
    return go(request, f"/agents/{name}?done=confirmed")


@router.post("/owners/take")
async def take(request: Request) -> Response:
    """Takes over an agent whose owner has left."""
    fields = await form(request)
    name = quote(fields.get("agent", ""), safe="")
    await api_of(request).post(f"/v1/agents/{name}/take", {"reason": fields.get("reason", "").strip()})
    return go(request, f"/agents/{name}?done=taken")
