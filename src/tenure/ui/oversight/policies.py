"""Policies: what decides now, what ran before, and of each version what it gave and took. The API does it all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject
from tenure.ui.gate import PageRoute, api_of, frame, render
from tenure.ui.model import items

router = APIRouter(route_class=PageRoute, include_in_schema=False)

HISTORY = 1_000
SHOWN = 20


@router.get("/policies")
async def policies(request: Request, done: str = "") -> Response:
    """The policy files that decide now, what was wrong with the last ones that were refused, and what ran before."""
    api = api_of(request)
    around, answer, loads = await asyncio.gather(
        frame(api), api.get("/v1/policies"), api.get("/v1/policies/history", limit=SHOWN)
    )
    return render(
        request,
        "policies.html",
        frame=around,
        version=str(answer.get("version") or ""),
        files=items(answer, "files"),
        problem=answer.get("last_problem"),
        loads=items(loads),
        done=done,
    )


@router.get("/policies/versions/{version}")
async def version(request: Request, version: str) -> Response:
    """One version: what agents gained and lost by it when it last began to run, and what its tests say."""
    api = api_of(request)
    around, files, loads = await asyncio.gather(
        frame(api), api.get(f"/v1/policies/versions/{version}"), api.get("/v1/policies/history", limit=HISTORY)
    )
    load = next((one for one in items(loads) if one["version"] == version), None)
    checked, changes = await asyncio.gather(
        _checked(api.post("/v1/policies/validate", {"files": files})),
        _checked(api.post("/v1/policies/diff", _sides(version, load))) if load and load["before"] else _nothing(),
    )
    return render(
        request, "policy_version.html", frame=around, version=version, load=load, checked=checked, changes=changes
    )


@router.get("/decisions/{call_id}")
async def decision(request: Request, call_id: str) -> Response:
    """Why one call was decided as it was: decided again, policy by policy."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get(f"/v1/decisions/{call_id}"))
    return render(request, "decision.html", frame=around, one=answer)


def _sides(version: str, load: JsonObject) -> JsonObject:
    return {"before": {"version": load["before"]}, "after": {"version": version}}


async def _checked(asked: Awaitable[tuple[Json, object]]) -> Json:
    """The answer, None where the files no longer compile."""
    try:
        answer, _ = await asked
    except Refused as error:
        if error.status == 401:
            raise
        return None
    return answer


async def _nothing() -> None:
    return None
