"""Breakers of more than one agent, and half-open ones, at a gateway: what is stopped, and how many calls are tried."""

from __future__ import annotations

import concurrent.futures
import time
from typing import Any

import openai
import pytest

from tenure.kernel.snapshot import BreakerFact

HELLO: Any = [{"role": "user", "content": "hello"}]
STOPPED = BreakerFact(tripped=True, reason="stopped by op: it went mad", threshold=0)
WIDE = ["default/chain/clerk", "default/release/sha256:r1", "default/workspace/"]


def _outcome(client: openai.OpenAI, model: str = "echo") -> tuple[int, str]:
    try:
        client.chat.completions.create(model=model, messages=HELLO)
    except openai.APIStatusError as error:
        return error.status_code, error.message
    return 200, ""


@pytest.mark.req("R055")
@pytest.mark.parametrize("key", WIDE)
def test_what_is_stopped_passes_no_call_until_it_is_let_go_on(house: Any, key: str) -> None:
    house.publish(name="other")
    house.control.change(breakers={key: STOPPED})
    house.settle()
    status, why = _outcome(house.client())
    assert status == 403
    assert "stopped by op: it went mad" in why
    others = _outcome(house.client("other", release="sha256:other"))[0]
    assert others == (403 if "workspace" in key else 200)
    [event] = [one for one in house.calls(2) if one["agent"] == "clerk"]
    assert event["data"]["tenure.decision"]["policies"] == ["system/breaker"]
    assert event["data"]["tenure.violation"] is False
    house.control.change(breakers={key: BreakerFact(epoch=1, threshold=0)})
    house.settle()
    assert _outcome(house.client())[0] == 200


def test_a_stop_elsewhere_stops_nothing_here(house: Any) -> None:
    elsewhere = ("other/workspace/", "default/chain/other", "default/release/sha256:old", "default/tool/echo")
    house.control.change(breakers=dict.fromkeys(elsewhere, STOPPED))
    house.settle()
    assert _outcome(house.client())[0] == 200


@pytest.mark.req("R055")
def test_a_stream_ends_when_its_workspace_is_stopped(house: Any) -> None:
    words: Any = [{"role": "user", "content": "word " * 400}]
    chunks = iter(house.client().chat.completions.create(model="slow", messages=words, stream=True))
    next(chunks)
    house.control.change(breakers={"default/workspace/": STOPPED})
    begun = time.monotonic()
    with pytest.raises(openai.APIError, match="it went mad"):
        list(chunks)
    assert time.monotonic() - begun < 2  # the rest would take five seconds


@pytest.mark.req("R055")
def test_violations_of_two_agents_trip_their_workspace_here_and_at_once(house: Any) -> None:
    house.publish(name="other")
    house.control.change(breakers={"default/workspace/": BreakerFact(threshold=2)})
    house.settle()
    house.control.intake_status = 503  # nobody else has heard of it
    assert _outcome(house.client(), "forbidden")[0] == 403
    assert _outcome(house.client())[0] == 200
    assert _outcome(house.client("other"), "forbidden")[0] == 403
    assert _outcome(house.client())[0] == 403
    house.control.intake_status = 200
    [trip] = house.control.wait(lambda _: house.control.of_type("breaker.tripped"))
    assert (trip["data"]["scope"], trip["data"]["name"], trip["data"]["threshold"]) == ("workspace", "", 2)


@pytest.mark.req("R055")
def test_a_wide_trip_that_could_not_be_told_outlives_the_gateway(house: Any) -> None:
    house.control.change(breakers={"default/chain/clerk": BreakerFact(threshold=1)})
    house.settle()
    house.control.intake_status = 503
    assert _outcome(house.client(), "forbidden")[0] == 403
    end = time.monotonic() + 60
    while house.gateway.health()[1]["events"]["durable"] < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    house.gateway.kill()
    house.restart()
    house.settle()
    assert _outcome(house.client())[0] == 403


@pytest.mark.req("R055")
@pytest.mark.parametrize("key", ["agent", "default/workspace/"])
def test_no_more_calls_are_tried_than_may_be(house: Any, key: str) -> None:
    half_open = BreakerFact(epoch=1, threshold=1, trials=3)
    if key == "agent":
        house.publish(breaker=half_open)
    else:
        house.control.change(breakers={key: half_open})
        house.settle()
    client, before = house.client(), house.provider.seen()["requests"]
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        outcomes = list(pool.map(lambda _: _outcome(client), range(40)))
    assert [status for status, _ in outcomes].count(200) == 3
    assert house.provider.seen()["requests"] - before == 3
    assert all("half open" in why for status, why in outcomes if status != 200)
    assert {event["data"]["tenure.violation"] for event in house.calls(40)} == {False}


@pytest.mark.req("R055")
def test_a_violation_trips_what_is_half_open_here_and_at_once(house: Any) -> None:
    house.publish(breaker=BreakerFact(epoch=1, threshold=100, trials=5))
    assert _outcome(house.client())[0] == 200
    assert _outcome(house.client(), "forbidden")[0] == 403
    assert _outcome(house.client())[0] == 403
    [trip] = house.control.wait(lambda _: house.control.of_type("breaker.tripped"))
    assert (trip["data"]["reason"], trip["data"]["epoch"]) == ("a trial call went wrong", 1)


def test_a_held_call_on_trial_waits_for_its_approval_first(house: Any) -> None:
    house.publish(breaker=BreakerFact(epoch=1, threshold=100, trials=1))
    client = house.client()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_outcome, client, "held")
        [asked] = house.control.wait(lambda _: house.control.of_type("approval.requested"))
        assert house.control.of_type("breaker.trial") == []
        house.control.approval(asked["data"]["approval_id"], "granted", decided_by="person:a")
        assert waiting.result(60)[0] == 200
    assert len(house.control.of_type("breaker.trial")) == 1
    assert _outcome(client)[0] == 403
