"""Oversight: the least of it, what agents did on the level notify, and where each agent's own decisions end. The API
does it all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.json import JsonObject
from tenure.ui.gate import PageRoute, api_of, form, frame, go, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

VERDICTS = {
    "proceed": ("may proceed", "allowed"),
    "approval": ("needs approval", "approval"),
    "stop": ("must stop", "violation"),
}
"""Of the three-way rule: the words of a verdict, and its mark."""


@router.get("/autonomy")
async def autonomy(request: Request, done: str = "") -> Response:
    """The least oversight of the workspace, and what waits to be seen."""
    api = api_of(request)
    around, floor, told, earned = await asyncio.gather(
        frame(api), api.get("/v1/autonomy"), api.get("/v1/notices"), api.get("/v1/autonomy/earned")
    )
    facts = {"floor": floor, "notices": items(told), "earned": [(one, picture(one)) for one in items(earned)]}
    return render(request, "autonomy.html", frame=around, done=done, **facts)


@dataclass(frozen=True, slots=True)
class Picture:
    """Evidence on an axis from ``LEFT`` to 1, 100 wide: from what is proved to what was seen, and what is wanted."""

    bound: float
    share: float
    wanted: float


LEFT = 0.5
"""Where the axis begins: less than every second call good is nothing to tell apart."""


def picture(one: JsonObject) -> Picture:
    """The evidence of one tool as the places of its picture."""

    def place(value: float) -> float:
        return round(max(0.0, (value - LEFT) / (1 - LEFT)) * 100, 2)

    return Picture(place(one["bound"]), place(one["share"]), place(one["wanted"]))


@router.post("/autonomy/earned")
async def answer(request: Request) -> Response:
    """Answers a proposal on the evidence that was shown, or ends what was accepted."""
    fields = await form(request)
    body = {name: fields.get(name, "") for name in ("agent", "resource", "release", "decision")}
    await api_of(request).post("/v1/autonomy/earned/decision", body | {"reason": fields.get("reason", "").strip()})
    return go(request, "/autonomy?" + urlencode({"done": fields.get("decision", "")}))


@router.post("/autonomy")
async def set_floor(request: Request) -> Response:
    """Sets the least oversight of the workspace."""
    fields = await form(request)
    body = {"level": fields.get("level", ""), "reason": fields.get("reason", "").strip()}
    await api_of(request).put("/v1/autonomy", body)
    return go(request, "/autonomy?" + urlencode({"done": "set"}))


@router.post("/autonomy/seen")
async def see(request: Request) -> Response:
    """Says that what was shown was seen."""
    fields = await form(request)
    await api_of(request).post(
        "/v1/notices/seen", {name: fields.get(name, "") for name in ("agent", "resource", "upto")}
    )
    return go(request, "/autonomy?" + urlencode({"done": "seen"}))


@router.get("/agents/{name}/boundary")
async def boundary(request: Request, name: str) -> Response:
    """Where the own decisions of an agent end."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get(f"/v1/agents/{name}/boundary"))
    return render(request, "boundary.html", frame=around, found=found, VERDICTS=VERDICTS)
