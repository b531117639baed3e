"""A model that people have asked which step failed a run: what is sent, what is kept, who may, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.attribution.__main__ import judged, line, main, rates, simple
from bench.attribution.fit import Labelled
from tenure.attribution import judge, opinions, service
from tenure.attribution.api import router
from tenure.attribution.cli import register
from tenure.attribution.judge import Endpoint
from tenure.attribution.model import Opinion, Run, State, Step
from tenure.attribution.prompt import MOST_SHOWN, PROMPT, Named, question, read
from tenure.base import subjects
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Role
from tenure.telemetry import service as telemetry
from tests.sim.clock import FakeClock
from tests.sim.gateway import ProviderProcess
from tests.sim.serving import serving
from tests.sim.telemetry import GATEWAY, chat, opened, refused

ANN = "ann@example.com"
SECRET = "AKIAQYLPMN5HHHFPZAM2"
VIEWER = Actor("default", "person:vic@example.com", frozenset({Role.VIEWER}))
AUDITOR = Actor("default", "person:aud@example.com", frozenset({Role.AUDITOR}))


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderProcess]:
    """A model provider in its own process."""
    with ProviderProcess() as running:
        yield running


@pytest.fixture
def judging(
    world: World, clock: FakeClock, provider: ProviderProcess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A world with a judge, and a run for Ann: a refund that was refused, and an answer that is not true."""
    monkeypatch.setenv("BLAME_KEY", "sk-blame")
    config = replace(
        world.config,
        blame_judge=provider.url,
        blame_judge_model="judge",
        blame_judge_key="BLAME_KEY",
        blame_judge_timeout_s=20,
        redact="contact",
    )
    with opened(world):
        asked = [{"role": "user", "parts": [{"type": "text", "content": f"Refund order 17 of {ANN}."}]}]
        said = [{"role": "assistant", "parts": [{"type": "text", "content": "I refunded 950 dollars."}]}]
        messages = {"gen_ai.input.messages": json.dumps(asked), "gen_ai.output.messages": json.dumps(said)}
        _ingest(world, refused(clock.now + timedelta(seconds=1)), chat(clock.now + timedelta(seconds=2), data=messages))
        yield replace(world, config=config)  # what was kept before is sent as the settings are now


def _ingest(world: World, *events: Any, person: str = ANN) -> None:
    told = [replace(event, data={**event.data, "enduser.id": person}) for event in events]
    telemetry.ingest(world, GATEWAY, told)


def _trace(world: World, actor: Actor, session: str = "s1") -> str:
    return telemetry.list_traces(world, actor, session=session)[0].trace_id


def _ask(world: World, actor: Actor, trace_id: str) -> Opinion:
    return opinions.ask(world, actor, service.told_run(world, actor, trace_id))


def _found(world: World, actor: Actor, trace_id: str) -> list[Opinion]:
    return opinions.find(world, actor, service.told_run(world, actor, trace_id))


@pytest.mark.req("R085", "R095")
def test_what_a_judge_says_is_kept_once_beside_the_evidence(
    judging: World, operator: Actor, provider: ProviderProcess
) -> None:
    trace = _trace(judging, operator)
    before = service.blame(judging, operator, trace)
    assert _found(judging, operator, trace) == [], "nothing is sent that nobody asked for"
    requests = provider.seen()["requests"]
    said = _ask(judging, operator, trace)
    assert (said.asked.state, said.step, said.agent) == (State.NAMED, 1, "clerk")
    assert said.reason == "It said: I refunded 950 dollars."
    assert said.input_tokens > 0
    seen = provider.seen()
    assert seen["headers"]["authorization"] == "Bearer sk-blame"
    sent = json.loads(seen["body"])
    assert json.loads(sent["messages"][1]["content"])["asked"].strip() == "Refund order 17 of [redacted:contact/email]."
    again = _ask(judging, operator, trace)
    assert again == said, "what it said is not paid twice"
    assert provider.seen()["requests"] == requests + 1
    assert _found(judging, operator, trace) == [said]
    assert service.blame(judging, operator, trace) == before, "the evidence stays what it was"
    kept = telemetry.event(judging, "default", said.asked.id)
    assert kept is not None
    assert kept.trace_id is None, "the run took no longer because somebody asked about it"
    facts = telemetry.list_events(judging, operator, type="blame.judged", content=False)[0].event.data
    assert "tenure.blame.reason" not in facts
    assert facts["gen_ai.request.model"] == "judge"
    [told] = telemetry.list_events(judging, operator, type="blame.asked")
    assert (told.event.actor, told.event.data["tenure.blame.of"]) == (operator.name, trace)


