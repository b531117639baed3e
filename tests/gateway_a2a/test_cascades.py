"""An agent that is stopped stops no other: three in a row, of which the last goes wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from a2a.client import A2AClientError, Client

from tenure.kernel.snapshot import BreakerFact, PeerGrant
from tenure.kernel.values import LifecycleState
from tests.gateway_a2a.conftest import House, message

TRIPPED = BreakerFact(tripped=True, reason="5 violations in 300 s")


def refusal(house: House, peer: str, agent: str) -> str:
    """What an agent is told that calls another."""

    async def doing(client: Client, _: object) -> str:
        with pytest.raises(A2AClientError) as refused:
            async for _event in client.send_message(message("echo hello")):
                pass
        return str(refused.value)

    return house.run(doing, peer, agent=agent)


@pytest.mark.req("R208")
def test_a_wrong_action_does_not_go_up_a_row_of_three_agents(house: House) -> None:
    """asker calls helper, and helper third, whose breaker has tripped."""
    house.publish("helper", PeerGrant("third"), breaker=BreakerFact(threshold=1))
    house.publish("third", breaker=TRIPPED)
    for _ in range(3):
        told = refusal(house, "third", "helper")
        assert "Agent third is stopped: its breaker is tripped (5 violations in 300 s)" in told
    events = house.calls(3, agent="helper")
    assert {tuple(one["data"]["tenure.decision"]["policies"]) for one in events} == {("system/dependency",)}
    assert not any(one["data"].get("tenure.violation") for one in events), "it is not the helper's conduct"
    assert "hello" in house.say("echo hello", "helper", agent="asker")
    assert house.control.of_type("breaker.tripped") == [] or all(
        one["agent"] != "helper" for one in house.control.of_type("breaker.tripped")
    )
    house.publish("third")
    assert "hello" in house.say("echo hello", "third", agent="helper")


@pytest.mark.req("R208")
def test_a_suspended_agent_is_named_to_those_who_call_it(house: House) -> None:
    fact = house.control.snapshot.agents["default/helper"]
    house.control.agent(replace(fact, state=LifecycleState.SUSPENDED, credential_epoch=2))
    house.settle()
    assert "Agent helper is suspended" in refusal(house, "helper", "asker")


@pytest.mark.req("R208")
@pytest.mark.parametrize("mode", ["tell", "allow"])
def test_a_manifest_may_let_calls_of_a_stopped_agent_pass(house: House, mode: str) -> None:
    house.publish("helper", breaker=TRIPPED, dependants=mode)
    assert "hello" in house.say("echo hello", "helper", agent="asker")


@pytest.mark.req("R208")
def test_a_stream_of_an_agent_ends_when_it_is_stopped(house: House) -> None:
    async def doing(client: Client, _: object) -> None:
        stream = client.send_message(message("wait"))
        await anext(aiter(stream))
        fact = house.control.snapshot.agents["default/helper"]
        house.control.agent(replace(fact, breaker=TRIPPED))
        with pytest.raises(Exception, match=r"is stopped|peer closed"):
            async for _event in stream:
                pass

    house.run(doing, streaming=True)
    [event] = house.calls()
    assert event["data"]["error.type"] == "stopped"
