"""Events as gateways send them, and the telemetry routes over real HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from tenure.base.http import install_errors
from tenure.base.room import World
from tenure.kernel.ids import new_id, new_span_id, session_trace
from tenure.kernel.values import Actor, Event, Role, Status
from tenure.telemetry.room import ROOM

GATEWAY = Actor("default", "gateway:local", frozenset({Role.GATEWAY}))


def tool_call(
    at: datetime, resource: str = "files/read", *, agent: str = "clerk", session: str = "s1", **more: Any
) -> Event:
    """A tool call that went through."""
    trace, root = session_trace("default", session)
    data = {
        "tenure.kind": "tool",
        "tenure.resource": resource,
        "tenure.decision": {"effect": "allow", "reason": "", "policies": ["base/allow"]},
        "tenure.decide_us": 120,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": resource.rpartition("/")[2],
        "mcp.method.name": "tools/call",
    }
    event = Event(
        id=new_id(),
        type="call.completed",
        time=at,
        workspace="default",
        actor=f"agent:{agent}",
        agent=agent,
        release="sha256:r1",
        instance="i1",
        session=session,
        trace_id=trace,
        span_id=new_span_id(),
        parent_span_id=root,
        policy_version="v1",
        memory_snapshot="m1",
        duration_us=2000,
        data=data | more.pop("data", {}),
    )
    return replace(event, **more)


def chat(at: datetime, model: str = "gpt-4o", *, tokens: tuple[int, int] = (100, 20), **more: Any) -> Event:
    """A model call that went through."""
    data = {
        "tenure.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens[0],
        "gen_ai.usage.output_tokens": tokens[1],
    }
    return tool_call(at, model, data=data | more.pop("data", {}), **more)


def refused(at: datetime, resource: str = "payments/refund", reason: str = "over the limit", **more: Any) -> Event:
    """A tool call that policy denied."""
    decision = {"effect": "deny", "reason": reason, "policies": ["refunds/limit"]}
    facts = {"tenure.decision": decision, "tenure.violation": True}
    more = {"type": "call.refused", "status": Status.VIOLATION, "data": facts, **more}
    return tool_call(at, resource, **more)


def many(count: int, at: datetime, text: str = "x" * 400) -> list[Event]:
    """Calls of twenty agents, a millisecond apart."""
    return [
        chat(at + timedelta(milliseconds=i), agent=f"a{i % 20}", session=f"s{i // 50}", data={"note": text})
        for i in range(count)
    ]


@contextmanager
def opened(world: World) -> Iterator[World]:
    """The world with its trace store open."""
    assert ROOM.start is not None
    assert ROOM.stop is not None
    ROOM.start(world)
    try:
        yield world
    finally:
        ROOM.stop(world)


@contextmanager
def served(world: World, who: Callable[[str], Actor | None], port: int = 0) -> Iterator[str]:
    """The telemetry routes on a real port; yields the URL. ``who`` tells the actor of a bearer token."""
    app = FastAPI()
    app.state.world = world
    install_errors(app)
    assert ROOM.router is not None
    app.include_router(ROOM.router)

    @app.middleware("http")
    async def _authenticate(request: Request, call_next: Any) -> Any:
        request.state.actor = who(request.headers.get("authorization", "").removeprefix("Bearer "))
        return await call_next(request)

    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1, lifespan="off")
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        threading.Event().wait(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
