"""Aliases, fallbacks, timeouts and limits of a release, through a real gateway process and the real clients."""

from __future__ import annotations

import concurrent.futures
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tenure.kernel.snapshot import Concurrency, ModelFact, Timeouts, Upstream
from tests.gateway.test_routes import send
from tests.sim.gateway import ProviderProcess
from tests.sim.model_clients import SAID, Gemini, OpenAI

NOWHERE = "http://127.0.0.1:9/v1"
FAILING = ("error-500", "error-429", "error-529", "reset", "garbage", "junk", "hang")
QUICK = Timeouts(first_byte_s=0.4)


@pytest.fixture
def house(shared_house: Any) -> Any:
    """One gateway for all of this file."""
    return shared_house


@pytest.fixture
def model(house: Any) -> Any:
    """Makes a model of the house's provider."""
    upstream = Upstream(house.provider.url, "PROVIDER_KEY")
    return lambda name, **more: ModelFact(name, upstream=more.pop("upstream", upstream), **more)


@pytest.fixture(scope="module")
def other() -> Iterator[ProviderProcess]:
    """A second provider."""
    with ProviderProcess() as process:
        yield process


def outcomes(event: Any) -> list[tuple[str, str]]:
    return [(attempt["model"], attempt["outcome"]) for attempt in event["data"]["tenure.attempts"]]


@pytest.mark.req("R186")
def test_an_agent_asks_for_an_alias_and_the_release_says_which_model_that_is(
    house: Any, connect: Any, kind: Any, model: Any
) -> None:
    house.publish_models(model("echo", alias="fast"), model("slow", alias="slow-one"))
    client = connect(kind)
    assert {"fast", "echo", "slow-one"} <= client.names()
    before = house.provider.seen()["models"].get("echo", 0)
    assert client.ask("fast") == SAID
    assert house.provider.seen()["models"]["echo"] == before + 1
    assert "".join(client.stream("slow-one")) == SAID
    first, second = (event["data"] for event in house.calls(2))
    assert (first["gen_ai.request.model"], first["gen_ai.response.model"]) == ("fast", "echo-2026-01-01")
    assert (first["tenure.resource"], first["tenure.model.served"]) == ("echo", "echo")
    assert (second["gen_ai.request.model"], second["tenure.model.served"]) == ("slow-one", "slow")
    assert client.ask("echo") == SAID  # the model's own name is granted with it


@pytest.mark.parametrize(
    ("path", "body", "new"),
    [
        (
            "/v1/chat/completions",
            '{ "messages": [{"role":"user", "content":"\\u00e9 hi" }],"model" :"fast", "top_p": 1.50e0, "x":[1 , 2]}',
            '{"messages":[{"role":"user", "content":"\\u00e9 hi" }],"model":"echo","top_p":1.50e0,"x":[1 , 2]}',
        ),
        ("/v1/completions", '{"model":"fast","prompt": 1.0}', '{"model":"echo","prompt":1.0}'),
        (
            "/v1beta/models/fast:batchEmbedContents",
            '{"requests": [{"model":"models/fast","content":{"parts":[{"text":"a"}]}, "n": 1.0}]}',
            '{"requests":[{"model":"models/echo","content":{"parts":[{"text":"a"}]},"n":1.0}]}',
        ),
        (
            "/v1beta/models/fast:countTokens",
            '{"generateContentRequest": {"model": "models/fast", "contents": [ ]}}',
            '{"generateContentRequest":{"model":"models/echo","contents":[ ]}}',
        ),
    ],
)
def test_only_the_models_name_changes_in_the_request(house: Any, model: Any, path: str, body: str, new: str) -> None:
    house.publish_models(model("echo", alias="fast"))
    token = house.control.token("clerk")
    assert send(house, "POST", path, body.encode(), token, content_type="application/json")[0] == 200
    seen = house.provider.seen()
    assert (seen["path"], seen["body"]) == (path.replace("fast", "echo"), new)


