"""What is found in messages between agents: taken out on the way, and decided on when it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from a2a.client import A2AClientError, Client

from tenure.kernel.snapshot import PeerGrant
from tests.gateway_a2a.conftest import POLICIES, House, message
from tests.sim import outputs

CARD = "4111 1111 1111 1111"
RULES = """
@id("redact-cards")
@obligation("redact")
permit (principal, action == Action::"call_agent", resource)
when { context.findings.contains("personal") };
@id("no-keys-back")
@reason("Keys do not come back from other agents.")
forbid (principal, action == Action::"call_agent", resource)
when { context.returned.contains("secret") };
"""


@pytest.fixture
def ruled(house: House) -> Iterator[House]:
    house.control.policies((*POLICIES, ("findings.cedar", RULES)))
    house.settle()
    yield house
    house.control.policies(POLICIES)
    house.settle()


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
def test_what_policy_redacts_does_not_reach_the_other_agent(ruled: House, binding: str) -> None:
    said = ruled.say("echo pay with " + CARD, binding=binding)
    assert CARD not in said
    assert "[redacted:" in said


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.asi("ASI06", "What other agents say is looked at before it enters the context")
def test_an_answer_that_policy_forbids_is_withheld(ruled: House, streaming: bool) -> None:
    key = "AKIA" + "IOSFODNN7" + "EXAMPLQ"

    async def doing(client: Client, _: httpx.AsyncClient) -> list[Any]:
        with pytest.raises(A2AClientError, match="Keys do not come back"):
            return [event async for event in client.send_message(message(f"task {key[:4]}{key[4:]}"))]
        return []

    ruled.run(doing, streaming=streaming)
    event = ruled.calls()[-1]
    assert event["type"] == "call.completed"
    assert event["data"]["error.type"] == "answer_withheld"


@pytest.mark.req("R092", "R094")
@pytest.mark.asi("ASI06", "What comes back is redacted or withheld by who is there to see it")
def test_what_another_agent_says_is_redacted_or_withheld_by_who_stands_behind_the_call(house: House) -> None:
    house.control.policies((*POLICIES, ("outputs.cedar", outputs.rules("call_agent"))))
    house.publish("boss", PeerGrant("asker"))

    def met(who: dict[str, Any]) -> str:
        try:
            said = house.say(f"echo {CARD[:4]}{CARD[4:]}", **who)
        except A2AClientError as refused:
            return "shown in the refusal" if CARD in str(refused) else "withheld"
        assert (CARD in said) != ("[redacted:" in said), said
        return "whole" if CARD in said else "redacted"

    assert {tier: met(who) for tier, who in outputs.TIERS.items()} == outputs.COMES_TO
    house.control.policies(POLICIES)
    house.settle()


@pytest.mark.req("R053")
@pytest.mark.parametrize("streaming", [False, True])
def test_what_another_agent_answered_is_known_in_the_session(house: House, streaming: bool) -> None:
    rule = """@id("one-round") @reason("An agent was heard.")
    forbid (principal, action == Action::"call_agent", resource) when { context.provenance.contains("agent") };"""
    house.control.policies((*POLICIES, ("met.cedar", rule)))
    house.settle()

    async def doing(client: Client, _: httpx.AsyncClient) -> list[Any]:
        said = [event async for event in client.send_message(message("echo one"))]
        with pytest.raises(A2AClientError, match="An agent was heard"):
            return [event async for event in client.send_message(message("echo two"))]
        return said

    house.run(doing, streaming=streaming, session=f"met-{streaming}")
    house.control.policies(POLICIES)
    house.settle()
