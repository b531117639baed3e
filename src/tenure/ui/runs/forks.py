"""A recorded run played again: the form, and what became of the forks that there are. The API does it all."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.ui.gate import PageRoute, api_of, form, frame, go, is_fragment, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/traces/{trace_id}/fork")
async def fork(request: Request, trace_id: str, step: int = 0, agent: str = "", done: str = "") -> Response:
    """What may be otherwise when a run is played again, and the forks of it; `step`: the one that is chosen."""
    api = api_of(request)
    forks = items(await api.get("/v1/forks", trace=trace_id))
    if is_fragment(request):
        return render(request, "_forks.html", forks=forks, trace_id=trace_id)
    around, steps, agents = await asyncio.gather(
        frame(api), api.get(f"/v1/traces/{trace_id}/steps"), api.maybe("/v1/agents")
    )
    listed = items(steps)
    own = next((one["agent"] for one in listed if one["number"] == step and one["agent"]), "")
    own = own or next((one["agent"] for one in listed if one["agent"]), "")
    record = await api.maybe(f"/v1/agents/{agent or own}") if agent or own else None
    facts: dict[str, Any] = {"steps": listed, "step": step or _first(listed), "forks": forks, "done": done}
    facts |= {"models": _models(record or {}), "own": own, "agent": agent, "trace_id": trace_id}
    facts["names"] = sorted(str(one.get("name")) for one in items(agents, "agents"))
    return render(request, "fork.html", frame=around, **facts)


def _first(steps: list[Any]) -> int:
    return next((int(one["number"]) for one in steps if one["kind"] == "chat"), 1)


def _models(record: Any) -> list[str]:
    """What an agent may ask for, by the names that it asks by."""
    found = record.get("agent") or record
    spec = (found.get("manifest") or {}).get("spec") or {}
    every = [spec.get("model"), *(spec.get("models") or ())]
    return [str(one.get("alias") or one.get("name")) for one in every if one]


@router.post("/traces/{trace_id}/fork")
async def start(request: Request, trace_id: str) -> Response:
    """Plays the run again."""
    fields = await form(request)
    number = fields.get("step", "").strip()
    if not number.isdigit():
        raise Refused("no_step", "From which step?", fix="Choose one of the list.", status=422)
    texts = {name: fields[name] for name in ("system", "prompt", "stand_in") if fields.get(name, "").strip()}
    named = {name: fields[name].strip() for name in ("model", "agent") if fields.get(name, "").strip()}
    rules = fields.get("policy", "").strip()
    body: dict[str, Any] = {"step": int(number), **texts, **named, "go_on": fields.get("go_on") == "on"}
    if rules:
        body["policy"] = [{"name": "tried.cedar", "text": rules}]
    made, _ = await api_of(request).post(f"/v1/traces/{trace_id}/forks", body)
    return go(request, f"/traces/{trace_id}/fork?step={number}&done={made['id']}#forks")
