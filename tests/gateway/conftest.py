"""A running gateway: real processes for it and for the model provider, a control plane in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
import pytest

from tenure.kernel.snapshot import ModelFact
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, ProviderProcess, agent_fact, default_policies
from tests.sim.model_clients import CLIENTS

MODELS = (
    *("echo", "tool", "slow", "half", "hang", "reset", "garbage", "junk", "error-500", "error-429", "redirect"),
    *("forbidden", "held", "wait-20", "wait-200", "flaky", "error-400"),
)
RULES = """
@id("no-forbidden")
@reason("This model is not for letters.")
forbid (principal, action == Action::"call_model", resource == Model::"forbidden");
@id("ask-first")
@obligation("approve")
@reason("This model needs a person's word.")
forbid (principal, action == Action::"call_model", resource == Model::"held")
unless { context.approved };
"""
POLICIES = (*default_policies(), ("tests.cedar", RULES))


@dataclass
class House:
    """A gateway with what is around it."""

    folder: Path
    control: ControlSim
    provider: ProviderProcess
    gateway: GatewayProcess
    settings: dict[str, Any]
    clients: list[openai.OpenAI] = field(default_factory=list)
    since: str = ""

    def client(self, agent: str = "clerk", *, retries: int = 0, **token: Any) -> openai.OpenAI:
        """The real SDK, as the agent uses it."""
        key = self.control.token(agent, **token)
        client = openai.OpenAI(base_url=f"{self.gateway.url}/v1", api_key=key, max_retries=retries, timeout=30)
        self.clients.append(client)
        return client

    def publish(self, **more: Any) -> None:
        """Publishes the agent "clerk", or another by ``name``."""
        self.control.agent(agent_fact(self.provider.url, MODELS, **more))
        self.settle()

    def publish_models(self, *facts: ModelFact) -> None:
        """Publishes the agent "clerk" with these models."""
        self.control.agent(replace(agent_fact(self.provider.url, ()), models=facts))
        self.settle()

    def settle(self) -> None:
        """Returns when the gateway has the newest facts."""
        end = time.monotonic() + 60
        while not self.gateway.acts_on(self.control.snapshot.version):
            assert time.monotonic() < end, "the gateway did not get the newest facts"
            time.sleep(0.005)

    def restart(self, **settings: Any) -> None:
        """Another gateway process on the same folder."""
        self.gateway.stop()
        self.gateway = GatewayProcess(self.folder, self.control.port, **{**self.settings, **settings})

    def calls(self, count: int = 1) -> list[dict[str, Any]]:
        """The call Events of this test, when there are ``count`` of them."""

        def found(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
            calls = [one for one in events if one["type"].startswith("call.") and one["time"] >= self.since]
            return calls if len(calls) >= count else []

        result: list[dict[str, Any]] = self.control.wait(found)
        return result


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderProcess]:
    """One model provider for all tests."""
    with ProviderProcess() as process:
        yield process


@contextmanager
def housed(folder: Path, provider: ProviderProcess, *, max_age_s: float = 15.0, **settings: Any) -> Iterator[House]:
    """A House in ``folder``; settings of the gateway by name, ``max_age_s`` of the Snapshot."""
    with ControlSim(folder, POLICIES, max_age_s=max_age_s) as control:
        house = House(folder, control, provider, GatewayProcess(folder, control.port, **settings), settings)
        try:
            house.publish()
            yield house
        finally:
            for client in house.clients:
                client.close()
            house.gateway.stop()


@pytest.fixture
def build(tmp_path: Path, provider: ProviderProcess) -> Iterator[Callable[..., House]]:
    """Builds a House, as ``housed`` does."""
    with ExitStack() as stack:
        yield lambda **more: stack.enter_context(housed(tmp_path, provider, **more))


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    """A House with nothing special about it."""
    return build()


@pytest.fixture(scope="module")
def _standing(tmp_path_factory: pytest.TempPathFactory, provider: ProviderProcess) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("house"), provider) as house:
        yield house


@pytest.fixture
def shared_house(_standing: House) -> Iterator[House]:
    """The one House of a file whose tests leave no trace in a gateway but the Events of their calls: its facts are the
    first ones again, and ``calls`` are those of this test."""
    house = _standing
    house.since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    house.control.reset()
    house.publish()
    yield house
    while house.clients:
        house.clients.pop().close()


@pytest.fixture(params=CLIENTS, ids=lambda kind: kind.__name__)
def kind(request: Any) -> Any:
    """Each of the three clients."""
    return request.param


@pytest.fixture
def connect(house: Any) -> Iterator[Callable[..., Any]]:
    """Makes a client of the house's agent."""
    clients: list[Any] = []

    def make(kind: Any, retries: int = 0) -> Any:
        client = kind(house.gateway.url, house.control.token("clerk"), retries)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
