"""Pages of traces: the list, one as a waterfall, where one went wrong, and two side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.ui import waterfall
from tenure.ui.gate import PageRoute, api_of, frame, render
from tenure.ui.model import items
from tenure.ui.talk import attributes

RESETS = 200  # of an agent, the newest, among which those of a trace's trips are looked for
PAIRS = 200  # on one page of a comparison

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/traces")
async def traces(request: Request, agent: str = "", session: str = "") -> Response:
    """The latest traces."""
    api = api_of(request)
    around, found, agents = await asyncio.gather(
        frame(api),
        api.get("/v1/traces", agent=agent or None, session=session or None, limit=100),
        api.maybe("/v1/agents"),
    )
    names = sorted(str(record.get("name")) for record in items(agents, "agents"))
    facts: dict[str, Any] = {
        "traces": items(found, "traces", "items"),
        "agent": agent,
        "session": session,
        "names": names,
    }
    return render(request, "traces.html", frame=around, **facts)


@router.get("/traces/{trace_id}")
async def trace(request: Request, trace_id: str) -> Response:
    """One trace: what was asked, decided, waited for and answered, in causal order."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get(f"/v1/traces/{trace_id}"))
    spans = items(answer, "spans")
    waits = await asyncio.gather(*(api.maybe(f"/v1/approvals/{one}") for one in waterfall.approval_ids(spans)[:50]))
    approvals = [found.get("approval", found) for found in waits if isinstance(found, Mapping)]
    agents = waterfall.tripped_agents(spans)
    resets = await asyncio.gather(
        *(api.maybe("/v1/events", agent=agent, type="breaker.reset", limit=RESETS) for agent in agents)
    )
    told = [entry["event"] for found in resets for entry in items(found, "events")]
    drawn = waterfall.draw(trace_id, [*spans, *waterfall.resets_of(spans, told)], approvals)
    if drawn is None:
        raise Refused("no_such_trace", f"There is no trace {trace_id}, or nothing of it has arrived yet.", status=404)
    # Asked for only where somebody said that the run failed: it costs as much as the trace itself.
    blame = await api.maybe(f"/v1/traces/{trace_id}/blame", limit=3) if _failed(spans) else None
    facts: dict[str, Any] = {"trace": drawn, "blame": blame, "open": request.query_params.get("span", "")}
    return render(request, "trace.html", frame=around, **facts)


@router.get("/traces/{trace_id}/blame")
async def blame(request: Request, trace_id: str) -> Response:
    """Where a run most likely went wrong, if it did."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get(f"/v1/traces/{trace_id}/blame", limit=10))
    return render(request, "blame.html", frame=around, blame=answer)


@router.get("/traces/{trace_id}/against")
async def against(request: Request, trace_id: str) -> Response:
    """Which run to lay beside this one: the latest of its agent."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get(f"/v1/traces/{trace_id}"))
    agent = next((span["agent"] for span in items(answer, "spans") if span.get("agent")), None)
    found = await api.get("/v1/traces", agent=agent, limit=50)
    others = [one for one in items(found, "traces") if one["trace_id"] != trace_id]
    return render(request, "against.html", frame=around, trace_id=trace_id, others=others)


@router.get("/traces/{trace_id}/against/{other}")
async def compare(request: Request, trace_id: str, other: str, start: int = 0) -> Response:
    """Two runs side by side: where they part, and why."""
    api = api_of(request)
    around, found = await asyncio.gather(frame(api), api.get(f"/v1/traces/{trace_id}/against/{other}"))
    start = max(0, start)
    pairs = list(enumerate(found["pairs"]))[start : start + PAIRS]
    return render(request, "compare.html", frame=around, found=found, pairs=pairs, start=start, most=PAIRS)


def _failed(spans: list[JsonObject]) -> bool:
    """Whether somebody judged the run a failure."""
    ends = [attributes(span) for span in spans if span.get("type") == "import.outcome"]
    return any(end.get("tenure.outcome.success") is False for end in ends)
