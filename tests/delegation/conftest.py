"""A control plane with three agents that may hand work on, and the token endpoint as any client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.processes import free_port
from tenure.base import events
from tenure.identity.model import AUDIENCE, verify
from tenure.kernel.values import Event, Principal
from tests.sim.console import Console, running
from tests.sim.tenants import until

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
OPERATOR = "operator@localhost"


def spiffe(agent: str) -> str:
    """An agent's client id."""
    return f"spiffe://tenure/default/agent/{agent}"


@dataclass
class Offices:
    """The control plane. ``folder`` is its data."""

    console: Console
    folder: Path

    def started(self, agent: str, **how: Any) -> str:
        """The token of a new instance of an agent."""
        return str(self.console.client.post(f"/v1/agents/{agent}/instances", dict, how)["token"])

    @property
    def operator(self) -> str:
        """A person's token."""
        return (self.folder / "operator.token").read_text().strip()

    def ask(self, **form: Any) -> httpx2.Response:
        """One request to the token endpoint."""
        fields = {name: value for name, value in form.items() if value is not None}
        return httpx2.post(f"{self.console.url}/oauth/token", data=fields, trust_env=False)

    def exchange(self, agent: str, actor: str, subject: str, **more: Any) -> httpx2.Response:
        """The exchange of ``subject`` for a token of ``agent``, which shows ``actor``."""
        form = {
            "grant_type": EXCHANGE,
            "client_id": spiffe(agent),
            "actor_token": actor,
            "actor_token_type": ACCESS_TOKEN,
            "subject_token": subject,
            "subject_token_type": ACCESS_TOKEN,
        }
        return self.ask(**(form | more))

    def exchanged(self, agent: str, actor: str, subject: str, **more: Any) -> str:
        """The token that comes of an exchange."""
        answer = self.exchange(agent, actor, subject, **more)
        assert answer.status_code == 200, answer.text
        assert answer.json()["issued_token_type"] == ACCESS_TOKEN
        return str(answer.json()["access_token"])

    def read(self, token: str) -> Principal:
        """Who a token says its bearer is."""
        keys = {key["kid"]: key for key in self.console.client.get("/.well-known/jwks.json", dict)["keys"]}
        now = self.console.app.state.world.clock().timestamp()
        return verify(token, keys, self.console.url, AUDIENCE, now)

    def told(self, kind: str) -> list[Event]:
        """The Events of a kind so far, the newest last."""
        with self.console.app.state.world.read() as conn:
            return [one.event for one in events.read(conn, 0, 100_000) if one.event.type == kind]

    def refused(self, answer: httpx2.Response, error: str, why: str, agent: str | None = None) -> None:
        """Asserts that a request was refused for this reason, and that it is told (of ``agent``)."""
        assert (answer.status_code // 100, answer.json().get("error")) == (4, error), answer.text
        newest = until(lambda: [one for one in self.told("token.refused") if one.data["why"] == why])[-1]
        assert newest.data["error"] == error
        assert agent is None or newest.agent == agent


def _provisioned(console: Console, name: str) -> bool:
    return bool(console.client.get(f"/v1/agents/{name}", dict)["state"] == "provisioned")


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offices]:
    folder, port = tmp_path_factory.mktemp("offices"), free_port(0)
    with running(folder, port, control_port=port, delegation_depth=2) as console:
        console.register("third", "approved", agents=[])
        console.register("helper", "approved", agents=[{"name": "third"}])
        grants = [{"name": "helper", "tools": ["files/*"]}, {"name": "third", "autonomy": "approve"}]
        console.register("asker", "approved", agents=grants)
        console.register("boss", "approved", agents=[{"name": "asker"}])
        client = console.client
        for name in ("third", "helper", "asker", "boss"):
            until(partial(_provisioned, console, name))
            client.post(f"/v1/agents/{name}/transitions", dict, {"to": "staging", "reason": "a test asks"})
        yield Offices(console, folder)
