"""A running gateway between agents on the a2a-sdk, each in a process of its own; a control plane in a thread."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.helpers import get_stream_response_text, new_text_message
from a2a.types import Role, SendMessageRequest

from tenure.kernel.snapshot import AgentFact, BreakerFact, PeerFact, PeerGrant, ToolFact
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, Process, agent_fact, default_policies
from tests.sim.ports import free_port

T = TypeVar("T")
NAMES = ("asker", "helper", "third")
RULES = """
@id("no-secrets")
@reason("Secrets are not told to other agents.")
forbid (principal, action == Action::"call_agent", resource)
when { context.strings.hasTag("text") && context.strings.getTag("text") like "*secret*" };
@id("no-deep-third")
@reason("Nobody works for the asker at the forbidden one.")
forbid (principal, action == Action::"call_agent", resource == Peer::"forbidden")
when { context.chain.contains("asker") };
"""
POLICIES = (*default_policies(), ("tests.cedar", RULES))


class AgentProcess(Process):
    """An agent on the a2a-sdk."""

    def __init__(self, name: str, port: int, env: dict[str, str], log: Path) -> None:
        super().__init__(["tests.sim.a2a_agent", name, str(port)], env, log)

    def seen(self) -> dict[str, Any]:
        """What has arrived there."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + "/_seen", timeout=60) as response:
            found: dict[str, Any] = json.load(response)
            return found


def peer_fact(name: str, url: str, gateway: str, **more: Any) -> PeerFact:
    """An agent that can be called: its card as the control plane would publish it, but for the signature."""
    interfaces = [
        {"url": f"{gateway}/a2a/{name}", "protocolBinding": binding, "protocolVersion": "1.0"}
        for binding in ("JSONRPC", "HTTP+JSON")
    ]
    card = {
        "name": name,
        "description": "An agent of the tests",
        "version": "1",
        "supportedInterfaces": interfaces,
        "capabilities": {"streaming": True, "pushNotifications": True, "extendedAgentCard": True},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "talk", "name": "Talk", "description": "Talks", "tags": ["test"]}],
    }
    fact = PeerFact("default", name, f"{url}/", f"{url}/rest", card=json.dumps(card))
    return replace(fact, **more)


@dataclass
class House:
    """A gateway with the agents around it."""

    folder: Path
    control: ControlSim
    gateway: GatewayProcess
    agents: dict[str, AgentProcess]
    since: str = ""

    def publish(self, name: str, *grants: PeerGrant, **more: Any) -> None:
        """Publishes an agent that may call those of ``grants``."""
        tools = more.pop("tools", ())
        breaker = more.pop("breaker", BreakerFact(threshold=1000))
        fact: AgentFact = agent_fact("http://127.0.0.1:9/v1", ("m",), name=name, tools=tools, breaker=breaker)
        self.control.agent(replace(fact, agents=grants, **more))
        self.settle()

    def peer(self, fact: PeerFact) -> None:
        """Publishes somebody to call."""
        self.control.change(peers={**self.control.snapshot.peers, f"default/{fact.name}": fact})
        self.settle()

    def settle(self) -> None:
        """Returns when the gateway has the newest facts."""
        end = time.monotonic() + 60
        while not self.gateway.acts_on(self.control.snapshot.version):
            assert time.monotonic() < end, "the gateway did not get the newest facts"
            time.sleep(0.005)

    def http(self, agent: str = "asker", headers: dict[str, str] | None = None, **token: Any) -> httpx.AsyncClient:
        """An HTTP client of an agent, with its token."""
        bearer = f"Bearer {self.control.token(agent, **token)}"
        sent = {"authorization": bearer, "a2a-version": "1.0", **(headers or {})}
        return httpx.AsyncClient(base_url=self.gateway.url, headers=sent, timeout=30, trust_env=False)

    def calls(self, count: int = 1, agent: str | None = None) -> list[dict[str, Any]]:
        """The call Events (of an agent), when there are ``count`` of them."""

        def found(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
            mine = [e for e in events if e["time"] >= self.since and agent in (None, e["agent"])]
            calls = [e for e in mine if e["type"].startswith("call.")]
            return calls if len(calls) >= count else []

        result: list[dict[str, Any]] = self.control.wait(found)
        return result

    def ended(self, name: str) -> None:
        """Returns when no stream of an agent is open any more."""
        end = time.monotonic() + 60
        while self.agents[name].seen()["streams"]:
            assert time.monotonic() < end, "a stream is still open"
            time.sleep(0.02)

    def run(self, doing: Callable[[Client, httpx.AsyncClient], Awaitable[T]], peer: str = "helper", **more: Any) -> T:
        """What ``doing`` returns with the SDK's own client of ``peer``, made from the gateway's address alone.
        ``binding``: JSONRPC or HTTP+JSON; ``streaming``; ``headers`` and token of the agent."""
        binding, streaming = more.pop("binding", "JSONRPC"), more.pop("streaming", False)

        async def whole() -> T:
            async with self.http(**more) as http:
                config = ClientConfig(
                    httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding], polling=False
                )
                client = await ClientFactory(config).create_from_url(f"{self.gateway.url}/a2a/{peer}")
                return await doing(client, http)

        return asyncio.run(whole())

    def say(self, text: str, peer: str = "helper", **more: Any) -> str:
        """What ``peer`` answers to one message."""

        async def doing(client: Client, _: httpx.AsyncClient) -> str:
            events = [event async for event in client.send_message(message(text))]
            return "".join(get_stream_response_text(event) for event in events)

        return self.run(doing, peer, **more)


def message(text: str) -> SendMessageRequest:
    """One message of a user."""
    return SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("a2a")
    control = ControlSim(folder, POLICIES)
    control.__enter__()
    port = free_port()
    gateway = GatewayProcess(folder, control.port, gateway_port=port)
    agents = {}
    for name in NAMES:
        env = {"TENURE_TOKEN": control.token(name), "TENURE_GATEWAY": gateway.url}
        agents[name] = AgentProcess(name, free_port(), env, folder / f"{name}.log")
    yield House(folder, control, gateway, agents)
    for agent in agents.values():
        agent.stop()
    gateway.stop()
    control.__exit__()


@pytest.fixture
def house(_running: House) -> House:
    """The house, as it was built: asker may call helper, and helper third."""
    house = _running
    house.since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    gateway = house.gateway.url
    peers = {f"default/{name}": peer_fact(name, agent.url, gateway) for name, agent in house.agents.items()}
    house.control.reset()
    house.control.change(peers=peers, secrets={"01": "k" * 43})
    house.publish("asker", PeerGrant("helper"))
    house.publish("helper", PeerGrant("third"), tools=(ToolFact("crm", "read"), ToolFact("crm", "write")))
    house.publish("third")
    return house
