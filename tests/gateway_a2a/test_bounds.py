"""What a token and a person limit, at the gateway: on every wire, at the next call, and whatever is handed on."""

from __future__ import annotations

import asyncio
import concurrent.futures
from dataclasses import replace
from typing import Any

import httpx
import pytest
from a2a.client.errors import A2AClientError

from tenure.gateway.delegation import HEADER
from tenure.kernel.snapshot import AgentFact, BreakerFact, PeerGrant, PersonFact
from tests.gateway_a2a.conftest import POLICIES, House
from tests.gateway_a2a.test_delegation import CRM, asker, call_tool, handed, own
from tests.sim.gateway import agent_fact

ANN = "ann@example.com"


def _limited(house: House, *scopes: str, gone: bool = False) -> None:
    fact = PersonFact("default", ANN, scopes, gone)
    house.control.change(people={f"default/{ANN}": fact})
    house.settle()


def _model(house: House, **token: Any) -> httpx.Response:
    async def doing() -> httpx.Response:
        async with house.http("helper", **token) as http:
            return await http.post("/v1/chat/completions", json={"model": "m", "messages": []})

    return asyncio.run(doing())


@pytest.mark.req("R043")
def test_a_scope_taken_from_a_person_bites_at_the_next_call_of_every_agent(house: House) -> None:
    house.publish("third", tools=CRM)
    everything = ("tool:crm/*", "agent:*", "model:*")
    _limited(house, *everything)
    for agent in ("helper", "third"):
        assert "does not reach" not in call_tool(house, agent, "crm__write", {}, on_behalf_of=ANN).text
    _limited(house, "tool:crm/read", "agent:*", "model:*")
    for agent in ("helper", "third"):
        refused = call_tool(house, agent, "crm__write", {}, on_behalf_of=ANN).text
        assert f"{ANN} does not reach tool:crm/write" in refused
        event = house.calls(2, agent)[-1]
        assert event["data"]["tenure.decision"]["policies"] == ["system/person"]
        assert "tool:crm/read" in event["data"]["tenure.scope"]
        assert "tool:crm/write" not in event["data"]["tenure.scope"]
        assert event["data"]["tenure.violation"] is False, "one person's limits trip nobody's breaker"
        assert "does not reach" not in call_tool(house, agent, "crm__write", {}, on_behalf_of="bob@example.com").text
    house.control.change(people={})
    house.settle()
    assert "does not reach" not in call_tool(house, "helper", "crm__write", {}, on_behalf_of=ANN).text


@pytest.mark.req("R043")
def test_models_agents_and_classes_of_data_are_a_persons_too(house: House) -> None:
    _limited(house, "tool:*")
    assert "does not reach model:m" in _model(house, on_behalf_of=ANN).text
    with pytest.raises(A2AClientError, match="does not reach agent:helper"):
        house.say("echo x", on_behalf_of=ANN)
    house.publish("helper", tools=CRM, data_classes=("health",))
    assert "does not reach data:health" in call_tool(house, "helper", "crm__read", {}, on_behalf_of=ANN).text
    _limited(house, "tool:*", "data:health")
    assert "does not reach" not in call_tool(house, "helper", "crm__read", {}, on_behalf_of=ANN).text


def test_for_whoever_is_gone_nothing_is_done(house: House) -> None:
    _limited(house, "tool:*", gone=True)
    assert "has no place here any more" in call_tool(house, "helper", "crm__read", {}, on_behalf_of=ANN).text


@pytest.mark.req("R035")
def test_a_persons_limit_goes_with_the_work(house: House) -> None:
    _limited(house, "agent:*", "model:*", "tool:crm/read")
    given = {HEADER: handed(house, on_behalf_of=ANN)[HEADER]}
    refused = call_tool(house, "helper", "crm__write", given).text
    assert f"{ANN} does not reach tool:crm/write" in refused
    assert house.calls(2)[-1]["data"]["tenure.chain"] == ["asker", "helper"]


