"""Where a failed run most likely went wrong: read from its record, in order, and with what says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.attribution.__main__ import guess
from bench.attribution.fit import Labelled, columns_of, gradient
from tenure.attribution import service
from tenure.attribution.model import Blame, Run, Step
from tenure.attribution.reading import MOST_STEPS, run_of
from tenure.attribution.weights import WEIGHTS
from tenure.attribution.words import WORDS
from tenure.base.room import World
from tenure.evaluation.formats import who_and_when
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import outcome_data, span_of
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, opened, refused, tool_call


def _chat_of(*said: tuple[str, str]) -> Run:
    steps = tuple(Step(index, f"s{index}", who, "message", text) for index, (who, text) in enumerate(said))
    return Run("t", steps, "How many apples are there?")


def _signs(blame: Blame, index: int) -> set[str]:
    return {each.sign for one in blame.suspects if one.step.index == index for each in one.evidence}


@pytest.mark.req("R113", "R085")
def test_the_weights_are_those_that_the_labelled_sessions_give(examples: list[Labelled]) -> None:
    """At a maximum of a concave function no weight can be better: its slope is 0. Weights have four digits."""
    columns = columns_of(examples)
    assert set(columns) == set(WEIGHTS)
    slope = gradient(examples, columns, [WEIGHTS[name] for name in columns])
    assert max(map(abs, slope)) < 0.05
    off = gradient(examples, columns, [WEIGHTS[name] + 0.1 * (name == "assumes") for name in columns])
    assert max(map(abs, off)) > 0.5


@pytest.mark.req("R113")
def test_it_names_what_people_named_more_often_than_any_place_does(examples: list[Labelled]) -> None:
    """On sessions that the weights were fitted on; what holds on others is measured by bench/attribution."""
    found = [guess(one, dict(WEIGHTS)) for one in examples]
    steps = sum(step == one.step for (step, _), one in zip(found, examples, strict=True))
    agents = sum(agent == one.agent for (_, agent), one in zip(found, examples, strict=True))
    assert len(examples) == 126
    assert steps > 126 * 0.43
    assert agents > 126 * 0.6


def test_neither_the_answer_nor_the_labels_are_read(shared_data: Path, clock: FakeClock) -> None:
    raw = (shared_data / "who-and-when" / "algorithm-generated.jsonl.xz").read_bytes()
    session = who_and_when.parse(raw)[0]
    hidden = {"mistake_agent": "x", "mistake_step": 0, "mistake_reason": "x", "ground_truth": "x", "labels": None}
    events = who_and_when.trace_events(session, "default", clock.now)

    def order(one: who_and_when.Session) -> list[tuple[int, float]]:
        spans = [span_of(event) for event in [*events, who_and_when.outcome_event(one, "default", clock.now)]]
        return [(each.step.index, each.share) for each in service.weigh(run_of("t", spans)).suspects]

    assert order(session) == order(replace(session, outcome={**session.outcome, **hidden}))


@pytest.mark.req("R085", "R095", "R207")
def test_a_step_that_makes_up_figures_is_told_with_the_figures() -> None:
    blame = service.weigh(
        _chat_of(
            ("planner", "Count the apples in the store."),
            ("counter", "I cannot see the store. Let's assume there are 4711 apples and 1234 pears."),
            ("checker", "There seems to be no issue. The final answer is **4711**. TERMINATE"),
        )
    )
    assert blame.suspects[0].step.agent == "counter"
    assert {"assumes", "unsupported_figures"} <= _signs(blame, 1)
    words = " ".join(each.words for each in blame.suspects[0].evidence)
    assert "4711, 1234" in words
    assert blame.agents[0][0] == "counter"
    assert sum(one.share for one in blame.suspects) == pytest.approx(1)


def test_what_only_reports_is_the_outcome_of_the_step_before(clock: FakeClock) -> None:
    def said(step: int, who: str, text: str) -> Event:
        message = {"role": "user", "name": who, "parts": [{"type": "text", "content": text}]}
        data = {"tenure.step": step, "tenure.message": message}
        at = clock.now + timedelta(seconds=step)
        return tool_call(at, type="import.message", data=data, id=f"e{step}")

    texts = [("coder", "```python\nprint(1)\n```"), ("terminal", "exitcode: 1 (execution failed)\nNameError: y")]
    run = run_of("t", [span_of(said(step, who, text)) for step, (who, text) in enumerate([*texts, ("boss", "Hm.")])])
    assert [(step.index, step.agent, step.failed) for step in run.steps] == [(0, "coder", True), (2, "boss", False)]
    assert any(each.words == "The first failure of the run: NameError: y" for each in _all(service.weigh(run)))


def _all(blame: Blame) -> list[Any]:
    return [each for one in blame.suspects for each in one.evidence]


def test_every_sign_in_words_is_one_that_has_a_weight() -> None:
    assert set(WORDS) <= set(WEIGHTS)


def test_a_run_without_end_is_read_by_its_end() -> None:
    run = run_of("t", [span_of(tool_call(FakeClock().now, id=f"e{n:05}")) for n in range(MOST_STEPS + 30)])
    assert len(run.steps) == MOST_STEPS
    assert run.steps[-1].index == MOST_STEPS + 29


@pytest.fixture
def world_with_runs(world: World, clock: FakeClock) -> Iterator[World]:
    """A run of a live agent whose refund was refused, one that succeeded, and one in which nothing was said."""
    answer = [{"role": "assistant", "parts": [{"type": "text", "content": "I refunded 950 dollars."}]}]
    asked = [{"role": "user", "parts": [{"type": "text", "content": "Refund order 17."}]}]
    messages = {"gen_ai.input.messages": json.dumps(asked), "gen_ai.output.messages": json.dumps(answer)}
    with opened(world):
        events = [
            refused(clock.now + timedelta(seconds=1)),
            chat(clock.now + timedelta(seconds=2), data=messages),
            chat(clock.now, session="good", data=messages),
            chat(clock.now, session="mute"),
        ]
        telemetry.ingest(world, GATEWAY, events)
        data = outcome_data("test", "t", 0, reward=1.0, success=True)
        ended = replace(chat(clock.now, session="good"), type="import.outcome", data=data, id="o")
        telemetry.import_events(world, Actor("default", "user:op"), [ended])
        yield world


def _trace(world: World, operator: Actor, session: str) -> str:
    return telemetry.list_traces(world, operator, session=session)[0].trace_id


@pytest.mark.req("R085", "R095")
def test_of_a_live_run_the_refused_call_and_the_claim_without_ground_are_told(
    world_with_runs: World, operator: Actor
) -> None:
    blame = service.blame(world_with_runs, operator, _trace(world_with_runs, operator, "s1"))
    assert blame.run.success is None
    assert [step.failed for step in blame.run.steps] == [True, False]
    assert "first_failure" in _signs(blame, 0)
    assert any(each.sign == "unsupported_figures" and "950" in each.words for each in _all(blame))


def test_nobody_is_to_blame_for_a_success_nor_where_nothing_was_said(world_with_runs: World, operator: Actor) -> None:
    for session, code in (("good", "run_succeeded"), ("mute", "nothing_said")):
        with pytest.raises(Refused) as refusal:
            service.blame(world_with_runs, operator, _trace(world_with_runs, operator, session))
        assert refusal.value.code == code
    with pytest.raises(Refused) as refusal:
        service.blame(world_with_runs, replace(operator, workspace="other"), "0" * 32)
    assert refusal.value.status == 404
