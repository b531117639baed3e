"""Some rooms' routes behind a real HTTP server, with requests authenticated as the control plane does it."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from tenure.base.http import install_errors
from tenure.base.room import World
from tenure.identity import service as identity


def application(world: World, routers: Sequence[APIRouter]) -> FastAPI:
    """The routes as one application of ``world``."""
    app = FastAPI()
    app.state.world = world
    install_errors(app)
    for router in routers:
        app.include_router(router)

    @app.middleware("http")
    async def authenticate(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
        header, cookie = request.headers.get("authorization"), request.cookies.get("tenure_session")
        request.state.actor = identity.authenticate(world, header, cookie)
        return await following(request)

    return app


@contextmanager
def served(world: World, routers: Sequence[APIRouter]) -> Iterator[str]:
    """The URL of a server of the routes on a port of its own, until the block ends."""
    server = uvicorn.Server(uvicorn.Config(application(world, routers), port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
