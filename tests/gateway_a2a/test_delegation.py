"""Work handed on from agent to agent: the chain is carried, narrowed, bound, and ends with what it stands on."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tenure.gateway.delegation import HEADER, hand_over
from tenure.gateway.keyring import Keyring
from tenure.kernel.snapshot import PeerGrant, ToolFact
from tenure.kernel.values import Call, CallKind, LifecycleState, Principal
from tests.gateway_a2a.conftest import House, peer_fact

CRM = (ToolFact("crm", "read"), ToolFact("crm", "write"))


def handed(house: House, *, text: str = "headers", peer: str = "helper", **token: Any) -> dict[str, str]:
    """The headers with which a message reached ``peer``."""
    found: dict[str, str] = json.loads(house.say(text, peer, **token))
    return found


def call_tool(house: House, agent: str, name: str, headers: dict[str, str], **token: Any) -> httpx.Response:
    """A tool call of ``agent``, with what it was handed."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}

    async def doing() -> httpx.Response:
        async with house.http(agent, {"accept": "application/json", **headers}, **token) as http:
            return await http.post("/mcp", json=body)

    return asyncio.run(doing())


def own(house: House, principal: Principal, grant: PeerGrant, ttl_s: float = 60.0) -> str:
    """A statement as a gateway of this installation makes it."""
    call = Call("c" * 32, CallKind.AGENT, grant.name, {}, "a" * 32, "b" * 16)
    return hand_over(Keyring(house.control.snapshot.secrets), principal, grant, call, time.time() + ttl_s)


def asker(**more: Any) -> Principal:
    return Principal("default", "asker", "sha256:r1", "i1", "s1", 1, **more)


@pytest.mark.req("R085")
@pytest.mark.twin("ASI03")
def test_a_chain_of_three_is_one_causal_chain(house: House) -> None:
    assert house.say("ask third: echo deep", on_behalf_of="ada@example.com") == "deep"
    first, second = sorted(house.calls(2), key=lambda event: event["time"])
    assert (first["agent"], second["agent"]) == ("asker", "helper")
    # The caller's span is the parent of what the called agent does, in one trace.
    assert second["trace_id"] == first["trace_id"]
    assert second["parent_span_id"] == first["span_id"]
    data = second["data"]
    assert data["tenure.chain"] == ["asker", "helper"]
    assert data["tenure.chain.task"] == first["id"]
    assert data["tenure.chain.handed_by"] == f"00-{first['trace_id']}-{first['span_id']}-01"
    assert data["enduser.id"] == first["data"]["enduser.id"] == "ada@example.com"
    assert data["tenure.scope"] == ["tool:crm/read", "tool:crm/write", "agent:third", "model:m"]
    assert (first["data"]["tenure.chain"], first["data"]["tenure.scope"]) == (["asker"], ["agent:helper", "model:m"])
    assert "tenure.chain.task" not in first["data"], "it was given no task"


def test_without_a_traceparent_the_statement_joins_the_traces(house: House) -> None:
    given = handed(house)
    call_tool(house, "helper", "crm__read", {HEADER: given[HEADER]})
    first, second = house.calls(2)
    assert (second["trace_id"], second["parent_span_id"]) == (first["trace_id"], first["span_id"])


