"""A model is asked how risky a call is: it can raise the points and never lower them, and what is no sure answer counts
as all of them (R044)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from tenure.gateway.risk.judge import Judge
from tenure.gateway.upstream import Client
from tenure.kernel.snapshot import ServerFact, ToolFact
from tenure.kernel.values import Call, CallKind, Risk
from tests.gateway.conftest import POLICIES, House, housed
from tests.gateway.test_risk import RULE
from tests.sim.gateway import ProviderProcess, agent_fact
from tests.sim.policy import a_principal, an_agent

ANSWERS = {"calm": {"risk": 3, "sure": True}, "fatal": {"risk": 90, "sure": True}, "doubt": {"risk": 3, "sure": False}}


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    rules = tmp_path_factory.mktemp("judge") / "rules.json"
    said = [{"model": "judge", "contains": word, "content": json.dumps(answer)} for word, answer in ANSWERS.items()]
    rules.write_text(json.dumps([*said, {"model": "judge", "contains": "chatty", "content": "It is safe."}]))
    with ProviderProcess(rules) as process:
        yield process


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, provider: Any, judging: ProviderProcess) -> Iterator[House]:
    asked: dict[str, Any] = {"judge": judging.url, "judge_model": "judge", "judge_key": "PROVIDER_KEY"}
    with housed(tmp_path_factory.mktemp("judged"), provider, **asked) as house:
        publish(house)
        yield house


def publish(house: House) -> None:
    fact = agent_fact(house.provider.url, ("echo",), tools=(ToolFact("letters", "answer"),), hold_timeout_s=0.0)
    house.control.agent(replace(fact, servers=(ServerFact("letters", in_process=True, trust="trusted"),)))
    house.control.policies((*POLICIES, ("risky.cedar", RULE)))
    house.settle()


def effect(house: House, text: str) -> str:
    token = {"authorization": f"Bearer {house.control.token('clerk')}"}
    body = {"tool": "letters/answer", "arguments": {"text": text}, "wait_s": 0}
    return str(httpx2.post(f"{house.gateway.url}/v1/decide", json=body, headers=token, timeout=60).json()["effect"])


@pytest.mark.req("R044")
@pytest.mark.parametrize(
    ("text", "expected"),
    [("calm", "allow"), ("fatal", "hold"), ("doubt", "hold"), ("chatty", "hold"), ("nothing it knows", "hold")],
)
def test_a_judge_raises_the_points_and_what_is_no_sure_answer_counts_as_all(
    gateway: House, judging: ProviderProcess, text: str, expected: str
) -> None:
    key = "AKIA" + "IOSFODNN7" + "EXAMPLQ"
    assert effect(gateway, f"{text} {key}") == expected
    seen = judging.seen()
    assert key not in seen["body"]
    assert {name.lower(): value for name, value in seen["headers"].items()}["authorization"] == "Bearer provider-secret"


@pytest.mark.req("R044")
def test_a_judge_that_fails_or_is_late_counts_as_unsure(judging: ProviderProcess, provider: ProviderProcess) -> None:
    agent = an_agent()
    call, who = Call("c", CallKind.TOOL, "shop/list", {"text": "calm"}), a_principal(agent)

    async def weighed(model: str, url: str = provider.url, timeout_s: float = 30.0, text: str = "calm") -> Risk:
        client = Client(30.0, 30.0)
        try:
            judge = Judge(client, url, model, "", timeout_s, frozenset({"secret"}))
            return await judge.weigh(replace(call, arguments={"text": text}), who, agent, Risk(10, 20, ("known",)))
        finally:
            client.close()

    async def all_of_them() -> list[Risk]:
        failing = [await weighed(model) for model in ("error-500", "error-429", "garbage", "reset", "redirect", "echo")]
        nobody = await weighed("judge", url="http://127.0.0.1:9/v1")
        return [*failing, nobody, await weighed("hang", timeout_s=0.1), await weighed("echo", text="long " * 5000)]

    for risk in asyncio.run(all_of_them()):
        assert (risk.score, risk.uncertainty, risk.reasons[0]) == (100, 100, "known")
    assert asyncio.run(weighed("judge", judging.url)) == Risk(10, 20, ("known",)), "it says 3, which lowers nothing"
    assert asyncio.run(weighed("judge", judging.url, text="fatal")).score == 90
