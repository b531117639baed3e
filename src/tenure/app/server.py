"""The control plane's process: API, console, background work. ``python -m tenure.app.server`` serves it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenure import __version__
from tenure.app import gateways, reference
from tenure.app.engine import Engine
from tenure.app.publish import Publisher
from tenure.app.told import told
from tenure.app.wiring import ROOMS
from tenure.base import config as settings
from tenure.base import log, schema
from tenure.base.clock import Clock, system_clock
from tenure.base.config import Config
from tenure.base.db import Database
from tenure.base.events import Bell
from tenure.base.http import install_errors, problem
from tenure.base.memory import give_back, keep_private
from tenure.base.replicas import Replicas
from tenure.base.room import Room, World
from tenure.base.scan.scanner import prepare
from tenure.client import AsyncClient
from tenure.identity import model as identity_rules
from tenure.identity import service as identity
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Actor
from tenure.registry import service as registry
from tenure.revocation import service as revocation
from tenure.ui import console, gate

COOKIE = "tenure_session"

_SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_TICK_S = 1.0
_OVER_TLS = ((b"strict-transport-security", b"max-age=31536000"),)


class Health(BaseModel):
    """Whether the control plane serves, and which version it is."""

    status: str
    version: str


class Authentication:
    """Finds out who asks, before any route runs, and refuses forged writes. Streams pass through untouched."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = _SECURITY_HEADERS + (_OVER_TLS if scope["scheme"] == "https" else ())
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        headers = Headers(scope=scope)
        secure = scope["scheme"] == "https"
        inside = (scope.get("client") or ("",))[0] == identity_rules.CONSOLE
        if inside:
            secure = headers.get("x-tenure-scheme") == "https"
        cookie = _cookie(headers.get("cookie", ""), identity_rules.cookie_name(COOKIE, secure))
        background = inside or scope["path"] in gate.BACKGROUND
        authorization = headers.get("authorization")
        actor = None
        try:
            if authorization or cookie:
                actor = await asyncio.to_thread(_who, self._world, authorization, cookie, background)
            if actor is not None and not authorization:
                _refuse_forged(scope["method"], headers)
        except (Refused, Failed) as error:
            if not scope["path"].startswith("/otlp/"):
                await _refusal(Request(scope), error)(scope, receive, with_headers)
                return
            scope.setdefault("state", {})["refusal"] = error  # told by the route, as its protocol has it
        scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, with_headers)


def _refusal(request: Request, error: Refused | Failed) -> Response:
    """A page in words for a browser that asks for one, a problem for a program."""
    if gate.wants_page(request):
        return gate.refusal(request, error)
    return problem(error.status, error.code, error.message, getattr(error, "fix", ""))


def _who(world: World, authorization: str | None, cookie: str | None, background: bool) -> Actor | None:
    """The actor, if its credential is alive: a revoked token is as dead here as at a gateway."""
    actor = identity.authenticate(world, authorization, cookie, background=background)
    if actor is not None and actor.principal is not None:
        principal = actor.principal
        with world.read() as connection:
            agent = registry.get_agent(connection, principal.workspace, principal.agent)
            revoked = revocation.refuses(connection, principal, world.clock())
        if revoked or agent is None or agent.credential_epoch != principal.credential_epoch:
            raise Refused(
                "credential_revoked",
                f"This credential of agent {principal.agent} is dead.",
                fix="Ask the agent's owner for its state.",
                status=401,
            )
    return actor


def _refuse_forged(method: str, headers: Headers) -> None:
    if not identity_rules.csrf_ok(method, dict(headers), headers.get("host", "")):
        raise Refused(
            "cross_site_request",
            "A change that a browser sends with a cookie must come from Tenure's own pages.",
            fix="Open the console itself and do it there. A program sends `x-tenure-csrf: 1`, or a bearer token.",
            status=403,
        )


def _cookie(header: str, wanted: str) -> str | None:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == wanted:
            return value
    return None


async def _start(app: FastAPI, world: World, rooms: Sequence[Room]) -> Engine:
    """Brings the data up to date, starts the rooms, and begins the background work."""
    await asyncio.to_thread(schema.bring_up, world.db)
    app.state.bootstrap = await asyncio.to_thread(identity.bootstrap, world)
    for room in rooms:
        if room.start:
            await asyncio.to_thread(room.start, world)
    publisher = app.state.publisher = Publisher(world)
    publisher.serve()
    engine = Engine(world, rooms, publisher)
    await asyncio.to_thread(
        engine.settle, wholly=True
    )  # no gateway may hear of facts that forget what was told before a crash
    engine.start()
    return engine


