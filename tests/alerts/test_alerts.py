"""Rules over figures: when they hold, what is told, and what a person needs to act."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.alerts import report, service, store
from tenure.alerts.model import CALM, STANDARD, Each, Finding, Measure, Rule, Severity, Way, look, sentence, span
from tenure.base import events as log
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Role
from tenure.notify.words import message_of, topic_of
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import Measured, outcome_data
from tests.sim.clock import FakeClock
from tests.sim.telemetry import GATEWAY, chat, opened, refused, tool_call

VIEWER = Actor("default", "person:leo@example.com", frozenset({Role.VIEWER}))
HOUR = timedelta(hours=1)
SPIKE = next(rule for rule in STANDARD if rule.name == "error-spike")
SILENT = next(rule for rule in STANDARD if rule.name == "silent-failure")


def _take(world: World, *told: Event) -> None:
    telemetry.ingest(world, GATEWAY, told)
    while telemetry.pump(world):
        pass


def _judged(world: World, actor: Actor, at: datetime, *, good: int, bad: int, day: int) -> None:
    told = [
        Event(
            new_id(),
            "import.outcome",
            at,
            "default",
            "agent:clerk",
            agent="clerk",
            session=f"run-{day}-{number}",
            data=outcome_data("desk", f"task-{number}", 0, reward=float(number < good), success=number < good),
        )
        for number in range(good + bad)
    ]
    telemetry.import_events(world, actor, told)


def _calls(at: datetime, well: int, badly: int, error: str = "timeout", **more: str) -> list[Event]:
    """So many calls, a millisecond apart."""
    return [
        tool_call(
            at + timedelta(milliseconds=number),
            "crm/find" if number < badly else "files/read",
            data={"error.type": error} if number < badly else {},
            session=f"s{number % 5}",
            **more,
        )
        for number in range(well + badly)
    ]


def _told(world: World, kind: str) -> list[Event]:
    with world.read() as conn:
        return [logged.event for logged in log.read(conn, 0, 10_000) if logged.event.type == kind]


@pytest.mark.req("R099", "R096")
def test_an_error_spike_is_raised_once_told_with_its_cause_and_over_when_it_is_calm(
    world: World, clock: FakeClock
) -> None:
    with opened(world):
        _take(world, *_calls(clock.now - HOUR * 5, 400, 4))
        service.look_at(world, "default")
        assert service.find(world, VIEWER) == [], "one in a hundred is no spike"
        assert not service.anything_to_say(world, "default")
        with world.begin() as tx:
            change = {"version": "v2", "files": 1}
            log.append(tx, [Event(new_id(), "policy.loaded", clock.now, "default", "person:ann@x", data=change)])
        clock.advance(seconds=60)
        _take(world, *_calls(clock.now, 40, 20))
        clock.advance(seconds=60)
        assert service.anything_to_say(world, "default")
        for _ in range(3):
            service.look_at(world, "default")
        [alert] = service.find(world, VIEWER)
        assert (alert.rule, alert.agent, alert.severity) == ("error-spike", "clerk", Severity.WARNING)
        assert alert.words == "33% of the calls of clerk failed in the last hour (20 of 60)."
        assert alert.evidence["causes"][0] | {"trace": ""} == {
            "resource": "crm/find",
            "error": "timeout",
            "calls": 20,
            "share": 1.0,
            "trace": "",
        }
        assert alert.evidence["causes"][0]["trace"], "a trace to open"
        assert [one["type"] for one in alert.evidence["changes"]] == ["policy.loaded"]
        [event] = _told(world, "alert.raised")
        message = message_of(event, topic_of(event) or "")
        assert message.title == "Warning: error-spike, clerk"
        assert {f"What: {alert.words}", "Most of it: crm/find timeout"} <= set(message.lines)
        assert message.path == f"/alerts/{alert.id}"

        clock.advance(seconds=HOUR.total_seconds() - 120)
        service.look_at(world, "default")
        assert service.count_open(world, VIEWER) == 1, "it held until a moment ago"
        clock.advance(seconds=CALM.total_seconds())
        assert service.anything_to_say(world, "default"), "that it is over"
        service.look_at(world, "default")
        assert service.count_open(world, VIEWER) == 0
        assert len(_told(world, "alert.over")) == 1
        assert not service.anything_to_say(world, "default")
        assert service.find(world, VIEWER, state="over")[0].over_at == clock.now


@pytest.mark.req("R111", "R207")
def test_quality_that_falls_while_all_calls_go_well_is_an_alarm(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    with opened(world):
        for day in range(1, 8):
            at = clock.now - timedelta(days=day, hours=1)
            _take(world, *_calls(at, 40, 0))
            _judged(world, operator, at, good=18, bad=2, day=day)
        _take(world, *_calls(clock.now - HOUR, 60, 0))
        _judged(world, operator, clock.now - HOUR, good=17, bad=3, day=0)
        service.look_at(world, "default")
        assert service.find(world, VIEWER) == [], "three of twenty instead of two is chance"
        _judged(world, operator, clock.now - HOUR / 2, good=20, bad=40, day=-1)
        while telemetry.pump(world):
            pass
        service.look_at(world, "default")
        [alert] = service.find(world, VIEWER)
        assert (alert.rule, alert.severity) == ("silent-failure", Severity.CRITICAL)
        assert alert.words == (
            "46% of the judged runs of clerk solved what they were for in the last day (37 of 80); "
            "before, over 7d, it was 90% of 140."
        )
        assert all(cause["error"] == "" for cause in alert.evidence["causes"]), "every call went well"


@pytest.mark.req("R110", "R109")
def test_spending_that_runs_away_and_policy_that_refuses_more(world: World, clock: FakeClock) -> None:
    cheap, dear = {"tenure.cost_usd": "0.01"}, {"tenure.cost_usd": "0.5"}
    with opened(world):
        for day in range(1, 7):
            at = clock.now - timedelta(days=day)
            _take(world, *(chat(at + timedelta(seconds=n), data=cheap) for n in range(100)))
            _take(world, *(refused(at + timedelta(seconds=n)) for n in range(5)))
        now = clock.now - timedelta(minutes=30)
        _take(world, *(chat(now + timedelta(seconds=n), data=dear) for n in range(25)))
        _take(world, *(refused(now + timedelta(seconds=n)) for n in range(10)))
        service.look_at(world, "default")
        found = {one.rule: one for one in service.find(world, VIEWER)}
        assert set(found) == {"cost-runaway", "refusals-rise"}
        assert found["cost-runaway"].evidence["causes"][0]["resource"] == "gpt-4o"
        assert found["cost-runaway"].words.startswith("$12.50 were spent by clerk in the last hour (35 calls)")
        assert "29% of the calls of clerk were refused" in found["refusals-rise"].words


def test_a_person_looks_after_it_and_hears_no_more_of_it_for_a_while(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    with opened(world):
        _take(world, *_calls(clock.now, 10, 20))
        clock.advance(seconds=1)
        service.look_at(world, "default")
        [alert] = service.find(world, VIEWER)
        with pytest.raises(Refused, match="role approver or operator"):
            service.see(world, VIEWER, alert.id, "mine")
        seen = service.see(world, operator, alert.id, "the server is being replaced", span("1d", "quiet"))
        assert (seen.seen_by, seen.note) == (operator.name, "the server is being replaced")
        clock.advance(seconds=2 * 3600)
        service.look_at(world, "default")
        _take(world, *_calls(clock.now, 10, 20))
        clock.advance(seconds=1)
        service.look_at(world, "default")
        assert service.count_open(world, VIEWER) == 0, "nobody wants to hear of it today"
        clock.advance(seconds=86_400)
        _take(world, *_calls(clock.now, 10, 20))
        clock.advance(seconds=1)
        service.look_at(world, "default")
        assert service.count_open(world, VIEWER) == 1
        assert len(_told(world, "alert.raised")) == 2


def test_a_rule_of_ones_own_is_tried_set_turned_off_and_taken_back(
    world: World, clock: FakeClock, operator: Actor
) -> None:
    quiet = Rule("asleep", Measure.CALLS, Way.BELOW, 1, each=Each.WORKSPACE)
    strict = Rule("error-spike", Measure.ERROR_RATE, Way.ABOVE, 0.5, at_least=5)
    with opened(world):
        _take(world, *_calls(clock.now - timedelta(days=2), 10, 20), *_calls(clock.now - HOUR / 2, 20, 10))
        tried = service.try_out(world, VIEWER, SPIKE, 7)
        assert len(tried) == 2
        assert [one.now.n for _, one in tried] == [30, 30]
        assert [one.words for one in service.find(world, VIEWER)] == [], "trying raises nothing"
        with pytest.raises(Refused, match="role operator"):
            service.put(world, VIEWER, strict)
        service.put(world, operator, strict)
        service.look_at(world, "default")
        assert service.find(world, VIEWER) == [], "a third is not half"
        back = service.remove(world, operator, "error-spike")
        assert back == SPIKE
        with pytest.raises(Refused, match="standard rule"):
            service.remove(world, operator, "error-spike")
        with pytest.raises(Refused, match="role operator"):
            service.turn_off(world, VIEWER, "error-spike")
        with pytest.raises(Refused, match="no rule"):
            service.turn_off(world, operator, "nothing")
        assert service.turn_off(world, operator, "error-spike").off
        service.put(world, operator, quiet)
        service.look_at(world, "default")
        assert service.find(world, VIEWER) == []
        clock.advance(seconds=2 * 3600)
        service.look_at(world, "default")
        [alert] = service.find(world, VIEWER)
        assert (alert.agent, alert.words) == ("", "0 calls were made by all agents in the last hour.")


@pytest.mark.req("R096")
def test_a_period_on_one_page_for_those_who_were_not_there(world: World, clock: FakeClock, operator: Actor) -> None:
    with opened(world):
        assert report.make(world, VIEWER, 7).summary == ("No agent made a call in the last 7 days.",)
        _take(world, *_calls(clock.now - timedelta(days=8), 98, 2))
        _take(world, *_calls(clock.now - HOUR / 2, 30, 10), chat(clock.now - HOUR / 2, data={"tenure.cost_usd": "1.5"}))
        _judged(world, operator, clock.now - HOUR / 2, good=3, bad=1, day=0)
        while telemetry.pump(world):
            pass
        service.look_at(world, "default")
        made = report.make(world, VIEWER, 7)
        tokens = {"gen_ai.usage.input_tokens": 9, "gen_ai.request.model": "own"}
        _take(world, chat(clock.now - HOUR / 2, data=tokens), chat(clock.now - HOUR / 2, data=tokens))
        partly = report.make(world, VIEWER, 7)
        before = report.make(world, VIEWER, 1).agents[0]
    said = "for $1.50, and 2 calls of models of which no price is known."
    assert partly.summary[0].endswith(said)
    assert {line.name: line.now_words for line in partly.figures}["cost"] == "at least $1.50"
    assert (before.cost_usd, before.unpriced) == ("1.5", 2)
    lines = {line.name: line for line in made.figures}
    assert (lines["error_rate"].now_words, lines["error_rate"].before_words) == ("24%", "2.0%")
    assert lines["error_rate"].better is False
    assert [(one.agent, one.calls, one.cost_usd) for one in made.agents] == [("clerk", 41, "1.5")]
    assert made.summary[0] == "In the last 7 days 1 agent made 41 calls in 5 runs for $1.50."
    assert lines["cost"].now_words == "$1.50"
    assert "75% of the judged runs solved what they were for." in made.summary
    assert made.summary[-1].startswith("1 of 1 alerts still go on: 24% of the calls of clerk failed")


def test_no_workspace_sees_anothers(world: World, clock: FakeClock) -> None:
    with opened(world):
        _take(world, *_calls(clock.now, 10, 20))
        clock.advance(seconds=1)
        service.look_at(world, "default")
        service.look_at(world, "heron")
    elsewhere = Actor("heron", "person:eve@x", frozenset({Role.OPERATOR}))
    assert service.find(world, elsewhere) == []
    with pytest.raises(Refused, match="no alert"):
        service.one(world, elsewhere, service.find(world, VIEWER)[0].id)


def test_what_was_over_long_ago_is_forgotten(world: World, clock: FakeClock) -> None:
    with opened(world):
        _take(world, *_calls(clock.now, 10, 20))
        clock.advance(seconds=1)
        service.look_at(world, "default")
        clock.advance(seconds=2 * 3600)
        service.look_at(world, "default")
        assert not service.forget(world)
        clock.advance(seconds=91 * 86_400)
        assert service.forget(world)
    with world.read() as conn:
        assert store.find(conn, "default") == []


# -- the rule itself ---------------------------------------------------------------------------------------------------


def _one(rule: Rule, now: Measured, before: Measured | None = None) -> Finding:
    [found] = look(rule, {"a": now}, {"a": before} if before else {}, ())
    return found


def test_too_little_says_nothing() -> None:
    assert _one(SPIKE, Measured("a", calls=19, errors=19)).met is None
    assert _one(SPIKE, Measured("a", calls=20, errors=5)).met
    few = Measured("a", judged=19, solved=18)
    assert _one(SILENT, Measured("a", judged=100, solved=0), few).met is None


def test_silence_is_noticed_of_agents_that_should_work() -> None:
    rule = Rule("asleep", Measure.CALLS, Way.BELOW, 1, agents=("clerk*",))
    found = look(rule, {"clerk": Measured("clerk", calls=3)}, {}, ("clerk", "clerk-2", "other"))
    assert [(one.agent, one.met) for one in found] == [("clerk", False), ("clerk-2", True)]
    assert sentence(found[1]) == "0 calls were made by clerk-2 in the last hour."


@given(st.integers(20, 2000), st.integers(0, 2000), st.integers(20, 2000), st.integers(0, 2000))
def test_a_rate_that_is_the_same_never_rises_and_a_rise_is_never_a_fall(n: int, k: int, m: int, j: int) -> None:
    now, before = Measured("a", judged=n, solved=min(k, n)), Measured("a", judged=m, solved=min(j, m))
    rises = Rule("up", Measure.SUCCESS_RATE, Way.RISES, 0.01)
    falls = Rule("down", Measure.SUCCESS_RATE, Way.FALLS, 0.01)
    assert not (_one(rises, now, before).met and _one(falls, now, before).met)
    assert not _one(rises, now, now).met
    assert not _one(falls, now, now).met


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (Rule("Bad Name", Measure.COST, Way.ABOVE, 1), "name"),
        (Rule("a", Measure.ERROR_RATE, Way.ABOVE, 20), "share from 0 to 1"),
        (Rule("a", Measure.COST, Way.RISES, 0), "more than 0"),
        (Rule("a", Measure.COST, Way.ABOVE, float("nan")), "number"),
        (Rule("a", Measure.COST, Way.FALLS, 1.5), "more than all"),
        (Rule("a", Measure.COST, Way.RISES, 1, over=timedelta(days=2), against=timedelta(days=1)), "shorter"),
        (Rule("a", Measure.P95_MS, Way.ABOVE, 1, each=Each.WORKSPACE), "p95_ms"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_why(
    world: World, operator: Actor, rule: Rule, problem: str
) -> None:
    with pytest.raises(Refused, match=problem):
        service.put(world, operator, rule)


@pytest.mark.parametrize("text", ["", "1", "0h", "61d", "1w", "1h30m", "-1h"])
def test_a_length_of_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="no length of time"):
        span(text, "over")
