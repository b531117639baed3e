"""Limits at the gateway, with real processes and the clients of the providers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai
import pytest

from tenure.kernel.budgets import LimitFact, PriceFact
from tenure.kernel.snapshot import ModelFact, Upstream
from tests.sim.gateway import agent_fact
from tests.sim.ledger import Ledger

HELLO = [{"role": "user", "content": "hello there, how are you today"}]
NOON = datetime(2026, 3, 4, 12, 0, 7, tzinfo=UTC)  # a window must not end in the middle of a test


def calls(amount: int, **more: Any) -> LimitFact:
    whole = {"id": "clerk/calls-day", "of": "calls", "per": "day", "each": "agent"} | more
    return LimitFact(amount=amount, **whole)


@pytest.fixture
def limited(house: Any) -> Callable[..., None]:
    """Publishes agents (the clerk unless named) under limits."""

    def publish(*limits: LimitFact, agents: tuple[str, ...] = ("clerk",), **fact: Any) -> None:
        house.control.ledger = Ledger({limit.id: limit for limit in limits}, NOON)
        for name in agents:
            known = agent_fact(house.provider.url, ("echo", "error-500", "held", "flaky"), name=name)
            house.control.agent(replace(known, limits=limits, **fact))
        house.settle()

    return publish


def ask(house: Any, agent: str = "clerk", *, token: dict[str, Any] | None = None, **body: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {house.control.token(agent, **(token or {}))}"}
    whole = {"model": "echo", "messages": HELLO, "max_tokens": 50} | body
    return httpx2.post(
        f"{house.gateway.url}/v1/chat/completions", json=whole, headers=headers, timeout=20, trust_env=False
    )


def spent(house: Any, account: str, count: int) -> int:
    """What is charged to an account, once ``count`` calls are told."""
    house.calls(count)
    return int(house.control.ledger.spent(account))


@pytest.mark.req("R040")
def test_what_is_over_the_limit_is_refused_as_the_client_knows_it(
    house: Any, limited: Any, kind: Any, connect: Any
) -> None:
    limited(calls(2))
    client = connect(kind)
    assert client.ask("echo")
    assert client.ask("echo")
    with pytest.raises(kind.failed) as caught:
        client.ask("echo")
    refusal: Any = caught.value
    assert getattr(refusal, "status_code", None) or refusal.code == 429
    assert "2 calls a day" in str(refusal)
    told = house.calls(3)
    assert [event["type"] for event in told].count("call.refused") == 1
    refused = next(event for event in told if event["type"] == "call.refused")
    assert refused["data"]["tenure.decision"]["policies"] == ["system/limit"]
    assert refused["data"]["tenure.violation"] is False
    assert "tenure.charged" not in refused["data"]
    assert house.control.ledger.spent("clerk/calls-day|clerk") == 2


def test_a_refusal_says_when_to_come_back_and_the_sdk_of_a_long_wait_does_not_try_at_once(
    house: Any, limited: Any
) -> None:
    limited(calls(1))
    assert ask(house).status_code == 200
    before = house.provider.seen()["models"].get("echo", 0)
    refusal = ask(house)
    assert refusal.status_code == 429
    assert 11 * 3600 < int(refusal.headers["retry-after"]) <= 12 * 3600
    assert refusal.headers["x-should-retry"] == "false"
    error = refusal.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    with pytest.raises(openai.RateLimitError):
        house.client(retries=3).chat.completions.create(model="echo", messages=HELLO)
    assert house.provider.seen()["models"].get("echo", 0) == before
    limited(calls(1, id="clerk/calls-minute", per="minute"))
    assert ask(house).status_code == 200
    refusal = ask(house)
    assert 40 < int(refusal.headers["retry-after"]) <= 53
    assert "x-should-retry" not in refusal.headers


@pytest.mark.req("R110")
def test_tokens_and_dollars_are_charged_as_they_were_used(house: Any, limited: Any) -> None:
    price = PriceFact(2_000, 8_000, 1_000, 2_000)
    facts = (ModelFact("echo", Upstream(house.provider.url), price=price),)
    tokens = calls(10_000, id="clerk/tokens-day", of="tokens")
    money = calls(10**6, id="clerk/usd-day", of="usd")
    limited(tokens, money, models=facts)
    usage = ask(house).json()["usage"]
    assert spent(house, "clerk/tokens-day|clerk", 1) == usage["total_tokens"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    cost = 2 * (usage["prompt_tokens"] - cached) + cached + 8 * usage["completion_tokens"]
    assert house.control.ledger.spent("clerk/usd-day|clerk") == cost
    charged = house.calls()[0]["data"]["tenure.charged"]
    assert sorted(charged.values()) == sorted([usage["total_tokens"], cost])


def test_a_call_that_may_come_to_more_than_is_left_is_refused_and_a_shorter_one_goes_on(
    house: Any, limited: Any
) -> None:
    limited(calls(100, id="clerk/output_tokens-day", of="output_tokens"))
    refusal = ask(house, max_tokens=101)
    assert refusal.status_code == 429
    assert "max_tokens" in refusal.json()["error"]["message"]
    assert ask(house, max_tokens=100).status_code == 200


def test_what_came_to_nothing_costs_a_call_and_no_tokens(house: Any, limited: Any) -> None:
    limited(calls(10), calls(1000, id="clerk/tokens-day", of="tokens"))
    assert ask(house, model="error-500").status_code == 500
    assert spent(house, "clerk/calls-day|clerk", 1) == 1
    assert house.control.ledger.spent("clerk/tokens-day|clerk") == 0
    house.control.policies((("none.cedar", "forbid (principal, action, resource);"),))
    house.settle()
    assert ask(house).status_code == 403
    assert spent(house, "clerk/calls-day|clerk", 2) == 1


@pytest.mark.req("R035")
def test_agents_of_one_person_share_the_persons_account(house: Any, limited: Any) -> None:
    each = calls(3, id="workspace:people/calls-day-each-person", each="person")
    limited(each, agents=("clerk", "helper", "other"))
    ann, bob = {"on_behalf_of": "ann@example.com"}, {"on_behalf_of": "bob@example.com"}
    answers = [ask(house, agent, token=ann).status_code for agent in ("clerk", "helper", "other", "clerk")]
    assert answers == [200, 200, 200, 429]
    assert ask(house, "clerk", token=bob).status_code == 200
    assert ask(house, "clerk").status_code == 200, "nobody's account is not limited"


@pytest.mark.req("R035")
def test_what_is_handed_on_is_charged_to_who_handed_it_on_however_many_take_it_up(house: Any, limited: Any) -> None:
    limited(calls(4), agents=("clerk",))
    for name in ("helper", "other"):
        house.control.agent(agent_fact(house.provider.url, ("echo",), name=name))
    house.settle()
    child = {"chain": ("clerk",), "chain_epochs": (1,), "task": "t"}
    answers = [ask(house, agent, token=child).status_code for agent in ("helper", "other", "helper", "other", "helper")]
    assert answers == [200, 200, 200, 200, 429]
    assert ask(house).status_code == 429
    assert ask(house, "helper").status_code == 200, "its own work is not the clerk's"


HOLD_AT_80 = """
@id("eighty")
@obligation("approve")
forbid (principal, action == Action::"call_model", resource)
when { context.spent_calls >= 80 } unless { context.approved };
"""


@pytest.mark.req("R066")
def test_a_policy_holds_what_is_over_four_fifths_of_a_limit(house: Any, limited: Any) -> None:
    limited(calls(5))
    house.control.policies((*house.control.first.workspaces["default"].policies, ("eighty.cedar", HOLD_AT_80)))
    house.settle()
    assert [ask(house).status_code for _ in range(4)] == [200] * 4
    headers = {"authorization": f"Bearer {house.control.token('clerk')}", "prefer": "wait=0"}
    body = {"model": "echo", "messages": HELLO}
    held = httpx2.post(f"{house.gateway.url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    assert held.status_code == 409
    requested = house.control.wait(lambda _: house.control.of_type("approval.requested"))[0]
    house.control.approval(requested["data"]["approval_id"], "granted", decided_by="person:ann@example.com")
    house.settle()
    again = httpx2.post(f"{house.gateway.url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    assert again.status_code == 200
    assert house.calls(6)[-1]["data"]["tenure.spent"] == [80, 0, 0]


def test_without_a_limit_nothing_is_asked_and_without_an_answer_nothing_goes_on(house: Any, limited: Any) -> None:
    assert ask(house).status_code == 200
    house.calls()
    assert not house.control.of_type("limits.asked")
    limited(calls(5))
    house.control.ledger = None  # the control plane takes the Event and grants nothing
    refusal = ask(house)
    assert refusal.status_code == 429
    assert refusal.headers["retry-after"] == "1"
    assert "in time" in refusal.json()["error"]["message"]