def test_it_is_asked_over_http_by_whoever_says_so_and_shown_as_a_models(
    judging: World, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = _trace(judging, operator)
    app = typer.Typer()
    app.command()(lambda: None)
    register(app)
    with serving(judging, operator, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        plain = CliRunner().invoke(app, ["blame", trace])
        assert plain.exit_code == 0, plain.output
        assert "A model's opinion" not in plain.output
        told = CliRunner().invoke(app, ["blame", trace, "--ask-judge"])
        assert told.exit_code == 0, told.output
        assert told.output.startswith(plain.output), "the evidence stands first, as it did"
        words = told.output.removeprefix(plain.output)
        assert (
            f"A model's opinion, judge-2026-01-01 ({PROMPT}), asked by {operator.name}: names step 2, clerk: " in words
        )
        assert "no price known" in words
        found = json.loads(CliRunner().invoke(app, ["blame", trace, "--json"]).output)
    assert found["judge"] == {"model": "judge", "host": "127.0.0.1", "prompt": PROMPT, "may_ask": True}
    [one] = found["opinions"]
    assert one["span_id"] == next(each["span_id"] for each in found["suspects"] if each["step"] == one["step"])


def test_who_may_not_see_what_was_said_neither_asks_nor_reads(
    judging: World, operator: Actor, provider: ProviderProcess
) -> None:
    trace = _trace(judging, operator)
    requests = provider.seen()["requests"]
    program = replace(operator, name="service:nightly")
    owner = Actor("default", "person:olga@example.com", frozenset({Role.OWNER}))
    for actor in (VIEWER, AUDITOR, owner, program):
        with pytest.raises(Refused) as refusal:
            _ask(judging, actor, trace)
        assert refusal.value.status == 403, actor
    assert provider.seen()["requests"] == requests, "nothing was sent"
    answering = replace(judging, owners=lambda _connection, _workspace: {"clerk": ("olga@example.com",)})
    said = _ask(answering, owner, trace)
    assert said.step == 1
    assert _found(answering, owner, trace) == [said]
    [hidden] = _found(judging, VIEWER, trace)
    assert (hidden.gone, hidden.reason, hidden.step, hidden.agent) == ("withheld", "", None, "")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("error-500", "it answered 500"),
        ("junk", "it answered otherwise than OpenAI's API says"),
        ("reset", "it cannot be reached"),
        ("redirect", "it answered 307"),
        ("hang", "it gave no answer within 0.3 seconds"),
        ("drip", "it gave no answer within 0.3 seconds"),
    ],
)
def test_a_judge_that_gives_no_answer_is_told_as_that(
    model: str, words: str, provider: ProviderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLAME_KEY", "sk-blame")
    seconds = 0.3 if model in ("hang", "drip") else 60.0
    with pytest.raises(judge.NoAnswerError) as none:
        judge.ask(Endpoint(provider.url, model, "BLAME_KEY", seconds), question(_run("one"), ()))
    assert words in str(none.value)
    assert "sk-blame" not in str(none.value)


def test_one_that_named_nothing_is_told_with_what_it_took_and_may_be_asked_again(
    judging: World, operator: Actor
) -> None:
    trace = _trace(judging, operator)
    for model, state, words in (("error-500", State.FAILED, "500"), ("echo", State.UNREADABLE, "not the JSON")):
        world = replace(judging, config=replace(judging.config, blame_judge_model=model))
        for _ in range(2):
            said = _ask(world, operator, trace)
        assert said.asked.state is state
        assert words in said.asked.detail
        assert said in _found(world, operator, trace)
        assert (said.input_tokens > 0) == (state is State.UNREADABLE)
    assert len(_found(judging, operator, trace)) == 4
    assert _ask(judging, operator, trace).step == 1, "another may be asked"


def test_bounds_and_runs_that_are_not_shown_to_a_judge(judging: World, operator: Actor, clock: FakeClock) -> None:
    trace = _trace(judging, operator)
    none = replace(judging, config=replace(judging.config, blame_judge=""))
    with pytest.raises(Refused) as refusal:
        _ask(none, operator, trace)
    assert refusal.value.code == "no_judge"
    few = replace(judging, config=replace(judging.config, blame_judge_daily=1, blame_judge_model="error-500"))
    _ask(few, operator, trace)
    with pytest.raises(Refused) as refusal:
        _ask(few, operator, trace)
    assert (refusal.value.code, refusal.value.status) == ("judge_used_up", 429)
    _ingest(judging, chat(clock.now + timedelta(seconds=3)), person="ben@example.com")
    with pytest.raises(Refused) as refusal:
        _ask(judging, operator, trace)
    assert refusal.value.code == "several_people"


def test_an_opinion_goes_with_the_person_whom_the_run_was_for(
    judging: World, operator: Actor, clock: FakeClock
) -> None:
    trace = _trace(judging, operator)
    said = _ask(judging, operator, trace)
    with judging.begin() as tx:
        subjects.destroy(tx, "default", f"person:{ANN}", clock.now + timedelta(hours=1))
    event = telemetry.event(judging, "default", said.asked.id)
    assert event is not None
    assert event.data["tenure.content"] == "erased"
    assert "tenure.blame.reason" not in event.data


def _run(*said: str) -> Run:
    return Run(
        "t", tuple(Step(place, f"s{place}", f"a{place}", "message", text) for place, text in enumerate(said)), "Do."
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"step": 2, "agent": "a1", "reason": "wrong"}', Named(1, "a1", "wrong")),
        ('Here:\n```json\n{"step": 1, "agent": " a0 ", "reason": ""}\n```', Named(0, "a0", "")),
        ('{"step": 2, "agent": "a0", "reason": "wrong"}', "it names step 2 and an agent that did not take it"),
        ('{"step": 9, "agent": "a0", "reason": "wrong"}', "it names step 9, which the run does not have"),
        ('{"step": "2", "agent": "a1", "reason": "wrong"}', "it is not the JSON that was asked for"),
        ('{"step": 2, "agent": "a1"}', "it is not the JSON that was asked for"),
        ("Step 2, I think.", "it holds no JSON"),
        ("} {", "it holds no JSON"),
    ],
)
def test_an_answer_names_a_step_of_the_run_with_its_agent_or_nothing(text: str, found: Named | str) -> None:
    assert read(_run("one", "two"), text, {"secret"}) == found


def test_what_is_sent_is_redacted_before_it_is_shortened() -> None:
    most = MOST_SHOWN // 3
    half = most // 2
    run = _run("x " * (half // 2 - 4) + SECRET + " x" * most)
    sent = question(run, {"secret"})[1]["content"]
    assert SECRET[:6] not in sent
    assert "characters left out" in sent
    assert len(sent) < MOST_SHOWN + 500
    assert PROMPT not in sent


def test_a_judge_is_measured_in_the_same_table(
    examples: list[Labelled], provider: ProviderProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = examples[:6]
    found = judged(examples, Endpoint(provider.url, "judge", "", 60.0))
    assert rates(examples, found.guesses) == simple(examples)["the last step"], "that is whom this one names"
    assert (found.unnamed, found.input_tokens > 0) == ([], True)
    silent = judged(examples[:2], Endpoint(provider.url, "error-500", "", 60.0))
    assert len(silent.unnamed) == 2
    assert rates(examples[:2], silent.guesses)["agent"]["right"] == 0
    assert line("a", rates(examples, found.guesses)).startswith("a ")
    with pytest.raises(SystemExit):
        main(["--judge", provider.url])
    assert "--judge and --model belong together" in capsys.readouterr().err
