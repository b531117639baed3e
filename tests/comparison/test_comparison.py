"""Two runs side by side: what stands for what, where they part, and what explains it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.base.room import World
from tenure.comparison import service
from tenure.comparison.model import Comparison, Step, align, compare
from tenure.comparison.reading import steps_of
from tenure.kernel.difference import differences
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import span_of
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, opened, refused, tool_call


def _tool(name: str, asked: Any = None, answered: Any = None, **more: Any) -> Step:
    return Step(f"{name}-{asked}", "tool", name, "clerk", asked, asked, answered, **more)


def _names(found: Comparison) -> list[tuple[str, str]]:
    return [(pair.left.name if pair.left else "", pair.right.name if pair.right else "") for pair in found.pairs]


@pytest.mark.req("R084")
def test_a_step_that_only_one_run_has_shifts_nothing() -> None:
    left = [_tool(name) for name in ("find", "read", "write", "send")]
    right = [_tool(name) for name in ("find", "read", "check", "write", "send")]
    found = compare(left, right)
    assert _names(found) == [("find", "find"), ("read", "read"), ("", "check"), ("write", "write"), ("send", "send")]
    assert found.parting == 2
    assert found.because == ("Only the second run has tool check after tool read.",)


@pytest.mark.req("R084")
@pytest.mark.parametrize(
    ("right", "says"),
    [
        (_tool("pay", {"to": {"id": 2}, "cents": 5}, "ok"), "It was given something else (to.id)."),
        (_tool("pay", {"to": {"id": 1}, "cents": 5}, "no"), "pay answered the same question otherwise."),
        (
            _tool("pay", {"to": {"id": 1}, "cents": 5}, "ok", effect="deny", reason="too much"),
            "It was decided otherwise (none, then deny: too much).",
        ),
        (
            _tool("pay", {"to": {"id": 1}, "cents": 5}, "ok", error="timeout"),
            "It ended otherwise (error none, then tim",
        ),
    ],
)
def test_what_explains_the_parting_is_named(right: Step, says: str) -> None:
    left = [_tool("find"), _tool("pay", {"to": {"id": 1}, "cents": 5}, "ok"), _tool("send")]
    found = compare(left, [left[0], right, left[2]])
    assert found.parting == 1
    assert found.because[0].startswith(says)
    assert [pair.same for pair in found.pairs] == [True, False, True]


@pytest.mark.req("R084")
def test_another_release_or_model_is_named_where_the_runs_part_and_for_the_whole() -> None:
    def answers(text: str, release: str) -> Step:
        return Step("s", "chat", "", "clerk", "hi", "hi", text, facts=(("release", release), ("model", "m")))

    found = compare([answers("yes", "r1")], [answers("no", "r2")])
    assert found.because == (
        "The model answered the same question otherwise.",
        "It ran under another release (r1, then r2).",
    )
    assert [(change.what, change.left, change.right) for change in found.context] == [("release", "r1", "r2")]
    assert compare([answers("yes", "r1")], [answers("no", "r1")]).because[-1].startswith("Nothing that is recorded")
    assert compare([answers("yes", "r1")], [answers("yes", "r2")]).parting is None, "the same was done under both"


_steps = st.lists(st.builds(_tool, st.sampled_from("abc"), st.integers(0, 2)), max_size=7)


@given(_steps, _steps)
def test_every_step_of_both_runs_is_there_once_and_in_order(left: list[Step], right: list[Step]) -> None:
    pairs, whole = align(left, right)
    assert whole
    assert [i for i, _ in pairs if i is not None] == list(range(len(left)))
    assert [j for _, j in pairs if j is not None] == list(range(len(right)))
    assert all(left[i].name == right[j].name for i, j in pairs if i is not None and j is not None)
    assert align(left, left)[0] == [(place, place) for place in range(len(left))]


def test_runs_without_end_are_paired_one_by_one_and_say_so() -> None:
    left = [_tool("a", n) for n in range(1200)]
    right = [_tool("b", n) for n in range(1201)]
    found = compare(left, right)
    assert not found.whole
    assert len(found.pairs) == 1201
    assert compare(left, [*left[:600], _tool("x"), *left[600:]]).whole, "what is alike at both ends costs nothing"


def test_differences_name_their_place() -> None:
    left, right = {"a": [1, {"b": None}], "c": 1}, {"a": [1, {"b": 0}, 2], "d": 1}
    found = [(one.path, one.left_there, one.right_there) for one in differences(left, right)]
    assert found == [("a[1].b", True, True), ("a[2]", False, True), ("c", True, False), ("d", False, True)]
    assert differences(left, left) == ()
    assert [one.path for one in differences(1, True)] == [""]
    assert len(differences(list(range(50)), [])) == 20


@pytest.fixture
def two_runs(world: World, clock: FakeClock) -> Iterator[World]:
    """The same task under two releases: the second one's refund is over its limit."""

    def run(session: str, release: str, cents: int, last: Event) -> list[Event]:
        asked = {"gen_ai.input.messages": json.dumps([{"role": "user", "parts": []}])}
        pays = {"gen_ai.tool.call.arguments": {"order": "17", "cents": cents}}
        events = [
            chat(clock.now, data=asked),
            replace(last, time=clock.now + timedelta(seconds=1), data={**last.data, **pays}),
        ]
        theirs = chat(clock.now, session=session)
        return [
            replace(event, session=session, trace_id=theirs.trace_id, release=release, parent_span_id=None)
            for event in events
        ]

    with opened(world):
        paid = tool_call(clock.now, "payments/refund")
        telemetry.ingest(world, GATEWAY, run("one", "r1", 100, paid))
        telemetry.ingest(world, GATEWAY, run("two", "r2", 90000, refused(clock.now)))
        yield world


@pytest.mark.req("R084")
def test_the_traces_of_two_releases_part_where_policy_said_no(two_runs: World, operator: Actor) -> None:
    traces = {one.session: one.trace_id for one in telemetry.list_traces(two_runs, operator)}
    found = service.compare_traces(two_runs, operator, traces["one"], traces["two"])
    assert found.parting == 1
    assert found.because[0] == "It was given something else (cents)."
    assert "deny: over the limit" in found.because[1]
    assert "It ran under another release (r1, then r2)." in found.because
    with pytest.raises(Refused, match="Nothing is known"):
        service.compare_traces(two_runs, replace(operator, workspace="other"), traces["one"], traces["two"])


def test_a_message_of_a_recording_is_a_step_by_its_speaker(clock: FakeClock) -> None:
    message = {"role": "user", "name": "planner", "parts": [{"type": "text", "content": "Go."}]}
    event = tool_call(clock.now, type="import.message", data={"tenure.message": message})
    assert [(step.kind, step.name) for step, _ in steps_of([span_of(event)])] == [("message", "planner")]
