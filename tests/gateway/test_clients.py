"""The real clients of OpenAI, Anthropic and Google, pointed at a gateway process by nothing but their base URL."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors

from tenure.gateway.llm.codec import CAPTURE_MAX
from tenure.runtime.model import Instance, environment
from tests.sim.gateway import agent_fact
from tests.sim.model_clients import HELLO, PIXEL, SAID, Anthropic, Gemini, OpenAI


@pytest.fixture
def house(shared_house: Any) -> Any:
    """One gateway for all of this file."""
    return shared_house


@pytest.mark.req("R090", "R091")
def test_an_answer_is_whole_and_the_record_says_everything(house: Any, connect: Any, kind: Any) -> None:
    client = connect(kind)
    assert client.ask("echo") == SAID
    data = house.calls()[0]["data"]
    assert data["gen_ai.operation.name"] == kind.operation
    assert data["gen_ai.provider.name"] == kind.provider
    assert data["gen_ai.input.messages"][-1]["parts"] == [{"type": "text", "content": HELLO}]
    assert data["gen_ai.output.messages"][0]["parts"][-1] == {"type": "text", "content": SAID}
    assert (data["gen_ai.request.model"], data["gen_ai.response.model"]) == ("echo", "echo-2026-01-01")
    assert data["gen_ai.response.id"] in ("resp_1", "msg_1", "resp-1")
    assert len(data["gen_ai.response.finish_reasons"]) == 1
    assert (data["gen_ai.usage.input_tokens"], data["gen_ai.usage.output_tokens"]) == (100, 12)
    assert data["gen_ai.usage.cache_read.input_tokens"] in (40, 50)
    assert data["gen_ai.usage.reasoning.output_tokens"] == 5
    seen = house.provider.seen()
    assert seen["headers"][kind.key].removeprefix("Bearer ") == "provider-secret"
    assert house.control.token("clerk").partition(".")[0] not in json.dumps(seen)  # the head of every agent's token


@pytest.mark.req("R090", "R091")
def test_a_stream_passes_as_it_comes_and_its_usage_is_known(house: Any, connect: Any, kind: Any) -> None:
    begun, times, text = time.monotonic(), [], ""
    for piece in connect(kind).stream("slow"):
        times.append(time.monotonic() - begun)
        text += piece
    assert text == SAID
    assert times[-1] - times[0] > 0.1  # the provider waits 50 ms after each event
    data = house.calls()[0]["data"]
    assert data["gen_ai.output.messages"][0]["parts"][-1] == {"type": "text", "content": SAID}
    assert (data["gen_ai.usage.input_tokens"], data["gen_ai.usage.output_tokens"]) == (100, 12)
    assert data["gen_ai.request.stream"] is True
    assert 0 < data["gen_ai.response.time_to_first_chunk"] < times[-1]
    assert "error.type" not in data


@pytest.mark.req("R091")
def test_a_stream_longer_than_what_is_kept_reaches_the_client_whole_and_tells_its_tokens(
    house: Any, connect: Any, kind: Any
) -> None:
    text = " ".join(["x" * (64 << 10)] * 80)
    assert sum(map(len, connect(kind).stream("echo", text))) == len("You said: ") + len(text)
    data = house.calls()[0]["data"]
    said = data["gen_ai.output.messages"][0]["parts"][-1]["content"]
    assert CAPTURE_MAX - (256 << 10) < len(said) <= CAPTURE_MAX
    assert data["tenure.capture.truncated"] is True
    assert (data["gen_ai.usage.input_tokens"], data["gen_ai.usage.output_tokens"]) == (100, 12)
    assert data["gen_ai.response.finish_reasons"]
    assert "error.type" not in data


def test_tools_are_called_and_their_results_sent_back(house: Any, connect: Any, kind: Any) -> None:
    arguments, text = connect(kind).use_tool()
    assert arguments == {"city": "Paris"}
    assert text.startswith("You said:")
    first, second = (event["data"] for event in house.calls(2))
    call = first["gen_ai.output.messages"][0]["parts"][-1]
    assert (call["type"], call["name"], call["arguments"]) == ("tool_call", "weather", {"city": "Paris"})
    assert second["gen_ai.input.messages"][-1]["parts"][-1]["type"] == "tool_call_response"


def test_images_pass_and_are_recorded_as_such(house: Any, connect: Any, kind: Any) -> None:
    assert connect(kind).show() == SAID
    image = house.calls()[0]["data"]["gen_ai.input.messages"][-1]["parts"][-1]
    assert (image["type"], image["modality"], image["mime_type"]) == ("blob", "image", "image/png")
    assert image["content"].rstrip("=") == PIXEL.rstrip("=")


def test_refusals_and_failures_are_errors_of_the_clients_own_kind(house: Any, connect: Any, kind: Any) -> None:
    client = connect(kind)
    with pytest.raises(kind.failed, match="no-forbidden"):
        client.ask("forbidden")
    with pytest.raises(kind.failed, match="never-granted"):
        list(client.stream("never-granted"))
    with pytest.raises(kind.failed, match="scripted failure"):
        client.ask("error-400")
    with pytest.raises(kind.failed, match=r"closed the connection"):
        client.ask("reset")
    stranger = kind(house.gateway.url, "guess")
    with pytest.raises(kind.failed, match=r"(?i)token"):
        stranger.ask("echo")
    stranger.close()
    events = house.calls(4)
    assert [event["type"] for event in events[:2]] == ["call.refused", "call.refused"]
    assert [event["data"].get("error.type") for event in events[2:]] == ["400", "reset"]
    assert events[2]["data"]["error.message"] == "scripted failure"


def test_a_stream_that_breaks_off_says_so_in_the_clients_own_way(house: Any, connect: Any, kind: Any) -> None:
    with pytest.raises((*kind.failed, RuntimeError), match="upstream"):
        list(connect(kind).stream("half"))
    data = house.calls()[0]["data"]
    assert data["error.type"] == "reset"
    assert data["gen_ai.output.messages"][0]["parts"]


def test_clients_retry_what_failed(house: Any, connect: Any, kind: Any) -> None:
    client = connect(kind, retries=2)
    assert client.ask("flaky") == SAID
    assert [event["data"]["http.response.status_code"] for event in house.calls(2)] == [500, 200]


def test_a_client_that_hangs_up_stops_the_upstream(house: Any, connect: Any, kind: Any) -> None:
    before = house.provider.seen()["broken_off"]
    client = connect(kind)
    stream = client.stream("slow")
    next(stream)
    stream.close()
    client.close()
    assert house.calls()[0]["data"]["error.type"] == "client_disconnected"
    end = time.monotonic() + 60
    while house.provider.seen()["broken_off"] <= before:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_models_are_listed_as_each_client_expects(connect: Any, kind: Any) -> None:
    assert {"echo", "held"} <= connect(kind).names()


def test_embeddings_and_token_counts(house: Any, connect: Any) -> None:
    made = connect(OpenAI).client.embeddings.create(model="echo", input=["one", "two"], encoding_format="float")
    assert [item.embedding for item in made.data] == [[0.25, -0.5, 1.0]] * 2
    asked: Any = [{"role": "user", "content": HELLO}]
    assert connect(Anthropic).client.messages.count_tokens(model="echo", messages=asked).input_tokens == 33
    google = connect(Gemini).client.models
    assert google.count_tokens(model="echo", contents=HELLO).total_tokens == 33
    assert google.embed_content(model="echo", contents=["one"]).embeddings[0].values == [0.25, -0.5, 1.0]
    events = [event["data"] for event in house.calls(4)]
    names = [data["gen_ai.operation.name"] for data in events]
    assert names == ["embeddings", "count_tokens", "count_tokens", "embeddings"]
    assert events[0]["gen_ai.usage.input_tokens"] == 8
    assert [data["tenure.counted_tokens"] for data in events[1:3]] == [33, 33]
    assert "gen_ai.usage.input_tokens" not in events[1]


def test_a_held_call_is_retried_by_the_client_until_a_person_decides(house: Any, connect: Any) -> None:
    house.control.agent(agent_fact(house.provider.url, ("held",), hold_timeout_s=0.1))
    house.settle()
    with pytest.raises(anthropic.ConflictError, match="waits as approval"):
        connect(Anthropic).ask("held")
    with pytest.raises(errors.ClientError, match="ABORTED"):
        connect(Gemini).ask("held")


def test_the_variables_of_an_instance_are_those_that_the_clients_read(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = datetime.now(UTC)
    instance = Instance(
        id="i1",
        workspace="default",
        agent="clerk",
        release="sha256:r1",
        session="s1",
        credential_epoch=1,
        on_behalf_of=None,
        started_at=started,
        started_by="person:ann@example.com",
        heartbeat_at=started,
        expires_at=started,
    )
    token = house.control.token("clerk")
    env = environment(instance, token, control_url="http://127.0.0.1:1", gateway_url=house.gateway.url)
    for name, value in env.items():
        if not name.startswith("OTEL_"):
            monkeypatch.setenv(name, value)
    asked: Any = [{"role": "user", "content": HELLO}]
    with openai.OpenAI() as one, anthropic.Anthropic() as two:
        assert one.responses.create(model="echo", input=HELLO).output_text == SAID
        said: Any = two.messages.create(model="echo", max_tokens=9, messages=asked)
        assert said.content[-1].text == SAID
    three = genai.Client()
    assert three.models.generate_content(model="echo", contents=HELLO).text == SAID
    three.close()
