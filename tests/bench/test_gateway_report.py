"""The report of the gateway's benchmark: figures from samples, goals from figures, and their two forms."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from bench.gateway.report import Goal, Samples, figures, goals, markdown


def a_way(latency: float, cpu: float, chunk: float) -> Samples:
    """Three rounds: one as said, one a little better, and one in which the machine was busy with something else."""
    samples = Samples()
    for factor in (1.0, 0.9, 3.0):
        samples.one.append([latency * factor] * 98 + [latency * factor * 4] * 2)
        samples.one_cpu.append(cpu * factor * 2)
        samples.per_s.append(1e6 / cpu / factor)
        samples.cpu.append(cpu * factor)
        samples.firsts.append([latency * factor])
        samples.chunk_cpu.append(chunk * factor)
    return samples


def a_run(tenure: Samples) -> dict[str, Samples]:
    """Tenure beside others whose figures are round."""
    return {
        "direct": a_way(20, 1, 1),
        "nginx": a_way(40, 20, 10),
        "envoy": a_way(120, 50, 20),
        "litellm": a_way(10_020, 9_000, 500),
        "tenure": tenure,
    }


def verdicts(samples: dict[str, Samples]) -> dict[str, bool | None]:
    """Which goals hold."""
    return {goal.name: goal.holds for goal in goals(figures(samples))}


def test_added_latency_is_the_difference_within_a_round_and_the_median_of_the_rounds() -> None:
    rows = figures(a_run(a_way(70, 50, 30)))
    assert rows["tenure"]["added_p50_us"]["median"] == 50.0
    assert rows["tenure"]["added_p99_us"]["median"] == 200.0
    assert rows["envoy"]["added_p50_us"]["median"] == 100.0
    assert rows["tenure"]["cpu_us_at_32"]["median"] == 50.0
    assert rows["tenure"]["per_s_at_32"]["low"] < rows["tenure"]["per_s_at_32"]["median"]
    assert "added_p50_us" not in rows["direct"]


def test_a_run_that_reaches_every_goal_says_so() -> None:
    assert set(verdicts(a_run(a_way(70, 50, 30))).values()) == {True}


@pytest.mark.parametrize(
    ("tenure", "missed"),
    [
        (a_way(90, 50, 30), {"added p50 against Envoy's"}),
        (a_way(70, 51, 30), {"CPU per request against nginx's"}),
        (a_way(70, 61, 30), {"CPU per request against nginx's", "CPU per request against LiteLLM's"}),
        (a_way(70, 50, 31), {"CPU per streamed chunk against Envoy's"}),
        (
            a_way(400, 50, 30),
            {"added p50 against Envoy's", "added p99 against Envoy's", "added p99 in milliseconds (R090: under 1)"},
        ),
    ],
)
def test_a_goal_that_is_missed_is_told(tenure: Samples, missed: set[str]) -> None:
    found = verdicts(a_run(tenure))
    assert {name for name, holds in found.items() if not holds} == missed
    assert None not in found.values()


def test_what_was_not_run_is_neither_reached_nor_missed() -> None:
    samples = {name: way for name, way in a_run(a_way(70, 50, 30)).items() if name in ("direct", "envoy", "tenure")}
    found = verdicts(samples)
    assert found["CPU per request against nginx's"] is None
    assert found["added p50 against Envoy's"] is True


def test_at_least_is_the_other_way_round() -> None:
    assert Goal("calls", 5000, 5000, least=True).holds
    assert not Goal("calls", 5000, 4999, least=True).holds


def test_the_report_can_be_read_by_programs_and_by_people() -> None:
    rows = figures(a_run(a_way(70, 51, 30)))
    report: dict[str, Any] = {
        "date": "2026-01-02",
        "machine": {"cores": 2, "model": "A Processor", "python": "CPython 3.11.2"},
        "rounds": 3,
        "about": {"direct": "no proxy"},
        "ways": rows,
        "goals": [{**asdict(goal), "holds": goal.holds} for goal in goals(rows)],
    }
    assert json.loads(json.dumps(report)) == report
    text = markdown(report)
    assert "| CPU per request against nginx's | at most 2.5 | 2.55 | **does not hold** |" in text
    assert "| CPU per streamed chunk against Envoy's | at most 1.5 | 1.5 | holds |" in text
    assert "2 cores, A Processor, CPython 3.11.2; 3 rounds" in text