@pytest.mark.req("R043")
def test_a_token_for_a_task_reaches_no_further(house: House) -> None:
    task: dict[str, Any] = {"scopes": ("tool:crm/read",), "bounds": (("tool:crm/read",),), "task": "T-1"}
    assert "does not cover" not in call_tool(house, "helper", "crm__read", {}, **task).text
    assert "a task here that does not cover crm/write" in call_tool(house, "helper", "crm__write", {}, **task).text
    assert "does not cover m" in _model(house, **task).text
    for event in house.calls(3):
        assert (event["data"]["tenure.chain"], event["data"]["tenure.chain.task"]) == (["helper"], "T-1")
        assert event["data"]["tenure.scope"] == ["tool:crm/read"]
    assert house.calls(3)[-1]["data"]["tenure.decision"]["policies"] == ["system/delegation"]


@pytest.mark.req("R043")
def test_lists_of_models_and_agents_hold_what_the_token_reaches(house: House) -> None:
    async def lists(**token: Any) -> tuple[list[str], list[str], int]:
        async with house.http("asker", **token) as http:
            models = [one["id"] for one in (await http.get("/v1/models")).json()["data"]]
            agents = [one["name"] for one in (await http.get("/a2a")).json()["agents"]]
            card = await http.get("/a2a/helper/.well-known/agent-card.json")
        return models, agents, card.status_code

    models, agents, status = asyncio.run(lists())
    assert (models, "helper" in agents, status) == (["m"], True, 200)
    only = {scope: asyncio.run(lists(scopes=(scope,), bounds=((scope,),))) for scope in ("model:m", "agent:helper")}
    assert (only["model:m"][:2], only["agent:helper"][:2]) == ((["m"], []), ([], ["helper"]))
    _limited(house, "agent:other")
    assert asyncio.run(lists(on_behalf_of=ANN)) == ([], [], 200), "a person's limit narrows as well"


@pytest.mark.req("R035")
def test_a_chain_in_a_token_dies_with_each_of_its_agents(house: House) -> None:
    chain: dict[str, Any] = {"chain": ("asker",), "chain_epochs": (1,)}
    assert "revoked" not in call_tool(house, "helper", "crm__read", {}, **chain).text
    refused = call_tool(house, "helper", "crm__read", {}, chain=("asker",), chain_epochs=(0,)).text
    assert "The credential under which agent asker handed the work on was revoked" in refused
    deep: dict[str, Any] = {"chain": ("asker",) * 5, "chain_epochs": (1,) * 5}
    event = None

    async def doing() -> str:
        async with house.http("helper", **deep) as http:
            params = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "echo hi"}]}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
            return (await http.post("/a2a/third", json=body)).text

    assert "handed on 5 times already" in asyncio.run(doing())
    event = house.calls(3)[-1]
    assert event["data"]["tenure.decision"]["policies"] == ["system/delegation"]
    assert event["data"]["tenure.chain"] == [*["asker"] * 5, "helper"]


@pytest.mark.req("R035")
def test_to_take_work_up_is_no_way_out_of_ones_own_bounds(house: House) -> None:
    given = {HEADER: own(house, asker(on_behalf_of=ANN), PeerGrant("helper"))}
    narrow: dict[str, Any] = {"scopes": ("tool:crm/read",), "bounds": (("tool:crm/read",),)}
    assert "does not cover crm/write" in call_tool(house, "helper", "crm__write", given, **narrow).text
    assert "does not cover" not in call_tool(house, "helper", "crm__write", given).text


@pytest.mark.req("R024")
@pytest.mark.parametrize(
    ("token", "why"),
    [
        ({"on_behalf_of": "bob@example.com"}, "on behalf of somebody else"),
        ({"chain": ("third",), "chain_epochs": (1,)}, "for the work that third gave it"),
    ],
)
def test_a_token_for_somebody_takes_up_nothing_for_another(house: House, token: dict[str, Any], why: str) -> None:
    given = {HEADER: own(house, asker(on_behalf_of=ANN), PeerGrant("helper"))}
    answer = call_tool(house, "helper", "crm__read", given, instance=f"i-{why}", **token)
    assert (answer.status_code, why in answer.text) == (403, True), answer.text
    assert house.calls(1)[-1]["data"]["tenure.decision"]["policies"] == ["system/delegation-ended"]


