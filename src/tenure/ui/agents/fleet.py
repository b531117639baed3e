"""Every agent, one agent, and what its next step will do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import LifecycleState
from tenure.ui.agents import lifecycle, owners
from tenure.ui.gate import PageRoute, api_of, frame, is_fragment, render, told_calls
from tenure.ui.model import FleetFilter, agent_rows, breakers_of_agents, items, matches, tools_of
from tenure.ui.words import newest_first

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _keyed(answer: Json, key: str, *names: str) -> dict[str, JsonObject]:
    return {str(entry.get(key) or "").rpartition("/")[2]: entry for entry in items(answer, *names)}


@router.get("/")
async def fleet(request: Request, q: str = "", state: str = "", tier: str = "", breaker: str = "") -> Response:
    """Every agent, with what wants attention first."""
    api = api_of(request)
    around, answering_for, agents, breakers, stats, record, told, alarms = await asyncio.gather(
        frame(api),
        owners.wanted(api),
        api.get("/v1/agents"),
        api.maybe("/v1/breakers"),
        api.maybe("/v1/stats", window=86400),
        api.maybe("/v1/recording"),
        told_calls(api),
        api.maybe("/v1/alerts", state="open", limit=1),
    )
    wanted = FleetFilter(q.strip(), state, tier, breaker)
    rows = agent_rows(
        items(agents, "agents"),
        breakers_of_agents(breakers),
        _keyed(stats, "agent", "agents", "stats"),
    )
    shown = [row for row in rows if matches(row, wanted)]
    facts: dict[str, Any] = {"rows": shown, "all_rows": rows, "wanted": wanted, "counted": stats is not None}
    facts |= {"states": list(LifecycleState), "frame": around, "record": record or {}, "told": told, **answering_for}
    facts["alerts"] = (alarms or {}).get("open", 0)
    return render(request, "_fleet.html" if is_fragment(request) else "fleet.html", **facts)


@router.get("/agents/{name}")
async def one_agent(request: Request, name: str) -> Response:
    """One agent: what it is, where it stands, what it may do, what it did."""
    api = api_of(request)
    around, answer, table, history, breakers, instances, keys, feed, stats, answered, rely = await asyncio.gather(
        frame(api),
        api.get(f"/v1/agents/{name}"),
        api.maybe("/v1/lifecycle"),
        api.maybe(f"/v1/agents/{name}/transitions"),
        api.maybe("/v1/breakers"),
        api.maybe(f"/v1/agents/{name}/instances", live="true"),
        api.maybe(f"/v1/agents/{name}/keys"),
        api.maybe("/v1/events", agent=name, limit=20, content="false"),
        api.maybe("/v1/stats", window=86400),
        api.maybe(f"/v1/agents/{name}/owners"),
        api.maybe(f"/v1/agents/{name}/dependants"),
    )
    record: JsonObject = answer["agent"] if isinstance(answer.get("agent"), Mapping) else answer
    rules = lifecycle.rules_of(items(table, "transitions"))
    changes = items(history, "transitions", "items")
    current = str(record["state"])
    manifest: JsonObject = record.get("manifest") or {}
    spec: JsonObject = manifest.get("spec") or {}
    been = {str(change.get(side)) for change in changes for side in ("from", "to") if change.get(side)}
    nodes, arrows = lifecycle.picture(current, been, rules)
    row = agent_rows([record], breakers_of_agents(breakers), _keyed(stats, "agent", "agents", "stats"))[0]
    return render(
        request,
        "agent.html",
        frame=around,
        agent=record,
        row=row,
        manifest=manifest,
        spec=spec,
        tools=tools_of(spec),
        breaker=breakers_of_agents(breakers).get(name) or {},
        nodes=nodes,
        arrows=arrows,
        steps=lifecycle.next_steps(current, rules, record.get("actions") or ()),
        changes=sorted(changes, key=lambda change: str(change.get("time") or change.get("at") or ""), reverse=True),
        instances=items(instances, "instances", "items"),
        keys=items(keys, "keys", "items"),
        owners=answered,
        feed=newest_first(items(feed, "events", "items"))[:20],
        rely=rely or {},
        box=(lifecycle.BOX_W, lifecycle.BOX_H),
        done=request.query_params.get("done", ""),
        force=request.query_params.get("force", ""),
    )


@router.get("/agents/{name}/to/{to}")
async def step(request: Request, name: str, to: str) -> Response:
    """Says what a transition will do, and asks for the reason."""
    api = api_of(request)
    around, answer, table, rely, hit = await asyncio.gather(
        frame(api),
        api.get(f"/v1/agents/{name}"),
        api.get("/v1/lifecycle"),
        api.maybe(f"/v1/agents/{name}/dependants"),
        api.maybe("/v1/graph/blast", node=f"agent:{name}"),
    )
    record: JsonObject = answer["agent"] if isinstance(answer.get("agent"), Mapping) else answer
    rules = lifecycle.rules_of(items(table, "transitions"))
    steps = lifecycle.next_steps(str(record["state"]), rules, record.get("actions") or ())
    chosen = next((step for step in steps if step.to == to), None)
    if chosen is None:
        raise Refused(
            "illegal_transition",
            f"{name} is {record['state']}; it cannot go to {to} from there.",
            fix="Open the agent's page: it offers the steps that are possible now.",
            status=409,
        )
    template = "_step.html" if is_fragment(request) else "step.html"
    return render(request, template, frame=around, agent=record, step=chosen, rely=rely or {}, hit=hit or {})
