"""The ways that runs go: loops folded, traces joined, figures of edges, what is rare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tenure.base.room import World
from tenure.kernel.values import Actor, Event
from tenure.paths import service
from tenure.paths.api import router
from tenure.paths.cli import register
from tenure.paths.model import ENDED, FAILED, SOLVED, START, Part, behind, folded, runs_of, ways_of
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import Walked
from tenure.ui.runs.trail import MOST, Picture, drawn
from tests.sim.serving import serving
from tests.sim.telemetry import GATEWAY, chat, opened, tool_call

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_MODEL = "model:m"


def _step(trace: str, place: int, reached: str = "", **more: Any) -> Walked:
    kind = "tool" if reached else "llm"
    step = Walked(
        trace, trace, "", "clerk", "call.completed", f"{kind} {reached}", kind, reached, "m",
        _AT + timedelta(seconds=place), 1000 * (place + 1), False, Decimal("0.5") if kind == "llm" else None, False,
    )  # fmt: skip
    return replace(step, **more)


def _run(trace: str, *tools: str, **more: Any) -> list[Walked]:
    """A model call, then each tool with a model call after it."""
    steps = [_step(trace, 0, **more)]
    for place, tool in enumerate(tools):
        steps += [_step(trace, 2 * place + 1, tool, **more), _step(trace, 2 * place + 2, **more)]
    return steps


def _judged(trace: str, *, solved: bool) -> Walked:
    return _step(trace, 900, type="import.outcome", solved=solved)


@pytest.mark.req("R086")
def test_loops_are_folded_whatever_their_length() -> None:
    assert folded("abc") == (Part(("a",)), Part(("b",)), Part(("c",)))
    assert folded("aaab") == (Part(("a",), 3), Part(("b",)))
    assert folded("xababababy") == (Part(("x",)), Part(("a", "b"), 4), Part(("y",)))
    assert folded("aabaab") == (Part(("a", "a", "b"), 2),)
    assert folded("") == ()


@given(st.text("abc", max_size=30))
def test_what_is_folded_is_all_there_in_its_order(steps: str) -> None:
    assert "".join("".join(part.nodes) * part.count for part in folded(steps)) == steps


@pytest.mark.req("R086")
def test_runs_that_differ_in_rounds_alone_go_one_way_and_edges_have_their_figures() -> None:
    steps = [*_run("t1", "find", "find"), _judged("t1", solved=True)]
    steps += [*_run("t2", "find", "find", "find"), _judged("t2", solved=False), *_run("t3", "pay")]
    ways = ways_of(runs_of(sorted(steps, key=lambda step: step.at), {}))
    assert ways.ends == {SOLVED: 1, FAILED: 1, ENDED: 1}
    first = ways.paths[0]
    assert [(part.nodes, part.count) for part in first.parts] == [((_MODEL, "tool:find"), 3), ((_MODEL,), 1)]
    assert (len(first.runs), first.count(SOLVED), first.count(FAILED)) == (2, 1, 1)
    edges = {(edge.source, edge.target): edge for edge in ways.edges}
    found = edges[_MODEL, "tool:find"]
    assert (found.runs, found.passes, found.solved, found.failed) == (2, 5, 1, 1)
    assert (found.median_us, found.cost_usd) == (4000, Decimal(0)), "of steps that took 2, 2, 4, 4 and 6 ms"
    assert edges["tool:find", _MODEL].cost_usd == Decimal("0.5")
    assert edges[_MODEL, FAILED].runs == 1
    assert edges[START, _MODEL].runs == 3
    assert [run.traces for run in behind(ways, source=_MODEL, target="tool:pay")] == [("t3",)]
    assert {run.traces for run in behind(ways, node="tool:find")} == {("t1",), ("t2",)}
    assert {run.traces for run in behind(ways, path=first.id)} == {("t1",), ("t2",)}
    assert behind(ways, path="nonsense") == []


@pytest.mark.req("R086")
def test_a_way_that_few_go_is_rare_once_there_are_enough_runs() -> None:
    common = [step for number in range(24) for step in _run(f"c{number}", "find")]
    ways = ways_of(runs_of([*common, *_run("odd", "drop")], {}))
    assert [(len(path.runs), path.rare) for path in ways.paths] == [(24, False), (1, True)]
    assert [edge.rare for edge in ways.edges if "drop" in edge.source + edge.target] == [True, True]
    few = ways_of(runs_of([*common[:30], *_run("odd", "drop")], {}))
    assert not any(path.rare for path in few.paths)


@pytest.mark.req("R086")
def test_traces_of_one_session_conversation_or_task_are_one_run_in_order() -> None:
    first = _run("t1", "find", session="s")
    second = [replace(step, at=step.at + timedelta(hours=1)) for step in _run("t2", "pay", session="s")]
    [run] = runs_of([*first, *second], {})
    assert run.traces == ("t1", "t2")
    assert [visit.node for visit in run.visits] == [_MODEL, "tool:find", _MODEL, _MODEL, "tool:pay", _MODEL]
    assert len(runs_of([*first, *(replace(step, agent="other") for step in second)], {})) == 2, (
        "sessions are an agent's"
    )
    parted = [*(replace(s, session="a") for s in first), *(replace(s, session="b", agent="helper") for s in second)]
    assert len(runs_of(parted, {})) == 2
    [joined] = runs_of(parted, {"a": "close the month", "b": "close the month"})
    assert joined.agents == ("clerk", "helper")
    assert joined.visits[-1].node == "model:m@helper"
    talks = [*(replace(s, conversation="1") for s in first), *(replace(s, conversation="2") for s in second)]
    assert len(runs_of(talks, {})) == 2, "a session may hold several conversations"


def test_what_an_agent_says_of_calls_that_a_gateway_saw_is_no_other_step() -> None:
    own = [_step("t1", place, "find", type="otlp.span") for place in (1, 3)]
    [run] = runs_of(sorted([*_run("t1", "find"), *own], key=lambda step: step.at), {})
    assert len(run.visits) == 3
    [alone] = runs_of(own, {})
    assert len(alone.visits) == 2


def _picture(steps: list[Walked]) -> Picture:
    ways = ways_of(runs_of(steps, {}))
    told: dict[str, Any] = {"runs": len(ways.runs), "ended": len(ways.runs)}
    told |= {"nodes": [asdict(node) for node in ways.nodes], "edges": [asdict(edge) for edge in ways.edges]}
    return drawn(told, {"agent": "clerk"})


@pytest.mark.req("R086")
def test_the_picture_is_the_same_each_time_and_bounded() -> None:
    steps = [step for number in range(40) for step in _run(f"t{number:02}", f"tool-{number:02}", "find", "find")]
    one = _picture(steps)
    shuffled = [step for number in reversed(range(40)) for step in steps[number * 7 : number * 7 + 7]]
    assert one == _picture(shuffled)
    assert len(one.boxes) == MOST + 3, "a start, an end and one box for the others besides"
    assert one.hidden == 42 - MOST
    assert all(0 <= box.x <= 1120 - 232 for box in one.boxes)
    addresses = [arrow.address for arrow in one.arrows if arrow.address]
    assert "/paths?agent=clerk&edge_from=start&edge_to=model%3Am#runs" in addresses
    assert _picture([]).boxes == ()


@pytest.fixture
def recorded(world: World) -> Iterator[World]:
    """Two runs of an agent that a gateway saw, one of another workspace, and a run that was played again."""
    now = world.clock() - timedelta(minutes=5)

    def run(trace: str, tool: str, **more: Any) -> list[Event]:
        events = [chat(now, session=trace), tool_call(now + timedelta(seconds=1), tool, session=trace)]
        return [replace(event, trace_id=trace * 32, **more) for event in events]

    with opened(world):
        told = [*run("a", "files/read"), *run("b", "files/write"), *run("c", "files/forked", type="fork.called")]
        telemetry.ingest(world, GATEWAY, [*told, *run("d", "files/secret", workspace="other")])
        while telemetry.pump(world):
            pass
        yield world


@pytest.mark.req("R086")
def test_the_ways_of_recorded_runs_are_told_to_their_workspace(
    recorded: World, operator: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ways(agent: str | None = None, most: int = 10) -> Any:
        return service.ways(recorded, operator, agent=agent, source=None, hours=1, most=most)

    found = ways()
    assert {node.name for node in found.nodes if node.kind == "tool"} == {"files/read", "files/write"}
    assert len(found.runs) == 2
    assert len(ways(most=1).runs) == 1
    assert ways(agent="nobody").runs == ()
    app = typer.Typer()
    app.command()(lambda: None)
    register(app)
    with serving(recorded, operator, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        told = CliRunner().invoke(app, ["paths"])
        assert told.exit_code == 0, told.output
        assert "files/write" in told.output
        assert "2 runs of 2 traces (at most 200 are read)" in told.output
        assert "No runs in that time" in CliRunner().invoke(app, ["paths", "--agent", "nobody"]).output