def test_a_trace_of_its_own_is_linked(house: House) -> None:
    given = handed(house)
    call_tool(house, "helper", "crm__read", {HEADER: given[HEADER], "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})
    first, second = house.calls(2)
    assert second["trace_id"] == "1" * 32
    [link] = second["data"]["otlp.links"]
    assert (link["trace_id"], link["span_id"]) == (first["trace_id"], first["span_id"])


@pytest.mark.req("R035")
def test_a_tool_outside_the_bound_is_denied(house: House) -> None:
    house.publish("asker", PeerGrant("helper", tools=("crm/r*",)))
    given = {HEADER: handed(house)[HEADER]}
    denied = call_tool(house, "helper", "crm__write", given).json()
    assert "works for asker here" in json.dumps(denied)
    event = house.calls(2)[-1]
    assert event["type"] == "call.refused"
    assert event["data"]["tenure.decision"]["policies"] == ["system/delegation"]
    assert event["data"]["tenure.scope"] == ["tool:crm/read", "agent:third", "model:m"]
    # Inside the bound, and without a delegation, the agent's own grants count.
    call_tool(house, "helper", "crm__read", given)
    call_tool(house, "helper", "crm__write", {})
    assert [event["type"] for event in house.calls(4)[2:]] == ["call.completed", "call.completed"]


@pytest.mark.req("R035")
@pytest.mark.asi("ASI03", "Whoever hands work on can only narrow what it may do")
def test_bounds_add_up_along_the_chain_and_agents_are_bounded_too(house: House) -> None:
    house.publish("third", tools=CRM)
    house.publish("asker", PeerGrant("helper", tools=("crm/*",)))
    house.publish("helper", PeerGrant("third", tools=("crm/read",)), tools=CRM)
    through = handed(house, text="ask third: headers")
    third = {HEADER: json.loads(json.dumps(through))[HEADER]}
    assert "works for helper by way of asker" not in call_tool(house, "third", "crm__read", third).text
    assert "works for helper by way of asker" in call_tool(house, "third", "crm__write", third).text
    house.publish("asker", PeerGrant("helper", agents=("-",)))
    assert "works for asker here, and that does not cover third" in house.say("ask third: echo x")


def test_a_policy_reads_the_chain(house: House) -> None:
    house.publish("helper", PeerGrant("third"), PeerGrant("forbidden"))
    house.peer(peer_fact("forbidden", house.agents["third"].url, house.gateway.url))
    assert "Nobody works for the asker" in house.say("ask forbidden: echo x")


@pytest.mark.parametrize("wire", ["/mcp", "/v1/chat/completions", "/a2a/third"])
@pytest.mark.asi("ASI03", "What was handed to one agent is of no use to another")
def test_a_stolen_delegation_is_refused_on_every_wire(house: House, wire: str) -> None:
    given = {HEADER: handed(house)[HEADER]}

    async def doing() -> httpx.Response:
        async with house.http("third", given, instance=f"thief{wire}") as http:
            return await http.post(wire, json={"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}})

    answer = asyncio.run(doing())
    assert answer.status_code == 403
    assert "made for agent helper, not for third" in answer.text
    event = house.calls(1, "third")[-1]
    assert event["type"] == "call.refused"
    assert event["data"]["tenure.decision"]["policies"] == ["system/delegation-ended"]


@pytest.mark.asi("ASI07", "What one agent hands to another is signed, and refused when forged or expired")
def test_what_is_expired_forged_or_over_is_refused(house: House) -> None:
    grant = PeerGrant("helper")
    good = own(house, asker(), grant)
    head, payload, signature = good.split(".")
    foreign = Keyring({"01": "z" * 43})
    call = Call("c" * 32, CallKind.AGENT, "helper", {}, "a" * 32, "b" * 16)
    refused = {
        "expired": (own(house, asker(), grant, ttl_s=-1), "has expired"),
        "changed": (f"{head}.{payload[:-2]}AA.{signature}", "not made by this installation"),
        "forged": (hand_over(foreign, asker(), grant, call, time.time() + 60), "not made by this installation"),
        "junk": ("x" * 9000, "not made by this installation"),
        "epoch": (own(house, replace(asker(), credential_epoch=0), grant), "was revoked"),
        "unknown": (own(house, replace(asker(), agent="nobody"), grant), "is unknown"),
    }
    for token, why in refused.values():
        answer = call_tool(house, "helper", "crm__read", {HEADER: token})
        assert (answer.status_code, why in answer.text) == (401, True), answer.text
    assert call_tool(house, "helper", "crm__read", {HEADER: good}).status_code == 200


@pytest.mark.asi("ASI08", "Work ends with the agent that handed it on")
def test_a_delegation_ends_with_the_agent_that_made_it(house: House) -> None:
    given = {HEADER: handed(house)[HEADER]}
    assert call_tool(house, "helper", "crm__read", given).status_code == 200
    fact = house.control.snapshot.agents["default/asker"]
    house.control.agent(replace(fact, state=LifecycleState.SUSPENDED))
    house.settle()
    answer = call_tool(house, "helper", "crm__read", given)
    assert (answer.status_code, "is suspended" in answer.text) == (401, True)


@pytest.mark.asi("ASI08", "Chains have a greatest length")
def test_work_is_handed_on_so_many_times_and_no_more(house: House) -> None:
    house.publish("helper", PeerGrant("third"), PeerGrant("asker"))
    house.publish("third")
    chain = ("asker", "helper", "asker", "helper")  # a loop is nothing but a longer chain
    worker = replace(asker(), chain=chain, chain_epochs=(1,) * 4)

    def ask(principal: Principal) -> str:
        token = own(house, principal, PeerGrant("helper"))

        async def doing() -> str:
            async with house.http("helper", {HEADER: token}) as http:
                params = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "echo hi"}]}}
                body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
                return (await http.post("/a2a/third", json=body)).text

        return asyncio.run(doing())

    assert "handed on 5 times already" in ask(worker)
    assert '"hi"' in ask(replace(worker, chain=chain[:3], chain_epochs=(1,) * 3))


def test_an_agent_elsewhere_is_handed_no_statement(house: House) -> None:
    house.peer(replace(house.control.snapshot.peers["default/helper"], governed=False))
    given = handed(house)
    assert HEADER not in given
    assert "traceparent" in given