async def _open(
    app: FastAPI, world: World, rooms: Sequence[Room], closing: list[Callable[[], Awaitable[None]]]
) -> None:
    """Opens the further ports of rooms, and notes what closes each."""
    for serve in (room.serve for room in rooms if room.serve):
        try:
            close = await serve(world, lambda token: _who(world, token, None, background=True))
        except Exception as error:
            app.state.failure = error
            raise
        if close is not None:
            closing.append(close)


def create_app(config: Config, *, clock: Clock = system_clock, rooms: Sequence[Room] = tuple(ROOMS)) -> FastAPI:
    """The control plane as one ASGI application. Opens nothing until it is started (ASGI lifespan)."""
    database = Database(config.database)
    consumers = frozenset(consumer.name for room in rooms for consumer in room.consumers)
    replicas = Replicas(config.data_dir / "gateways.json", config.snapshot_max_age_s)
    vets = tuple(room.vet for room in rooms if room.vet)
    world = World(
        db=database,
        clock=clock,
        config=config,
        bell=Bell(),
        consumers=consumers,
        replicas=replicas,
        vets=vets,
        owners=registry.answering,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            engine = await _start(app, world, rooms)
        except Exception as error:
            app.state.failure = error
            raise
        closing: list[Callable[[], Awaitable[None]]] = []
        try:
            await _open(app, world, rooms, closing)
            give_back()
            yield
        finally:
            for close in closing:
                await close()
            await engine.stop()
            await app.state.api.close()
            for room in reversed(rooms):
                if room.stop:
                    await asyncio.to_thread(room.stop, world)
            database.close()

    app = FastAPI(
        title="Tenure",
        version=__version__,
        description="The control plane for the working life of AI agents.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load programs from elsewhere, which our own headers forbid
        redoc_url=None,
    )
    app.state.world = world
    app.state.api = AsyncClient(
        "http://tenure", transport=httpx2.ASGITransport(app=app, client=(identity_rules.CONSOLE, 0))
    )
    install_errors(app)
    app.include_router(gateways.create_router(replicas))  # the first, since it is asked most and never rests
    for room in rooms:
        if room.router is not None:
            app.include_router(room.router)

    @app.get("/v1/health", tags=["app"])
    async def health() -> Health:
        """Whether the control plane serves."""
        return Health(status="ok", version=__version__)

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    async def docs() -> str:
        """What the API can do, to read."""
        return reference.page(app.openapi())

    app.include_router(console.create_router())
    app.add_middleware(Authentication, world=world)
    return app


class _Server(uvicorn.Server):
    """Says when it is ready, with the one-time login code, to whoever started it."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._tenure_app = app
        self._wake: Callable[[], object] | None = None

    async def main_loop(self) -> None:
        """Turns the date of the answers on by the second, and ends when asked to. Uvicorn's own looks ten times as
        often, which is most of what it does while nobody asks for anything."""
        asked, loop = asyncio.Event(), asyncio.get_running_loop()
        self._wake = partial(loop.call_soon_threadsafe, asked.set)
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await asked.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Has ``main_loop`` look at once."""
        super().handle_exit(sig, frame)
        if self._wake is not None:
            self._wake()

    async def shutdown(self, sockets: Any = None) -> None:
        self._tenure_app.state.world.bell.close()  # streams end now; nothing waits for a page that somebody left open
        await super().shutdown(sockets)

    async def startup(self, sockets: Any = None) -> None:
        uvicorn_log = logging.getLogger("uvicorn.error")
        uvicorn_log.disabled = True  # it would tell a refusal as a traceback; main() tells it in a line
        try:
            await super().startup(sockets)
        finally:
            uvicorn_log.disabled = False
        if self.started:
            code = self._tenure_app.state.bootstrap.login_code or ""
            sys.stdout.write(f"control ready {code}\n")
            sys.stdout.flush()
            gc.freeze()  # what is there now stays: to look through all of it for garbage stops everything for 0.2 s


def main() -> int:
    """Serves until SIGTERM. A refusal is one line on standard error and exit status 2, a failure of the world 3."""
    keep_private()
    sys.setswitchinterval(0.001)  # background threads must not hold the answers up for the usual 5 ms
    try:
        config = settings.load()
        log.configure(config.log_level)
        app = create_app(config)
        schema.check(app.state.world.db)
    except (Refused, Failed) as error:
        return told(error)
    server = _Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.control_port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=max(1, int(config.drain_s)),
            timeout_keep_alive=30,
            server_header=False,
            ws="none",  # nothing here speaks WebSocket
        ),
        app,
    )
    threading.Thread(target=prepare, daemon=True).start()  # the rules of scanning; the first Events need not wait
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which stops the gateway first
    where = f"{config.host}:{config.control_port}"
    app.state.failure = Failed("cannot_listen", f"The control plane cannot listen on {where}.")  # unless _start() fails
    with suppress(SystemExit):  # uvicorn's way to say that it did not start
        server.run()
    return 0 if server.started else told(app.state.failure)


if __name__ == "__main__":
    sys.exit(main())
