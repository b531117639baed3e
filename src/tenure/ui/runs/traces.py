"""Pages of traces: the list, one as a waterfall, where one went wrong, and two side by side."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.ui.gate import Api, PageRoute, api_of, frame, go, render
from tenure.ui.model import agents_of, items
from tenure.ui.runs import window

PAIRS = 200  # on one page of a comparison
HITS = 50  # on one page of a search
WEEK, DAYS = 7, (1, 7, 30, 90)
INVALID = 422

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
    names = agents_of(agents, agent)
    facts: dict[str, Any] = {
        "traces": items(found, "traces", "items"),
        "agent": agent,
        "session": session,
        "names": names,
    }
    return render(request, "traces.html", frame=around, **facts)


@router.get("/traces/search")
async def search(
    request: Request, q: str = "", agent: str = "", days: int = WEEK, before: int | None = None
) -> Response:
    """What was said, found by its words, the newest first."""
    api = api_of(request)
    days = days if days in DAYS else WEEK
    around, agents = await asyncio.gather(frame(api), api.maybe("/v1/agents"))
    found: Any = {"hits": (), "next": None}
    problem = ""
    if q.strip():
        try:
            found = await api.get(
                "/v1/traces/search", q=q, window=days * 86400, agent=agent or None, before=before, limit=HITS
            )
        except Refused as error:  # said beside the box, with what was written in it
            if error.status != INVALID:
                raise
            problem = f"{error.message} {error.fix}"
    names = agents_of(agents, agent)
    facts: dict[str, Any] = {"q": q, "agent": agent, "days": days, "names": names, "problem": problem}
    facts |= {"hits": found["hits"], "next": found["next"], "choices": DAYS, "before": before}
    return render(request, "search.html", frame=around, **facts)


@router.get("/traces/{trace_id}")
async def trace(request: Request, trace_id: str, q: str = "", start: int = 0, span: str = "") -> Response:
    """One trace: what was asked, decided, waited for and answered, in causal order; a page of its rows."""
    api = api_of(request)
    around = await frame(api)
    drawn = await window.drawn(api, around.me, trace_id)
    # Asked for only where somebody said that the run failed: it costs as much as the trace itself.
    blame = await api.maybe(f"/v1/traces/{trace_id}/blame", limit=3) if drawn.failed else None
    rows = window.matching(drawn.trace.rows, q)
    start = window.start_of(rows, start, span)
    facts: dict[str, Any] = {"trace": drawn.trace, "blame": blame, "open": span, "q": q, "start": start}
    facts |= {"rows": rows[start : start + window.ROWS], "total": len(rows), "piece": window.PIECE}
    return render(request, "trace.html", frame=around, most=window.ROWS, **facts)


@router.get("/traces/{trace_id}/rows")
async def trace_rows(request: Request, trace_id: str, q: str = "", start: int = 0) -> Response:
    """The next rows of a trace, for the page that is scrolled."""
    drawn = await window.drawn_again(api_of(request), trace_id)
    rows = window.matching(drawn.trace.rows, q)[max(0, start) : max(0, start) + window.PIECE]
    return render(request, "_spans.html", trace=drawn.trace, rows=rows, open="")


@router.get("/traces/{trace_id}/blame")
async def blame(request: Request, trace_id: str) -> Response:
    """Where a run most likely went wrong, if it did."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get(f"/v1/traces/{trace_id}/blame", limit=10))
    return render(request, "blame.html", frame=around, blame=answer)


@router.post("/traces/{trace_id}/blame")
async def ask_judge(request: Request, trace_id: str) -> Response:
    """Has the judge of the settings asked; what it says stands below the evidence then."""
    await api_of(request).post(f"/v1/traces/{trace_id}/blame/opinions")
    return go(request, f"/traces/{trace_id}/blame#opinions")


@router.get("/traces/{trace_id}/against")
async def against(request: Request, trace_id: str) -> Response:
    """Which run to lay beside this one: the latest of its agent; a run that is played again has its record to lie
    beside."""
    api = api_of(request)
    own = next((one for one in await _forks(api, trace_id) if one["trace_id"] == trace_id), None)
    if own is not None:
        return go(request, f"/traces/{own['of']}/against/{trace_id}")
    around, answer = await asyncio.gather(frame(api), api.get(f"/v1/traces/{trace_id}"))
    agent = next((span["agent"] for span in items(answer, "spans") if span.get("agent")), None)
    found = await api.get("/v1/traces", agent=agent, limit=50)
    others = [one for one in items(found, "traces") if one["trace_id"] != trace_id]
    return render(request, "against.html", frame=around, trace_id=trace_id, others=others)


@router.get("/traces/{trace_id}/against/{other}")
async def compare(request: Request, trace_id: str, other: str, start: int = 0) -> Response:
    """Two runs side by side: where they part, and why."""
    api = api_of(request)
    around, found, forks = await asyncio.gather(
        frame(api), api.get(f"/v1/traces/{trace_id}/against/{other}"), _forks(api, other)
    )
    start = max(0, start)
    facts: dict[str, Any] = {"found": found, "start": start, "most": PAIRS}
    facts["pairs"] = list(enumerate(found["pairs"]))[start : start + PAIRS]
    facts["fork"] = next((one for one in forks if (one["of"], one["trace_id"]) == (trace_id, other)), None)
    return render(request, "compare.html", frame=around, **facts)


async def _forks(api: Api, trace_id: str) -> list[Any]:
    """Forks of a run, and the fork that it is."""
    return items(await api.maybe("/v1/forks", trace=trace_id))
