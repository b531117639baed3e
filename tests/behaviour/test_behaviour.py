"""What is usual of an agent, and where it departs from it: on recorded sessions, on planted ones, and over HTTP."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.behaviour.recorded import PLANTED, Run, found, profiled, runs_of, split
from tenure.alerts import service as alerts
from tenure.alerts.model import Measure, Rule, Way
from tenure.base.room import World
from tenure.behaviour import cli, service
from tenure.behaviour.api import router
from tenure.behaviour.deviations import deviations
from tenure.behaviour.model import ENOUGH, Kind, profile_of
from tenure.behaviour.statistics import apart, ranked, shannon, unseen, usual
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event, Role
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest
from tests.sim.serving import serving
from tests.sim.telemetry import GATEWAY, chat, opened, refused, tool_call

VIEWER = Actor("default", "person:leo@example.com", frozenset({Role.VIEWER}))
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
# It owns no table: what it reads is in the trace store, whose two engines answer alike (tests/telemetry).
on_one = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
_SINGLE = {Kind.NEW_TOOL, Kind.SIZE, Kind.LOOP}


# -- statistics


def test_distances_and_chances_are_those_of_the_books() -> None:
    assert shannon({"a": 3, "b": 1}, {"a": 30, "b": 10}) == pytest.approx(0)
    assert shannon({"a": 1}, {"b": 1}) == 1
    assert shannon({"a": 1, "b": 1}, {"a": 1}) == pytest.approx(0.5579, abs=1e-4)
    # By hand: U is 31.5 where 18 is expected, the standard deviation with three ties 6.212, z is 2.093.
    assert ranked([1, 2, 3, 4, 5, 6], [4, 5, 6, 7, 8, 9]) == pytest.approx(0.0364, abs=1e-4)
    assert ranked([2, 2, 2], [2, 2, 2]) == 1.0
    assert unseen({"a": 10, "b": 1, "c": 1}) == pytest.approx(3 / 13)
    assert usual([100] * 20) == pytest.approx((50, 200))


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1), min_size=4, max_size=12))
def test_the_same_runs_are_never_far_apart_by_more_than_chance(runs: list[dict[str, int]]) -> None:
    assert apart(runs, runs) > 0.2


# -- recorded sessions


@pytest.fixture(scope="module")
def recorded() -> list[Run]:
    return runs_of()


@pytest.mark.req("R089")
def test_recorded_sessions_deviate_from_each_other_no_more_than_they_may_and_what_is_planted_is_found(
    recorded: list[Run],
) -> None:
    chance, moved = random.Random(7), 0  # noqa: S311 (repeatable, no secret)
    caught = dict.fromkeys(PLANTED, 0)
    times = 4
    for _ in range(times):
        expected, seen = split(recorded, 100, 30, chance)
        said = found(expected, seen)
        moved += bool({one.kind for one in said} - _SINGLE)
        known = {(one.kind, one.subject) for one in said}
        for name, plant in PLANTED.items():
            caught[name] += bool({(one.kind, one.subject) for one in found(expected, plant(seen, chance))} - known)
    assert moved <= 1, "nothing was planted, and chance explains it in one of a hundred looks at most"
    assert caught.pop("the other way round, in half the runs") >= 1
    assert all(count >= times - 1 for count in caught.values()), caught


def test_a_new_thing_is_sure_only_where_new_things_had_become_rare(recorded: list[Run]) -> None:
    few, many = recorded[:8], recorded[:120]
    novel = [replace(recorded[0][0], kind="tool", reached="send_email", fields="x", size=1)]
    [one] = [each for each in deviations(profiled(few), profile_of(novel)) if each.kind is Kind.NEW_TOOL]
    assert not one.sure, "of an agent that does something new every few calls"
    [one] = [each for each in deviations(profiled(many), profile_of(novel)) if each.kind is Kind.NEW_TOOL]
    assert one.sure
    assert one.trace_id == novel[0].trace_id


# -- an agent


def _run(at: Any, session: str, *tools: str, size: int = 10, **more: Any) -> list[Event]:
    given = {"gen_ai.tool.call.arguments": {"query": "x" * size}, "gen_ai.tool.call.result": f"{at}"}
    calls = [
        tool_call(at + timedelta(seconds=place), tool, session=session, data=given | more.get("data", {}))
        for place, tool in enumerate(tools)
    ]
    return [chat(at, session=session), *calls]


USUAL = ("crm/find", "crm/find", "files/read", "crm/update")


def _history(clock: FakeClock, runs: int, since: timedelta = DAY * 20) -> list[Event]:
    told: list[Event] = []
    for number in range(runs):
        at = clock.now - since + (since - DAY * 2) * (number / runs)
        told += _run(at, f"r{number}", *USUAL)
    return told


def _take(world: World, *told: Event) -> None:
    telemetry.ingest(world, GATEWAY, told)
    while telemetry.pump(world):
        pass


@pytest.fixture
def clerk(world: World, operator: Actor) -> Iterator[World]:
    with opened(world):
        tools = [{"name": "crm/find"}, {"name": "crm/update", "autonomy": "approve"}]
        servers = {"crm": {"url": "http://127.0.0.1:1/mcp"}}
        registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1", tools=tools, servers=servers))
        yield world


@on_one
@pytest.mark.req("R089")
def test_what_is_usual_is_learned_from_thirty_tool_calls_on(clerk: World, clock: FakeClock) -> None:
    _take(clerk, *_history(clock, 7))
    found = service.behaviour(clerk, VIEWER, "clerk")
    assert (found.state, found.expected.calls, found.deviations) == ("learning", 28, ())
    _take(clerk, *_run(clock.now - DAY * 3, "more", "crm/find", "crm/update"))
    found = service.behaviour(clerk, VIEWER, "clerk")
    assert (found.state, found.expected.calls) == ("quiet", ENOUGH)
    _take(clerk, *_run(clock.now - MINUTE, "now", "crm/find", "crm/find", "files/read", "crm/update"))
    found = service.behaviour(clerk, VIEWER, "clerk")
    assert (found.state, found.deviations) == ("usual", ())
    assert found.distance < 0.2
    with pytest.raises(Refused, match="no agent 'nobody'"):
        service.behaviour(clerk, VIEWER, "nobody")


@on_one
@pytest.mark.req("R089")
def test_what_an_agent_never_did_is_shown_with_the_call_and_beside_the_span(clerk: World, clock: FakeClock) -> None:
    _take(clerk, *_history(clock, 40))
    strange = [
        *_run(clock.now - MINUTE * 9, "odd", "payments/refund", "crm/find"),
        *_run(clock.now - MINUTE * 5, "big", "crm/find", "crm/find", "files/read", "crm/update", size=9_000),
    ]
    _take(clerk, *strange, *_run(clock.now - MINUTE, "fine", "crm/find", "crm/find", "files/read", "crm/update"))
    found = service.behaviour(clerk, VIEWER, "clerk")
    assert found.state == "deviates"
    told = {(one.kind, one.subject): one for one in found.deviations if one.sure}
    assert set(told) == {(Kind.NEW_TOOL, "payments/refund"), (Kind.ORDERS, "")} | {
        (Kind.SIZE, tool) for tool in ("crm/find", "files/read", "crm/update")
    }
    new = told[Kind.NEW_TOOL, "payments/refund"]
    assert new.words == "payments/refund was never called in 160 calls before (1 of 10 calls)"
    beside = service.of_trace(clerk, VIEWER, new.trace_id)
    assert [(one.kind, one.span_id, one.sure) for one in beside] == [(Kind.NEW_TOOL, new.span_id, True)]
    assert service.of_trace(clerk, VIEWER, str(strange[-1].trace_id))[0].kind is Kind.SIZE
    fine = telemetry.list_traces(clerk, VIEWER, session="fine")[0].trace_id
    assert service.of_trace(clerk, VIEWER, fine) == []


@on_one
@pytest.mark.req("R089")
def test_shares_order_and_failures_that_move_are_told_of_a_release_against_those_before(
    clerk: World, clock: FakeClock
) -> None:
    _take(clerk, *_history(clock, 40))
    told: list[Event] = []
    for number in range(16):
        at = clock.now - DAY + MINUTE * number
        told += _run(
            at, f"n{number}", "crm/update", "crm/find", "crm/update", "crm/update", data={"error.type": "timeout"}
        )
    _take(clerk, *(replace(event, release="sha256:r2") for event in told))
    found = service.behaviour(clerk, VIEWER, "clerk", release="sha256:r2")
    assert (found.against, found.expected.calls, found.seen.calls) == ("what it did before this release", 160, 64)
    kinds = {one.kind for one in found.deviations if one.sure}
    assert {Kind.TOOLS, Kind.ORDERS, Kind.ERRORS} <= kinds
    errors = next(one for one in found.deviations if one.kind is Kind.ERRORS)
    assert errors.words == "100% of its tool calls fail, usually 0% (64 of 64)"
    assert errors.chance is not None
    assert errors.chance < 0.01
    _take(clerk, *(replace(event, release="sha256:r2") for event in _run(clock.now - MINUTE, "now", "crm/find")))
    later = service.behaviour(clerk, VIEWER, "clerk", lately=timedelta(hours=2))
    assert later.against == "what it did under the same release", "which has made enough calls by then"
    with pytest.raises(Refused, match="made no call under release"):
        service.behaviour(clerk, VIEWER, "clerk", release="sha256:none")


@on_one
@pytest.mark.req("R089")
def test_an_agent_that_began_today_is_known_today(clerk: World, clock: FakeClock) -> None:
    hour = timedelta(hours=1)
    _take(clerk, *(one for number in range(7) for one in _run(clock.now - hour * (9 - number), f"r{number}", *USUAL)))
    found = service.behaviour(clerk, VIEWER, "clerk")
    assert (found.state, found.expected.calls, found.seen.calls) == ("learning", 28, 0)
    _take(clerk, *_run(clock.now - hour, "more", "crm/find", "crm/find"))
    found = service.behaviour(clerk, VIEWER, "clerk")
    assert (found.state, found.expected.calls, found.seen.calls) == ("quiet", ENOUGH, 0)
    _take(clerk, *_run(clock.now - MINUTE, "odd", "crm/find", "payments/refund"))
    found = service.behaviour(clerk, VIEWER, "clerk")
    assert (found.expected.calls, found.seen.calls) == (ENOUGH, 2)
    assert found.since == clock.now - MINUTE
    assert [one.subject for one in found.deviations if one.kind is Kind.NEW_TOOL] == ["payments/refund"]


@on_one
@pytest.mark.req("R089", "R093")
def test_the_commands_say_it(clerk: World, clock: FakeClock, operator: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.add_typer(typer.Typer(name="agents"))
    app.add_typer(typer.Typer(name="traces"))
    cli.register(app)
    with serving(clerk, operator, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")

        def said(*words: str, status: int = 0) -> str:
            told = CliRunner().invoke(app, [*words])
            assert told.exit_code == status, told.output
            return " ".join(told.output.split())

        _take(clerk, *_history(clock, 5))
        assert "Still learning: 20 of 30 tool calls." in said("agents", "behaviour", "clerk")
        usual = _history(clock, 30, DAY * 15)
        _take(clerk, *usual)
        assert "It called no tool in that time." in said("agents", "behaviour", "clerk")
        _take(clerk, *_run(clock.now - MINUTE, "odd", "payments/refund"), refused(clock.now, "crm/update"))
        told = said("agents", "behaviour", "clerk", status=1)
        assert "1 deviation: 2 tool calls in 2 runs" in told
        assert "! payments/refund was never called in 140 calls before (1 of 2 calls)" in told
        raw = json.loads(CliRunner().invoke(app, ["agents", "behaviour", "clerk", "--json"]).output)
        assert (raw["handoff_rate"], raw["coherence"]) == (0.0, 1.0)
        assert (raw["state"], raw["learned"], raw["needed"]) == ("deviates", 140, 30)
        trace = raw["deviations"][0]["trace_id"]
        assert "! payments/refund was never called" in said("traces", "deviations", trace)
        assert "Nothing in it is unlike" in said("traces", "deviations", str(usual[-1].trace_id))
        assert "Nothing is known of trace" in said("traces", "deviations", "0" * 32, status=2)
        signals = said("agents", "signals", "clerk")
        assert "1 Tool calls seen 142" in signals
        assert "2 Policy rejections seen 1" in signals
        assert "3 Memory writes blind" in signals
        assert "5 Irreversible effects seen 35" in signals


# -- hand-over and coherence


@on_one
@pytest.mark.req("R107")
def test_how_often_people_are_brought_in_and_how_often_calls_only_repeat_raise_alerts(
    clerk: World, clock: FakeClock, operator: Actor
) -> None:
    told = _history(clock, 0)
    for number in range(10):
        at = clock.now - MINUTE * (40 - number)
        told += _run(at, f"s{number}", "crm/find", "files/read")
        if number < 3:
            told.append(tool_call(at, "desk/transfer_to_human_agents", session=f"s{number}"))
    told.append(replace(tool_call(clock.now - MINUTE, "crm/update", session="s4"), type="approval.requested"))
    told.append(refused(clock.now - MINUTE, "crm/update", session="s5", data={"tenure.mode": "draft"}))
    same = {"gen_ai.tool.call.arguments": {"id": 7}, "gen_ai.tool.call.result": "nobody"}
    failed = {"gen_ai.tool.call.arguments": {"id": 8}, "error.type": "timeout"}
    told += [tool_call(clock.now - MINUTE, "crm/find", session="s9", data=same) for _ in range(3)]
    told += [tool_call(clock.now - MINUTE, "crm/find", session="s9", data=failed) for _ in range(3)]
    told += [tool_call(clock.now - MINUTE, "crm/find", session="s8", data=same)]  # once in another run is no repetition
    _take(clerk, *told)
    [one] = telemetry.coherent(clerk, "default", clock.now - DAY, clock.now)
    assert (one.runs, one.handed, one.told, one.again) == (10, 5, 27, 4)
    assert service.rates(clerk, VIEWER, "clerk", DAY) == (0.5, 23 / 27)
    rules = (
        Rule("asks-much", Measure.HANDOFF_RATE, Way.ABOVE, 0.4, at_least=5),
        Rule("goes-in-circles", Measure.COHERENCE, Way.BELOW, 0.9, at_least=5),
    )
    for rule in rules:
        alerts.put(clerk, operator, rule)
    alerts.look_at(clerk, "default")
    assert {one.rule: one.words for one in alerts.find(clerk, VIEWER)} == {
        "asks-much": "50% of the runs of clerk were handed to a person in the last hour (5 of 10).",
        "goes-in-circles": "85% of the tool calls of clerk were no repetition with the same outcome in the last hour "
        "(23 of 27).",
    }
