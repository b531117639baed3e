"""The pages: what a person looks at. ``create_router`` is the whole console."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from tenure.kernel.errors import Refused
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.values import LifecycleState, Status
from tenure.ui import account as own_account
from tenure.ui import (
    actions,
    approvals,
    assets,
    autonomy,
    consent,
    corrections,
    credentials,
    discovery,
    drafts,
    exports,
    externals,
    graph,
    lifecycle,
    precedents,
    retention,
    revocations,
    services,
    signing,
)
from tenure.ui import breakers as stops
from tenure.ui import limits as budgets
from tenure.ui import notify as told
from tenure.ui import owners as answering
from tenure.ui import people as members
from tenure.ui import policies as written
from tenure.ui import tools as granted
from tenure.ui import traces as recorded
from tenure.ui.gate import (
    PROGRAMS,
    PageRoute,
    api_of,
    frame,
    is_fragment,
    local,
    render,
    stranger,
    told_calls,
    waiting_calls,
    waiting_tools,
)
from tenure.ui.model import LOSS_WORDS, FleetFilter, agent_rows, breakers_of_agents, items, matches, tools_of
from tenure.ui.words import newest_first

FEED_ROWS = 60
AUDIT_ROWS = 100

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _keyed(answer: Json, key: str, *names: str) -> dict[str, JsonObject]:
    return {str(entry.get(key) or "").rpartition("/")[2]: entry for entry in items(answer, *names)}


@router.get("/")
async def fleet(request: Request, q: str = "", state: str = "", tier: str = "", breaker: str = "") -> Response:
    """Every agent, with what wants attention first."""
    api = api_of(request)
    around, answering_for, agents, breakers, stats, record, told = await asyncio.gather(
        frame(api),
        answering.wanted(api),
        api.get("/v1/agents"),
        api.maybe("/v1/breakers"),
        api.maybe("/v1/stats", window=86400),
        api.maybe("/v1/recording"),
        told_calls(api),
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
    return render(request, "_fleet.html" if is_fragment(request) else "fleet.html", **facts)


@router.get("/waiting")
async def waiting(request: Request) -> Response:
    """The number at Approvals in the navigation, which renews itself."""
    return render(request, "_waiting.html", waiting=await waiting_calls(api_of(request)))


@router.get("/waiting/tools")
async def tools_waiting(request: Request) -> Response:
    """The number at Tools in the navigation, which renews itself."""
    return render(request, "_waiting.html", waiting=await waiting_tools(api_of(request)))


@router.get("/attention")
async def attention(request: Request) -> Response:
    """What wants attention first, in a line that renews itself."""
    api = api_of(request)
    held, tools, agents, breakers, record, told, answering_for = await asyncio.gather(
        waiting_calls(api),
        waiting_tools(api),
        api.get("/v1/agents"),
        api.maybe("/v1/breakers"),
        api.maybe("/v1/recording"),
        told_calls(api),
        answering.wanted(api),
    )
    tripped = sum(bool(one.get("tripped")) for one in items(breakers, "breakers"))
    requested = sum(one.get("state") == LifecycleState.REQUESTED for one in items(agents, "agents"))
    facts = {"waiting": held, "waiting_tools": tools, "tripped": tripped, "requested": requested}
    facts |= {"record": record or {}, "told": told}
    return render(request, "_attention.html", **facts, **answering_for)


@router.get("/recording")
async def recording(request: Request) -> Response:
    """How well the record is kept: what the trace store lacks, and what gateways lost."""
    api = api_of(request)
    around, record = await asyncio.gather(frame(api), api.get("/v1/recording"))
    return render(request, "recording.html", frame=around, record=record, reasons=LOSS_WORDS)


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
        api.maybe("/v1/events", agent=name, limit=20),
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


@router.get("/live")
async def live(request: Request, agent: str = "", status: str = "") -> Response:
    """What happens now, newest first."""
    api = api_of(request)
    wanted = status if status in set(Status) else ""
    around, feed, agents = await asyncio.gather(
        frame(api),
        api.get("/v1/events", agent=agent or None, status=wanted or None, limit=FEED_ROWS),
        api.maybe("/v1/agents"),
    )
    names = sorted(str(record.get("name")) for record in items(agents, "agents"))
    rows = newest_first(items(feed, "events", "items"))[:FEED_ROWS]
    facts: dict[str, Any] = {"rows": rows, "agent": agent, "status": wanted, "names": names}
    return render(request, "live.html", frame=around, **facts)


@router.get("/live/rows")
async def live_rows(request: Request, after: int = 0, agent: str = "", status: str = "") -> Response:
    """The rows after number ``after``: what the page asks for when the feed says that there is news."""
    wanted = status if status in set(Status) else ""
    feed = await api_of(request).get(
        "/v1/events", after=after, agent=agent or None, status=wanted or None, limit=FEED_ROWS
    )
    rows = newest_first(items(feed, "events", "items"))
    return render(request, "_rows.html", rows=rows)


@router.get("/sessions")
async def sessions(request: Request, agent: str = "", source: str = "") -> Response:
    """Sessions with how they ended."""
    api = api_of(request)
    around, found, agents = await asyncio.gather(
        frame(api), api.get("/v1/sessions", agent=agent or None, source=source or None), api.maybe("/v1/agents")
    )
    names = sorted(str(record.get("name")) for record in items(agents, "agents"))
    facts: dict[str, Any] = {
        "sessions": items(found, "sessions", "items")[:200],
        "agent": agent,
        "source": source,
        "names": names,
    }
    return render(request, "sessions.html", frame=around, **facts)


@router.get("/audit")
async def audit(request: Request, after: int | None = None, verify: str = "") -> Response:
    """The chain of entries, newest first, and whether it holds."""
    api = api_of(request)
    around, first, checkpoint = await asyncio.gather(
        frame(api), api.get("/v1/audit", limit=1), api.maybe("/v1/audit/checkpoint")
    )
    size = int(first.get("size") or 0)
    start = max(0, size - AUDIT_ROWS) if after is None else max(0, after)
    page = await api.get("/v1/audit", after=start, limit=AUDIT_ROWS)
    verdict = await api.get("/v1/audit/verify") if verify else None
    return render(
        request,
        "audit.html",
        frame=around,
        entries=items(page, "entries")[::-1],
        older=max(0, start - AUDIT_ROWS) if start else None,
        newer=start + AUDIT_ROWS if start + AUDIT_ROWS < size else None,
        checkpoint=checkpoint,
        verdict=verdict,
    )


@router.get("/account")
async def account(request: Request, done: str = "") -> Response:
    """How the person logs in, where they are logged in, and what their programs show."""
    api = api_of(request)
    around, own, tokens = await asyncio.gather(frame(api), api.get("/v1/account"), api.maybe("/v1/tokens"))
    return render(request, "account.html", frame=around, account=own, tokens=items(tokens, "tokens"), done=done)


@router.get("/workspaces")
async def workspaces(request: Request, done: str = "") -> Response:
    """The workspaces that the person belongs to, and the way from one to another."""
    api = api_of(request)
    around, answer = await asyncio.gather(frame(api), api.get("/v1/workspaces"))
    return render(request, "workspaces.html", frame=around, places=items(answer, "workspaces"), done=done)


@router.get("/keys")
async def keys(request: Request) -> Response:
    """The keys of the keyboard, for those whose browser runs no scripts."""
    template = "_keys.html" if is_fragment(request) else "keys.html"
    return render(request, template, frame=await frame(api_of(request)))


@router.get("/login")
async def login(request: Request, code: str = "", back: str = "/", workspace: str = "") -> Response:
    """The page of a one-time link, or of a password and a passkey. Opening it spends nothing: mail scanners open links
    too."""
    if not code:
        return await stranger(request, 200, back=local(back), workspace=workspace)
    return render(request, "login.html", frame=None, code=code, back=local(back))


class _Elsewhere(PageRoute):
    """Any address that no other route has, except those that programs ask."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = str(scope.get("path", ""))
        if scope["type"] == "http" and path.startswith(PROGRAMS):
            return Match.NONE, {}
        return super().matches(scope)


