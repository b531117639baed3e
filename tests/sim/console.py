"""The real control plane on a socket in a thread, with Events as a gateway sends them: what console tests look at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import uvicorn
from fastapi import FastAPI

from tenure.app.server import COOKIE, create_app
from tenure.base.clock import system_clock
from tenure.base.config import Config
from tenure.client import Client
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.json import digest
from tenure.kernel.values import Event, Status
from tests.sim.manifests import manifest
from tests.sim.telemetry import chat, tool_call

TOOLS = [
    {"name": "files/read_file"},
    {"name": "files/delete_file", "autonomy": "human_only"},
    {"name": "payments/refund", "autonomy": "approve"},
]


@dataclass
class Console:
    """A running control plane. ``client`` is its operator's; ``login_code`` good for one login."""

    url: str
    app: FastAPI
    client: Client
    gateway: Client
    login_code: str

    def cookie(self) -> str:
        """A session of the operator, spending the login code."""
        answer = httpx2.post(f"{self.url}/v1/login", json={"code": self.login_code}, trust_env=False)
        assert answer.status_code == 200, answer.text
        return str(answer.cookies[COOKIE])

    def register(self, name: str, *states: str, **spec: Any) -> None:
        """Applies a manifest and moves the agent along ``states``."""
        servers = {"files": {"command": ["files"]}, "payments": {"command": ["payments"]}}
        body = manifest(name, "http://127.0.0.1:9/v1", servers=servers, tools=TOOLS, **spec)
        self.client.put(f"/v1/agents/{name}", dict, body)
        for state in states:
            self.client.post(f"/v1/agents/{name}/transitions", dict, {"to": state, "reason": "a test asks"})

    def send(self, *events: Event) -> None:
        """Events, as a gateway ships them."""
        body = [msgspec.to_builtins(event) for event in events]
        self.gateway.post("/internal/v1/events", dict, body)


def refused(at: datetime, resource: str = "files/delete_file", **more: Any) -> Event:
    """A tool call that a policy forbids."""
    decision = {"effect": "deny", "reason": "the inbox is kept", "policies": ["inbox-is-kept"], "policy_version": "v1"}
    data = {"tenure.decision": decision, "tenure.violation": True, "gen_ai.tool.call.arguments": {"path": "a.txt"}}
    return tool_call(at, resource, type="call.refused", status=Status.VIOLATION, duration_us=300, data=data, **more)


def held(at: datetime, arguments: dict[str, Any], **more: Any) -> Event:
    """A call that waits for a person."""
    approval = stable_id("approval", digest(arguments))
    facts = {
        "approval_id": approval,
        "call_id": new_id(),
        "resource": "payments/refund",
        "digest": digest(arguments),
        "arguments": arguments,
        "reason": "refunds wait for a person",
        "policies": ["refunds-need-a-person"],
    }
    event = tool_call(at, "payments/refund", type="approval.requested", status=Status.FLAGGED, duration_us=None, **more)
    return replace(event, data=facts)


def tripped(at: datetime, agent: str) -> Event:
    """A breaker trip as the gateway tells it."""
    event = tool_call(at, agent=agent, type="breaker.tripped", status=Status.VIOLATION, duration_us=None)
    named = {"scope": "agent", "name": agent, "epoch": 0, "reason": "5 violations in 300 s"}
    facts = {**named, "threshold": 5, "window_s": 300.0}
    return replace(event, data=facts)


def story(console: Console, agent: str = "clerk") -> None:
    """A model call, a tool call, a refused one and a held one, all in one trace."""
    now = system_clock() - timedelta(seconds=30)
    talk = {
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Work through the inbox."}]}],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "I will refund it."}]}],
    }
    read = tool_call(now + timedelta(seconds=1), "files/read_file", agent=agent)
    read = replace(read, span_id=read.id[16:])  # as a gateway has it
    denied = refused(now + timedelta(seconds=2), agent=agent)
    denied.data["tenure.decision"]["because"] = [read.id]
    console.send(
        chat(now, agent=agent, data=talk),
        read,
        denied,
        held(now + timedelta(seconds=3), {"invoice": "2026-1187", "amount_cents": 124000}, agent=agent),
    )


@contextmanager
def running(folder: Path, port: int = 0, **settings: Any) -> Iterator[Console]:
    """A control plane on a free port, with its data in ``folder``."""
    app = create_app(Config(data_dir=folder, **{"otlp_port": 0, **settings}))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
        assert thread.is_alive(), "the control plane did not start"
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    tokens = [(folder / name).read_text().strip() for name in ("operator.token", "gateway.token")]
    with Client(url, tokens[0]) as client, Client(url, tokens[1]) as gateway:
        yield Console(url, app, client, gateway, app.state.bootstrap.login_code)
    server.should_exit = True
    thread.join(15)
