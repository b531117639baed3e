"""The levels of oversight hold for tools that run in the agent's own process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tenure.kernel.snapshot import ServerFact, ToolFact
from tenure.kernel.values import Autonomy
from tenure.sdk import Denied, Door, Drafted, Held
from tests.sim.control import ControlSim
from tests.sim.gateway import GatewayProcess, agent_fact, default_policies


class Site:
    """A gateway, and an agent with one tool of its own process."""

    def __init__(self, folder: Path, control: ControlSim, gateway: GatewayProcess) -> None:
        self.control = control
        self._gateway = gateway
        self.door = Door(gateway.url, control.token("clerk"), folder=folder / "client")

    def on(self, tool: ToolFact) -> None:
        """Publishes the agent with the tool, and returns when the gateway knows it."""
        fact = replace(agent_fact("http://127.0.0.1:1/v1", (), tools=(tool,)), hold_timeout_s=0.0)
        self.control.agent(replace(fact, servers=(ServerFact("local", in_process=True),)))
        end = time.monotonic() + 60
        while not self._gateway.acts_on(self.control.snapshot.version):
            assert time.monotonic() < end
            time.sleep(0.005)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ControlSim(tmp_path / "g", default_policies()) as control:
        gateway = GatewayProcess(tmp_path / "g", control.port)
        yield Site(tmp_path, control, gateway)
        gateway.stop()


@pytest.mark.req("R060", "R067")
def test_the_levels_hold_for_tools_of_the_agents_own_process(site: Site) -> None:
    tool = ToolFact("local", "refund")
    site.on(replace(tool, autonomy=Autonomy.NOTIFY))
    assert site.door.run("local/refund", {"amount": 1}, lambda _: "paid") == "paid"
    site.on(replace(tool, autonomy=Autonomy.APPROVE))
    with pytest.raises(Held):
        site.door.decide("local/refund", {"amount": 2})
    site.on(replace(tool, autonomy=Autonomy.HUMAN_ONLY))
    with pytest.raises(Denied, match="Only a person may do this"):
        site.door.decide("local/refund", {"amount": 3})

    site.on(replace(tool, mode="draft"))
    with pytest.raises(Drafted, match="Drafted, not done") as drafted:
        site.door.decide("local/refund", {"amount": 9})
    assert drafted.value.ruling.mode == "draft"
    site.on(replace(tool, mode="draft", reads=True))
    assert site.door.run("local/refund", {"amount": 1}, lambda _: "looked") == "looked"
    site.on(replace(tool, ask_below=70))
    with pytest.raises(Held, match="40 % sure"):
        site.door.decide("local/refund", {"amount": 4}, confidence=0.4)

    @site.door.governed(
        "local/refund", reason="as agreed", confidence=lambda _tool, given: 0.9 if given["amount"] < 10 else 0.2
    )
    def refund(amount: int) -> str:
        return f"paid {amount}"

    assert refund(5) == "paid 5"
    with pytest.raises(Held, match="20 % sure"):
        refund(50)

    def calls(events: list[dict[str, object]]) -> list[dict[str, object]]:
        found = [event for event in events if str(event["type"]).startswith("call.")]
        return found if len(found) >= 8 else []

    told, held, refused, drafted_call, _, unsure, sure, not_sure = site.control.wait(calls, 60)
    assert told["data"]["tenure.decision"]["obligations"] == ["notify"]
    assert held["data"]["tenure.decision"]["policies"] == ["system/approve"]
    assert (refused["status"], refused["data"]["tenure.violation"]) == ("flagged", False)
    assert (drafted_call["type"], drafted_call["data"]["tenure.mode"]) == ("call.refused", "draft")
    assert (unsure["data"]["tenure.confidence"], unsure["data"]["tenure.decision"]["effect"]) == (40, "hold")
    assert (sure["data"]["tenure.confidence"], sure["data"]["tenure.justification"]) == (90, "as agreed")
    assert (not_sure["data"]["tenure.confidence"], not_sure["data"]["tenure.justification"]) == (20, "as agreed")