async def nowhere(request: Request) -> Response:
    """Says so, on a page."""
    raise Refused("no_such_page", f"There is no page {request.url.path}.", fix="Start from the fleet.", status=404)


def create_router() -> APIRouter:
    """The whole console, as one router without a prefix. Include it last: it answers every address that is left."""
    console = APIRouter(include_in_schema=False)
    console.include_router(assets.create_router())
    console.include_router(router)
    console.include_router(approvals.router)
    console.include_router(drafts.router)
    console.include_router(corrections.router)
    console.include_router(precedents.router)
    console.include_router(actions.router)
    console.include_router(own_account.router)
    console.include_router(consent.router)
    console.include_router(granted.router)
    console.include_router(services.router)
    console.include_router(externals.router)
    console.include_router(members.router)
    console.include_router(stops.router)
    console.include_router(autonomy.router)
    console.include_router(written.router)
    console.include_router(credentials.router)
    console.include_router(revocations.router)
    console.include_router(signing.router)
    console.include_router(told.router)
    console.include_router(budgets.router)
    console.include_router(retention.router)
    console.include_router(exports.router)
    console.include_router(answering.router)
    console.include_router(recorded.router)
    console.include_router(discovery.router)
    console.include_router(graph.router)
    rest = APIRouter(route_class=_Elsewhere, include_in_schema=False)
    rest.add_api_route("/{path:path}", nowhere, methods=["GET"])
    console.include_router(rest)
    return console
