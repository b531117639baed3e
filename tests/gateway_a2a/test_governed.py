"""Calls of other agents are decided as every other call: denied, held, approved, stopped."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from a2a.client import A2AClientError, Client
from a2a.types import CancelTaskRequest, GetTaskRequest

from tenure.kernel.snapshot import BreakerFact, PeerGrant
from tenure.kernel.values import Autonomy, LifecycleState
from tests.gateway_a2a.conftest import House, message

BINDINGS = pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])


async def one(client: Client, text: str) -> list[Any]:
    return [event async for event in client.send_message(message(text))]


@BINDINGS
def test_an_agent_that_was_not_granted_is_not_called(house: House, binding: str) -> None:
    house.publish("asker", PeerGrant("helper"), PeerGrant("third"))

    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        house.publish("asker", PeerGrant("helper"))  # between the card and the call
        with pytest.raises(A2AClientError, match=r"not granted the agent third|403"):
            await one(client, "echo hello")

    before = house.agents["third"].seen()["requests"]
    house.run(doing, "third", binding=binding)
    [event] = house.calls()
    assert event["type"] == "call.refused"
    assert event["status"] == "violation"
    assert event["data"]["tenure.decision"]["policies"] == ["system/grant"]
    assert house.agents["third"].seen()["requests"] == before


def test_a_policy_reads_what_is_said(house: House) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        with pytest.raises(A2AClientError, match="Secrets are not told to other agents"):
            await one(client, "echo the secret is 42")

    house.run(doing)
    [event] = house.calls()
    assert event["data"]["tenure.decision"]["policies"] == ["no-secrets"]


def test_a_call_is_held_approved_and_used_once(house: House) -> None:
    house.publish("asker", PeerGrant("helper", Autonomy.APPROVE), hold_timeout_s=0.0)

    async def doing(client: Client, _: httpx.AsyncClient) -> list[Any]:
        with pytest.raises(A2AClientError, match="waits as approval"):
            await one(client, "task approved work")
        asked = house.control.wait(lambda _: house.control.of_type("approval.requested"))[-1]["data"]
        house.control.wait(lambda _: asked["approval_id"] in house.control.snapshot.approvals)
        house.control.approval(asked["approval_id"], "granted", decided_by="person:ada@example.com")
        house.settle()
        house.publish("asker", PeerGrant("helper", Autonomy.APPROVE), hold_timeout_s=10.0)
        events = await one(client, "task approved work")
        # What follows the approved message needs no word of its own.
        found = await client.get_task(GetTaskRequest(id=events[-1].task.id))
        return [asked, found]

    asked, found = house.run(doing)
    assert asked["arguments"]["text"] == "task approved work"  # the approver reads what would be said
    assert found.artifacts[0].parts[0].text == "approved work"
    done = [event for event in house.calls(3) if event["data"]["a2a.method"] == "message/send"]
    assert [event["type"] for event in done] == ["call.refused", "call.completed"]
    assert done[1]["data"]["tenure.approval.id"] == asked["approval_id"]


def test_the_breaker_trips_and_stops_calls_of_agents_too(house: House) -> None:
    house.publish("hasty", PeerGrant("helper"), breaker=BreakerFact(threshold=2))

    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        for _n in range(2):
            with pytest.raises(A2AClientError, match="Secrets"):
                await one(client, "echo secret")
        with pytest.raises(A2AClientError, match="breaker"):
            await one(client, "echo hello")

    house.run(doing, agent="hasty")
    house.control.wait(lambda _: house.control.of_type("breaker.tripped"))


@BINDINGS
def test_a_stream_is_cut_when_its_agent_is_suspended(house: House, binding: str) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        stream = client.send_message(message("wait"))
        await anext(aiter(stream))
        fact = house.control.snapshot.agents["default/asker"]
        house.control.agent(replace(fact, state=LifecycleState.SUSPENDED, credential_epoch=2))
        with pytest.raises(Exception, match=r"suspended|peer closed"):
            async for _event in stream:
                pass

    house.run(doing, binding=binding, streaming=True)
    [event] = house.calls()
    assert event["data"]["error.type"] == "stopped"


def test_a_stream_is_cut_when_the_agent_that_answers_is_taken_out_of_service(house: House) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        stream = client.send_message(message("wait"))
        await anext(aiter(stream))
        kept = {key: fact for key, fact in house.control.snapshot.peers.items() if key != "default/helper"}
        house.control.change(peers=kept)
        with pytest.raises(Exception, match=r"not in service|peer closed"):
            async for _event in stream:
                pass
        with pytest.raises(A2AClientError, match="cannot be called now"):
            await one(client, "echo hello")

    house.run(doing, streaming=True)
    kinds = {event["data"]["error.type"] for event in house.calls(2)}
    assert kinds == {"unavailable", "peer_unavailable"}


def test_cancelling_reaches_the_peer(house: House) -> None:
    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        stream = client.send_message(message("wait"))
        first = await anext(aiter(stream))
        await client.cancel_task(CancelTaskRequest(id=first.task.id))

    before = house.agents["helper"].seen()["cancelled"]
    house.run(doing, streaming=True)
    assert house.agents["helper"].seen()["cancelled"] == before + 1


def test_a_request_that_is_given_up_while_it_is_held_is_recorded(house: House) -> None:
    house.publish("asker", PeerGrant("helper", Autonomy.APPROVE), hold_timeout_s=20.0)

    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await one(client, "echo never")

    begun = time.monotonic()
    house.run(doing)
    assert time.monotonic() - begun < 10
    [event] = house.calls()
    assert event["data"]["error.type"] == "client_disconnected"


@pytest.mark.req("R060")
def test_the_levels_hold_for_calls_of_agents(house: House) -> None:
    house.publish("asker", PeerGrant("helper", Autonomy.NOTIFY))
    assert house.say("echo told") == "told"
    house.publish("asker", PeerGrant("helper", Autonomy.HUMAN_ONLY))
    before = house.agents["helper"].seen()["requests"]

    async def doing(client: Client, _: httpx.AsyncClient) -> None:
        with pytest.raises(A2AClientError, match="Only a person may do this"):
            await one(client, "echo never")

    house.run(doing)
    told, refused = house.calls(2)
    assert (told["status"], told["data"]["tenure.decision"]["obligations"]) == ("flagged", ["notify"])
    assert refused["data"]["tenure.decision"]["policies"] == ["system/human-only"]
    assert house.agents["helper"].seen()["requests"] == before


@pytest.mark.req("R062")
@pytest.mark.parametrize(("binding", "streaming"), [("JSONRPC", False), ("JSONRPC", True), ("HTTP+JSON", False)])
def test_a_drafted_message_is_answered_as_not_done_and_does_not_arrive(
    house: House, binding: str, streaming: bool
) -> None:
    house.publish("asker", PeerGrant("helper", mode="draft"))
    before = house.agents["helper"].seen()
    assert house.say("echo hello", binding=binding, streaming=streaming).startswith("Drafted, not done")
    assert house.agents["helper"].seen() == before
    event = house.calls(1, "asker")[-1]
    assert (event["type"], event["data"]["tenure.mode"]) == ("call.refused", "draft")
