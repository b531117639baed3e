"""One room's routes behind a real socket, for commands under test."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response

from tenure.base.http import install_errors
from tenure.base.room import World
from tenure.kernel.values import Actor


@contextlib.contextmanager
def serving(world: World, actor: Actor, *routers: APIRouter) -> Iterator[str]:
    """The URL at which the routes answer ``actor``, until the block ends."""
    app = FastAPI()
    app.state.world = world
    install_errors(app)
    for router in routers:
        app.include_router(router)

    @app.middleware("http")
    async def _who(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.actor = actor
        return await call_next(request)

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
