"""Chat completions through a real gateway process, with the real SDK."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai
import pytest

from tenure.gateway.llm.openai.codec import ChatStream
from tenure.gateway.llm.stream import read
from tenure.kernel.ids import session_trace
from tenure.kernel.values import LifecycleState

HELLO: Any = [{"role": "user", "content": "hello there, how are you today"}]
SAID = "You said: hello there, how are you today"


@pytest.fixture
def house(shared_house: Any) -> Any:
    """One gateway for all of this file."""
    return shared_house


def ask(client: openai.OpenAI, model: str, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=HELLO, **more)


@pytest.mark.req("R080", "R090", "R091", "R075")
def test_an_answer_comes_back_and_the_event_says_everything(house: Any) -> None:
    answer = ask(house.client(on_behalf_of="ann@example.com"), "echo", user="ann")
    assert answer.choices[0].message.content == SAID
    event = house.calls()[0]
    data = event["data"]
    assert event["type"] == "call.completed"
    assert (event["status"], event["agent"], event["release"]) == ("allowed", "clerk", "sha256:r1")
    assert (event["session"], event["instance"]) == ("s1", "i1")
    assert (event["trace_id"], event["parent_span_id"]) == session_trace("default", "s1")
    assert event["policy_version"] == house.control.snapshot.workspaces["default"].policy_version
    assert event["duration_us"] > 0
    assert data["gen_ai.input.messages"][0]["parts"][0]["content"] == HELLO[0]["content"]
    assert data["gen_ai.output.messages"][0]["parts"][0]["content"] == SAID
    assert data["gen_ai.usage.input_tokens"] == answer.usage.prompt_tokens
    assert data["gen_ai.usage.output_tokens"] == answer.usage.completion_tokens
    assert (data["gen_ai.request.model"], data["gen_ai.response.model"]) == ("echo", "echo-2026-01-01")
    assert data["gen_ai.response.id"] == answer.id
    assert data["gen_ai.response.finish_reasons"] == ["stop"]
    assert data["enduser.id"] == "ann"
    assert data["tenure.decision"]["policies"] == ["granted-models"]


@pytest.mark.req("R090")
def test_the_request_is_forwarded_unchanged_but_for_the_credential(house: Any) -> None:
    client = house.client()
    ask(client, "echo", extra_body={"custom": [1, 2.50]}, extra_headers={"x-tenure-session": "s2"})
    seen = house.provider.seen()
    assert seen["headers"]["authorization"] == "Bearer provider-secret"
    assert client.api_key not in json.dumps(seen)
    assert json.loads(seen["body"])["custom"] == [1, 2.5]
    assert "x-tenure-session" not in seen["headers"]
    assert house.calls()[0]["session"] == "s2"


@pytest.mark.req("R090", "R091")
def test_a_stream_passes_chunk_by_chunk_and_is_captured_whole(house: Any) -> None:
    begun = time.monotonic()
    stream = ask(house.client(), "slow", stream=True, stream_options={"include_usage": True})
    times, text = [], ""
    for chunk in stream:
        times.append(time.monotonic() - begun)
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    assert text == SAID
    assert times[-1] - times[0] > 0.1  # the provider waits 50 ms after each: had they been gathered, they came at once
    data = house.calls()[0]["data"]
    assert data["gen_ai.output.messages"][0]["parts"] == [{"type": "text", "content": SAID}]
    assert data["gen_ai.usage.output_tokens"] > 0
    assert 0 < data["gen_ai.response.time_to_first_chunk"] < times[-1]


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_captured_from_either_kind_of_answer(house: Any, stream: bool) -> None:
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    answer = ask(house.client(), "tool", stream=stream, tools=[{"type": "function", "function": function}])
    if stream:
        list(answer)
    call = house.calls()[0]["data"]["gen_ai.output.messages"][0]["parts"][-1]
    assert (call["type"], call["name"], call["arguments"]) == ("tool_call", "weather", {"city": "Paris"})


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("reset", 502, "reset"),
        ("garbage", 502, "garbage"),
        ("junk", 502, "garbage"),
        ("redirect", 502, "garbage"),
        ("half", 502, "reset"),
        ("hang", 504, "timeout"),
        ("error-500", 500, "500"),
        ("error-429", 429, "429"),
    ],
)
def test_an_upstream_that_fails_is_an_error_that_says_so(
    build: Callable[..., Any], model: str, status: int, kind: str
) -> None:
    house = build(upstream_timeout_s=0.5)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(house.client(), model)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"]
    event = house.calls()[0]
    assert (event["status"], event["data"]["error.type"]) == ("flagged", kind)
    assert ask(house.client(), "echo").choices[0].message.content == SAID


def test_an_upstream_that_is_not_there_is_an_error(house: Any) -> None:
    fact = house.control.snapshot.agents["default/clerk"]
    gone = tuple(replace(m, upstream=replace(m.upstream, base_url="http://127.0.0.1:9/v1")) for m in fact.models)
    house.control.agent(replace(fact, models=gone))
    house.settle()
    with pytest.raises(openai.InternalServerError) as caught:
        ask(house.client(), "echo")
    assert caught.value.status_code == 502
    assert house.calls()[0]["data"]["error.type"] == "connect_failed"


def test_a_stream_that_breaks_is_broken_for_the_agent_too(house: Any) -> None:
    with pytest.raises((openai.APIConnectionError, Exception), match=r"(?i)incomplete|closed|connection"):
        list(ask(house.client(), "half", stream=True))
    assert house.calls()[0]["data"]["error.type"] == "reset"


def test_a_client_that_hangs_up_cancels_the_upstream(house: Any) -> None:
    before = house.provider.seen()["broken_off"]
    with pytest.raises(openai.APITimeoutError):
        ask(house.client(), "hang", timeout=0.3)
    assert house.calls()[0]["data"]["error.type"] == "client_disconnected"
    stream = ask(house.client(), "slow", stream=True)
    next(iter(stream))
    stream.close()
    assert house.calls(2)[1]["data"]["error.type"] == "client_disconnected"
    end = time.monotonic() + 60
    while house.provider.seen()["broken_off"] < before + 2:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_models_are_those_of_the_manifest_and_cost_no_call(house: Any) -> None:
    before = house.provider.seen()["requests"]
    assert {"echo", "held"} <= {model.id for model in house.client().models.list()}
    stranger = openai.OpenAI(base_url=f"{house.gateway.url}/v1", api_key="guess", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    assert house.provider.seen()["requests"] == before


@pytest.mark.parametrize(("model", "policy"), [("forbidden", "no-forbidden"), ("never-granted", "system/grant")])
def test_a_denied_call_names_reason_and_policy_and_reaches_nobody(house: Any, model: str, policy: str) -> None:
    before = house.provider.seen()["requests"]
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(house.client(retries=2), model)
    body: Any = caught.value.body
    assert body["policies"] == [policy]
    assert policy in body["message"]
    event = house.calls()[0]
    assert (event["type"], event["status"]) == ("call.refused", "violation")
    assert event["data"]["tenure.violation"] is True
    assert event["data"]["tenure.call.id"] == body["decision_id"]
    assert house.provider.seen()["requests"] == before


def test_the_next_call_of_a_suspended_agent_is_refused_and_its_credential_is_dead(house: Any) -> None:
    client = house.client()
    ask(client, "echo")
    fact = house.control.snapshot.agents["default/clerk"]
    house.control.agent(replace(fact, state=LifecycleState.SUSPENDED, credential_epoch=2))
    house.settle()
    with pytest.raises(openai.AuthenticationError, match="suspended"):
        ask(client, "echo")
    event = house.calls(2)[1]
    assert (event["type"], event["data"]["tenure.violation"]) == ("call.refused", False)
    with pytest.raises(openai.PermissionDeniedError, match="suspended"):  # even with a credential of the new epoch
        ask(house.client(epoch=2), "echo")


@pytest.mark.parametrize("token", [{"ttl_s": 1.0, "issued": time.time() - 100}, {"epoch": 0}])
def test_expired_and_outdated_credentials_are_401(house: Any, token: dict[str, Any]) -> None:
    with pytest.raises(openai.AuthenticationError):
        ask(house.client(**token), "echo")


def test_a_token_expires_though_it_was_verified_before(house: Any) -> None:
    client = house.client(ttl_s=600.0, issued=time.time() - 604.0)  # 5 s of leeway: one second left
    ask(client, "echo")
    time.sleep(1.3)
    with pytest.raises(openai.AuthenticationError, match="expired"):
        ask(client, "echo")


def test_a_token_of_a_removed_key_is_refused_though_it_was_verified_before(house: Any) -> None:
    client = house.client()
    ask(client, "echo")
    house.control.change(keys={})
    house.settle()
    with pytest.raises(openai.AuthenticationError):
        ask(client, "echo")


def test_many_at_once(house: Any) -> None:
    client = house.client()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: ask(client, "wait-20").choices[0].message.content, range(200)))
    assert answers == [SAID] * 200
    assert len({event["id"] for event in house.calls(200)}) == 200


@pytest.mark.req("R087")
def test_a_call_is_known_upstairs_within_a_second(house: Any) -> None:
    client = house.client()
    for count in range(1, 6):
        ask(client, "echo")
        begun = time.monotonic()
        house.calls(count)
        assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": 5},
        {"choices": [{"index": {}, "delta": {"tool_calls": [{"index": {}, "function": {"name": 5, "arguments": 7}}]}}]},
        {"choices": [{"delta": {"tool_calls": 5, "content": {}, "role": []}, "finish_reason": []}], "usage": []},
    ],
)
def test_a_stream_of_nonsense_is_recorded_all_the_same(chunk: Any) -> None:
    assert read(ChatStream, b"data: " + json.dumps(chunk).encode() + b"\n\n")["error.type"] == "incomplete"
