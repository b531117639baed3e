"""One room's routes served in process, as the person a test names: HTTP without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from fastapi import APIRouter, FastAPI, Request, Response

from tenure.base.http import install_errors
from tenure.base.room import World
from tenure.kernel.values import Actor


class Api:
    """``api("GET", "/v1/policies")`` answers (status, JSON)."""

    def __init__(self, world: World, *routers: APIRouter) -> None:
        self.actor: Actor | None = None
        app = FastAPI()
        app.state.world = world
        install_errors(app)
        for router in routers:
            app.include_router(router)

        @app.middleware("http")
        async def _who(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
            request.state.actor = self.actor
            return await call_next(request)

        self._app = app

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request."""
        return asyncio.run(self._send(method, path, body))

    async def _send(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        transport = httpx2.ASGITransport(app=self._app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            response = await client.request(method, path, json=body)
        return response.status_code, response.json()
