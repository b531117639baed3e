"""An agent on the a2a-sdk, in a process of its own: ``python -m tests.sim.a2a_agent NAME``.

It does what a message tells it: ``echo TEXT``, ``task TEXT`` (a task with an artifact), ``count N`` (an artifact in
N pieces), ``wait`` (until it is cancelled), ``headers`` (what it was sent), ``fail``, ``ask PEER: TEXT`` (asks another
agent through the gateway and answers what that one says), and ``use SERVER__TOOL: TEXT`` (a tool, likewise).
``GET /_seen`` tells what has arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from typing import Any

import httpx
import uvicorn
from a2a.client import ClientConfig, ClientFactory
from a2a.client.client import ClientCallContext
from a2a.helpers import get_message_text, get_stream_response_text, new_task_from_user_message, new_text_message
from a2a.helpers import new_text_part as text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role, SendMessageRequest, TaskState
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PASSED_ON = ("x-tenure-delegation", "traceparent")


class Seen:
    """What has arrived, and how many streams are open."""

    def __init__(self) -> None:
        self.requests = 0
        self.cancelled = 0
        self.streams = 0
        self.headers: dict[str, str] = {}


class Executor(AgentExecutor):
    """Does what it is told."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._cancelled: set[str] = set()

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        word, _, rest = get_message_text(context.message).partition(" ")
        headers = dict(context.call_context.state["headers"])
        if word == "echo":
            await event_queue.enqueue_event(new_text_message(rest, context_id=context.context_id))
        elif word == "headers":
            await event_queue.enqueue_event(new_text_message(json.dumps(headers), context_id=context.context_id))
        elif word == "ask":
            peer, _, text = rest.partition(": ")
            answer = await ask(peer, text, headers)
            await event_queue.enqueue_event(new_text_message(answer, context_id=context.context_id))
        elif word == "use":
            name, _, text = rest.partition(": ")
            answer = await use(name, text, headers)
            await event_queue.enqueue_event(new_text_message(answer, context_id=context.context_id))
        elif word == "fail":
            raise RuntimeError("told to fail")
        else:
            await self._task(word, rest, context, event_queue)

    async def _task(self, word: str, rest: str, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        task = context.current_task or new_task_from_user_message(context.message)
        if context.current_task is None:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        if word == "count":
            for number in range(int(rest)):
                await updater.add_artifact(
                    [text_part(f"{number} ")], artifact_id="count", name="count", append=number > 0
                )
        elif word == "wait":
            while task.id not in self._cancelled:
                await updater.update_status(
                    TaskState.TASK_STATE_WORKING, message=updater.new_agent_message([text_part("still at it")])
                )
                await asyncio.sleep(0.05)
            return
        else:
            await updater.add_artifact([text_part(rest)], name="result")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        self._cancelled.add(context.task_id)
        self._seen.cancelled += 1
        assert context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


async def ask(peer: str, text: str, received: dict[str, str]) -> str:
    """Asks another agent by its address at the gateway. Passing the headers on is all that keeps the chain whole."""
    token, gateway = os.environ["TENURE_TOKEN"], os.environ["TENURE_GATEWAY"]
    headers = {"authorization": f"Bearer {token}"}
    passed = {name: received[name] for name in PASSED_ON if name in received}
    async with httpx.AsyncClient(headers=headers, timeout=20) as http:
        client = await ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create_from_url(
            f"{gateway}/a2a/{peer}"
        )
        request = SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))
        try:
            events = client.send_message(request, context=ClientCallContext(service_parameters=passed))
            return "".join([get_stream_response_text(event) async for event in events])
        except Exception as error:  # noqa: BLE001 (whatever went wrong is what the test wants to read)
            return f"refused: {error}"


async def use(name: str, text: str, received: dict[str, str]) -> str:
    """Calls a tool through the gateway, with what keeps the chain whole, and answers what comes back."""
    headers = {"authorization": f"Bearer {os.environ['TENURE_TOKEN']}", "accept": "application/json"}
    headers |= {name: received[name] for name in PASSED_ON if name in received}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {"text": text}}}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        return (await http.post(f"{os.environ['TENURE_GATEWAY']}/mcp", json=body)).text


def card(name: str, url: str) -> AgentCard:
    """Its own card, as it serves it itself."""
    skill = AgentSkill(id="talk", name="Talk", description="Does what it is told", tags=["test"])
    return AgentCard(
        name=name,
        description=f"The agent {name} of the tests",
        version="1",
        supported_interfaces=[
            AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(url=f"{url}/rest", protocol_binding="HTTP+JSON", protocol_version="1.0"),
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=True, extended_agent_card=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[skill],
    )


def counted(app: ASGIApp, seen: Seen) -> ASGIApp:
    """``app``, with what arrives and which streams are open counted."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/_seen":
            await app(scope, receive, send)
            return
        seen.requests += 1
        seen.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        streams = False

        async def sent(message: Message) -> None:
            nonlocal streams
            if message["type"] == "http.response.start":
                kinds = [value for name, value in message["headers"] if name == b"content-type"]
                streams = any(kind.startswith(b"text/event-stream") for kind in kinds)
                seen.streams += streams
            await send(message)

        try:
            await app(scope, receive, sent)
        finally:
            seen.streams -= streams

    return run


def application(name: str, url: str) -> ASGIApp:
    """The agent as an ASGI application."""
    seen = Seen()
    configs = InMemoryPushNotificationConfigStore()
    own = card(name, url)
    longer = card(name, url)
    longer.description = "More, for those who call"
    handler = DefaultRequestHandler(
        agent_executor=Executor(seen),
        task_store=InMemoryTaskStore(),
        agent_card=own,
        push_config_store=configs,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(timeout=60), configs),
        extended_agent_card=longer,
    )

    async def told(_: Request) -> JSONResponse:
        return JSONResponse(vars(seen))

    routes: list[Any] = [Route("/_seen", told)]
    routes += create_agent_card_routes(own)
    routes += create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True)
    routes += create_rest_routes(handler, path_prefix="/rest")
    return counted(Starlette(routes=routes), seen)


async def main() -> None:
    """Serves until it is ended; the first line it says ends with its address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    url = f"http://127.0.0.1:{given.port}"
    config = uvicorn.Config(
        application(given.name, url), host="127.0.0.1", port=given.port, log_level="error", timeout_graceful_shutdown=1
    )
    server = Server(config)
    await server.serve()


class Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(f"agent ready http://127.0.0.1:{self.config.port}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