SEQUENCES = """
rules:
  - id: no-call-after-the-order
    reason: Nothing is asked of the helper after an order.
    deny: {peer: helper, where: {text: {like: "*later*"}}}
    once: {peer: helper, where: {text: {like: "*order*"}}}
  - id: hello-first
    hold: {peer: helper, where: {text: {like: "*pay*"}}}
    never: {peer: helper, where: {text: {like: "*hello*"}}}
  - id: two-tries
    deny: {peer: helper, where: {text: {like: "*try*"}}}
    count: {peer: helper, where: {text: {like: "*try*"}}}
    reached: 2
"""


@pytest.mark.req("R052")
def test_messages_to_other_agents_are_refused_held_and_counted_by_those_before(house: House) -> None:
    house.control.policies((*POLICIES, ("a.sequence.yaml", SEQUENCES)))
    house.settle()

    def passes(text: str, session: str) -> bool:
        try:
            house.say(f"echo {text}", session=session, headers={"prefer": "wait=0"})
        except A2AClientError:
            return False
        return True

    assert [passes(text, "one") for text in ("later", "order", "later")] == [True, True, False]
    assert passes("later", "another")
    order, refused = [one["data"] for one in house.calls(4) if one["session"] == "one"][-2:]
    assert refused["tenure.decision"]["policies"] == ["no-call-after-the-order"]
    assert refused["tenure.decision"]["because"] == [order["tenure.call.id"]]
    assert [passes(text, "two") for text in ("pay", "hello", "pay")] == [False, True, True]
    assert house.control.of_type("approval.requested")[-1]["data"]["policies"] == ["hello-first"]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(lambda number: passes(f"try {number}", "three"), range(6))) == 2
    house.control.policies(POLICIES)
    house.settle()


MODEL_RULES = """
rules:
  - id: no-second-opinion
    reason: One model has read it, so no other does.
    deny: {model: large}
    once: {model: small}
  - id: small-first
    hold: {model: held}
    never: {model: small, failed: counts}
  - id: two-drafts
    deny: {model: draft}
    count: {model: draft}
    reached: 2
"""


@pytest.mark.req("R052")
def test_model_calls_are_refused_held_and_counted_by_those_before(house: House) -> None:
    fact: AgentFact = agent_fact("http://127.0.0.1:9/v1", ("small", "large", "held", "draft"), name="helper")
    house.control.policies((*POLICIES, ("a.sequence.yaml", MODEL_RULES)))
    house.control.agent(replace(fact, breaker=BreakerFact(threshold=1000)))
    house.settle()

    async def asked(http: httpx.AsyncClient, model: str, session: str) -> bool:
        """Whether it got as far as the model's upstream, which is not there."""
        headers = {"x-tenure-session": session, "prefer": "wait=0"}
        answer = await http.post("/v1/chat/completions", json={"model": model, "messages": []}, headers=headers)
        return answer.status_code == 502

    async def doing() -> None:
        async with house.http("helper") as http:
            assert [await asked(http, model, "one") for model in ("large", "small", "large")] == [True, True, False]
            assert await asked(http, "large", "another")
            assert [await asked(http, model, "two") for model in ("held", "small", "held")] == [False, True, True]
            assert sum(await asyncio.gather(*(asked(http, "draft", "three") for _ in range(6)))) == 2

    asyncio.run(doing())
    small, refused = [one["data"] for one in house.calls(3, "helper") if one["session"] == "one"][-2:]
    assert refused["tenure.decision"]["policies"] == ["no-second-opinion"]
    assert refused["tenure.decision"]["because"] == [small["tenure.call.id"]]
    house.control.policies(POLICIES)
    house.settle()