def test_a_form_that_names_an_alias_goes_out_with_the_model(house: Any, model: Any) -> None:
    house.publish_models(model("echo", alias="fast"))
    form = '--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n{}\r\n--x--'
    kind = 'multipart/form-data; boundary="x"'
    path, token = "/v1/audio/transcriptions", house.control.token("clerk")
    assert send(house, "POST", path, form.format("fast").encode(), token, content_type=kind)[0] == 200
    assert house.provider.seen()["body"] == form.format("echo")


@pytest.mark.req("R054")
def test_policies_speak_of_the_model_whatever_it_is_called(house: Any, connect: Any, kind: Any, model: Any) -> None:
    house.publish_models(model("forbidden", alias="harmless"))
    with pytest.raises(kind.failed, match="no-forbidden"):
        connect(kind).ask("harmless")
    data = house.calls()[0]["data"]
    assert (data["tenure.resource"], data["gen_ai.request.model"]) == ("forbidden", "harmless")


@pytest.mark.req("R054")
@pytest.mark.parametrize(
    "body",
    [
        '{"model":"forbidden","messages":[],"model":"echo"}',
        '{"model":"echo","messages":[],"MODEL":"forbidden"}',
        '{"mod\\u0065l":"forbidden","messages":[],"model":"echo"}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/completions"])
def test_a_request_cannot_mean_one_model_here_and_another_there(house: Any, path: str, body: str) -> None:
    before = house.provider.seen()["requests"]
    token = house.control.token("clerk")
    assert send(house, "POST", path, body.encode(), token, content_type="application/json")[0] == 400
    assert house.provider.seen()["requests"] == before


@pytest.mark.req("R083")
def test_what_fails_falls_back_and_each_attempt_is_told(house: Any, connect: Any, kind: Any, model: Any) -> None:
    failing = [model(name, fallbacks=("echo",), timeouts=QUICK) for name in FAILING]
    gone = model("gone", upstream=Upstream(NOWHERE), fallbacks=("slow",))
    house.publish_models(*failing, gone, model("echo"), model("slow"))
    client = connect(kind)
    for name in FAILING:
        assert client.ask(name) == SAID
    assert "".join(client.stream("gone")) == SAID
    *events, last = house.calls(len(FAILING) + 1)
    why = ("500", "429", "529", "reset", "garbage", "garbage", "timeout")
    assert [outcomes(event) for event in events] == [
        [(name, problem), ("echo", "answered")] for name, problem in zip(FAILING, why, strict=True)
    ]
    assert outcomes(last) == [("gone", "connect_failed"), ("slow", "answered")]
    data = last["data"]
    assert (data["gen_ai.request.model"], data["tenure.resource"]) == ("gone", "gone")
    assert (data["tenure.model.served"], data["gen_ai.response.model"]) == ("slow", "slow-2026-01-01")
    assert "error.type" not in data
    attempts = data["tenure.attempts"]
    assert attempts[0]["upstream"] == "127.0.0.1:9"
    assert all(attempt["duration_us"] >= 0 for attempt in attempts)
    assert data["gen_ai.usage.output_tokens"] == 12


def test_what_is_the_agents_own_fault_or_has_begun_is_not_tried_elsewhere(
    house: Any, connect: Any, kind: Any, model: Any
) -> None:
    house.publish_models(model("error-400", fallbacks=("echo",)), model("half", fallbacks=("echo",)), model("echo"))
    client = connect(kind)
    before = house.provider.seen()["models"].get("echo", 0)
    with pytest.raises(kind.failed, match="scripted failure"):
        client.ask("error-400")
    with pytest.raises((*kind.failed, RuntimeError), match="upstream"):
        list(client.stream("half"))
    assert house.provider.seen()["models"].get("echo", 0) == before
    first, second = house.calls(2)
    assert outcomes(first) == [("error-400", "400")]
    assert (outcomes(second), second["data"]["error.type"]) == ([("half", "answered")], "reset")


@pytest.mark.req("R083")
def test_when_everything_fails_the_last_error_and_the_wait_reach_the_client(
    house: Any, connect: Any, kind: Any, model: Any
) -> None:
    gone = model("gone", upstream=Upstream(NOWHERE))
    house.publish_models(model("error-429", fallbacks=("error-503", "gone")), model("error-503"), gone)
    with pytest.raises(kind.failed, match="cannot connect") as caught:
        connect(kind).ask("error-429")
    answer: Any = caught.value
    assert answer.response.headers["retry-after-ms"] == "5"
    event = house.calls()[0]
    assert outcomes(event) == [("error-429", "429"), ("error-503", "503"), ("gone", "connect_failed")]
    assert (event["data"]["error.type"], event["data"]["http.response.status_code"]) == ("connect_failed", 502)


def test_a_last_error_without_a_wait_has_that_of_the_first(house: Any, connect: Any, model: Any) -> None:
    house.publish_models(model("error-429", fallbacks=("error-502",)), model("error-502"))
    with pytest.raises(openai.InternalServerError) as caught:
        connect(OpenAI).ask("error-429")
    assert (caught.value.status_code, caught.value.response.headers["retry-after-ms"]) == (502, "5")


def test_the_last_answer_is_the_last_one_that_was_given(house: Any, model: Any) -> None:
    house.publish_models(model("reset", fallbacks=("error-529",)), model("error-529"))
    token = house.control.token("clerk")
    status, _, body = send(house, "POST", "/v1/messages", b'{"model":"reset","messages":[]}', token)
    assert (status, json.loads(body)["error"]["type"]) == (529, "overloaded_error")
    assert house.calls()[0]["data"]["error.type"] == "529"


@pytest.mark.req("R083", "R054")
def test_a_fallback_that_the_agent_may_not_ask_for_is_passed_over(house: Any, connect: Any, model: Any) -> None:
    house.publish_models(
        model("error-500", fallbacks=("forbidden", "held", "echo")), *map(model, ("forbidden", "held", "echo"))
    )
    assert connect(OpenAI).ask("error-500") == SAID
    event = house.calls()[0]
    assert outcomes(event) == [
        ("error-500", "500"), ("forbidden", "denied"), ("held", "needs_approval"), ("echo", "answered"),
    ]  # fmt: skip
    denied, held = event["data"]["tenure.attempts"][1:3]
    assert (denied["policies"], denied["error"]) == (["no-forbidden"], "This model is not for letters.")
    assert held["policies"] == ["ask-first"]
    assert (event["status"], event["data"]["tenure.violation"]) == ("allowed", False)


def test_each_upstream_gets_its_own_key(build: Any, other: Any, kind: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("OTHER_KEY", "other-secret")
    house = build()
    first = ModelFact("error-500", Upstream(house.provider.url, "PROVIDER_KEY"), fallbacks=("echo",))
    house.publish_models(first, ModelFact("echo", Upstream(other.url, "OTHER_KEY")))
    client = kind(house.gateway.url, house.control.token("clerk"))
    assert client.ask("error-500") == SAID
    client.close()
    keys = [process.seen()["headers"][kind.key].removeprefix("Bearer ") for process in (house.provider, other)]
    assert keys == ["provider-secret", "other-secret"]
    assert "secret" not in json.dumps(house.calls()[0])


def test_what_takes_too_long_ends_with_words_about_it(house: Any, connect: Any, kind: Any, model: Any) -> None:
    house.publish_models(
        model("hang", timeouts=Timeouts(first_byte_s=0.2)),
        model("slow", timeouts=Timeouts(idle_s=0.01)),
        model("wait-200", alias="whole", timeouts=Timeouts(total_s=0.1)),
        model("slow", alias="total", timeouts=Timeouts(total_s=0.12)),
    )
    client = connect(kind)
    with pytest.raises(kind.failed, match=r"did not answer within 0.2 s"):
        client.ask("hang")
    with pytest.raises((*kind.failed, RuntimeError), match=r"sent nothing for 0.01 s"):
        list(client.stream("slow"))
    with pytest.raises(kind.failed, match=r"within 0.1 s"):
        client.ask("whole")
    with pytest.raises((*kind.failed, RuntimeError), match=r"within 0.12 s"):
        list(client.stream("total"))
    kinds = [event["data"]["error.type"] for event in house.calls(4)]
    assert kinds[:3] == ["timeout"] * 3
    assert kinds[3] in ("too_long", "timeout")  # on a busy machine it may not even have begun by then
    assert [event["data"].get("http.response.status_code") for event in house.calls(3)[:3]] == [504, 200, 504]


@pytest.mark.req("R083")
def test_a_client_retries_over_fallbacks_that_failed_as_well(house: Any, connect: Any, kind: Any, model: Any) -> None:
    house.publish_models(model("flaky", alias="fast", fallbacks=("error-503",)), model("error-503"))
    assert connect(kind, retries=2).ask("fast") == SAID
    first, second = house.calls(2)
    assert outcomes(first) == [("flaky", "500"), ("error-503", "503")]
    assert outcomes(second) == [("flaky", "answered")]


def test_a_client_that_hangs_up_stops_the_attempt_that_is_under_way(house: Any, model: Any) -> None:
    house.publish_models(model("error-500", fallbacks=("hang", "echo")), model("hang"), model("echo"))
    before = house.provider.seen()["broken_off"]
    with pytest.raises(openai.APITimeoutError):
        house.client().with_options(timeout=1.0).responses.create(model="error-500", input="hi")
    (event,) = house.calls()
    assert outcomes(event) == [("error-500", "500"), ("hang", "client_disconnected")]
    assert event["data"]["error.type"] == "client_disconnected"
    end = time.monotonic() + 60
    while house.provider.seen()["broken_off"] <= before:
        assert time.monotonic() < end
        time.sleep(0.02)


# -- concurrency
def ask(house: Any, model: str) -> Any:
    """An answer, or the error that came instead."""
    client = house.client()
    try:
        return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
    except openai.APIStatusError as error:
        return error


def wait_until(house: Any, model: str, count: int) -> None:
    end = time.monotonic() + 60
    while house.provider.seen()["models"].get(model, 0) < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_upstream_gets_no_more_calls_at_once_than_was_said(house: Any, model: Any) -> None:
    house.publish_models(model("wait-700", concurrency=Concurrency(2, queue=2)), model("echo"))
    before = house.provider.seen()["models"].get("wait-700", 0)
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: ask(house, "wait-700"), range(5)))
    assert time.monotonic() - begun > 1.4  # four in two turns
    refused = [answer for answer in answers if isinstance(answer, openai.APIStatusError)]
    assert [(error.status_code, error.response.headers["retry-after"]) for error in refused] == [(503, "2")]
    assert "2 calls are under way" in str(refused[0])
    assert house.provider.seen()["models"]["wait-700"] == before + 4
    assert sorted(str(event["data"].get("error.type")) for event in house.calls(5)) == ["None"] * 4 + ["busy"]


def test_who_waits_too_long_is_told_and_a_fallback_helps(house: Any, model: Any) -> None:
    limit = Concurrency(1, queue=1, wait_s=0.2)
    house.publish_models(
        model("hang", concurrency=limit), model("hang", alias="else", concurrency=limit, fallbacks=("echo",)),
        model("echo"),
    )  # fmt: skip
    count = house.provider.seen()["models"].get("hang", 0)
    holder = house.client()
    thread = threading.Thread(target=lambda: _hang_up(holder))
    thread.start()
    wait_until(house, "hang", count + 1)
    assert "none of them ended within 0.2 s" in str(ask(house, "hang"))
    assert ask(house, "else").choices[0].message.content == "You said: hi"
    thread.join()
    assert outcomes(house.calls(3)[1]) == [("hang", "busy"), ("echo", "answered")]


def _hang_up(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1.5).chat.completions.create(
            model="hang", messages=[{"role": "user", "content": "hi"}]
        )


def test_a_place_is_given_back_by_who_hangs_up_and_by_a_stream_at_its_end(house: Any, connect: Any, model: Any) -> None:
    limit = Concurrency(1, queue=0)
    house.publish_models(model("hang", concurrency=limit), model("slow", concurrency=limit))
    count = house.provider.seen()["models"].get("hang", 0)
    thread = threading.Thread(target=lambda: _hang_up(house.client()))
    thread.start()
    wait_until(house, "hang", count + 1)
    assert ask(house, "slow").status_code == 503
    thread.join()
    house.calls(2)
    stream = connect(Gemini).stream("slow")
    next(stream)
    assert ask(house, "slow").status_code == 503
    list(stream)
    house.calls(4)
    assert ask(house, "slow").choices[0].message.content == "You said: hi"
