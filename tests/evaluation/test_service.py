"""Imported outcomes come back as figures, in the workspace they were imported into, however often they are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tenure.base.room import World
from tenure.evaluation import service
from tenure.evaluation.formats import tau_bench
from tenure.kernel.values import Actor, Event
from tenure.telemetry import service as telemetry
from tests.sim.clock import FakeClock


@pytest.fixture
def open_world(world: World) -> Iterator[World]:
    """A world whose trace store is open."""
    telemetry.open_store(world)
    yield world
    telemetry.close_store(world)


def _file(rewards: dict[tuple[int, int], float]) -> bytes:
    traj: list[dict[str, Any]] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    return json.dumps(
        [
            {"task_id": task, "trial": trial, "reward": reward, "info": {}, "traj": traj}
            for (task, trial), reward in rewards.items()
        ]
    ).encode()


def _events(raw: bytes, world: World) -> list[Event]:
    out = []
    for session in tau_bench.parse(raw):
        out += tau_bench.trace_events(session, "default", "m", world.clock())
        out.append(tau_bench.outcome_event(session, "default", "m", world.clock()))
    return out


TWO_TASKS = _file({(0, 0): 1.0, (0, 1): 0.0, (1, 0): 1.0, (1, 1): 1.0})


@pytest.mark.req("R114")
def test_a_session_counts_when_its_outcome_is_there_and_once(
    open_world: World, operator: Actor, clock: FakeClock
) -> None:
    events = _events(TWO_TASKS, open_world)
    assert service.reliability(open_world, operator) == ()
    half = events[:3]  # one whole session, and the first call of another: a kill
    assert telemetry.import_events(open_world, operator, half).accepted == 3
    [partial] = service.reliability(open_world, operator)
    assert (partial.sessions, partial.tasks) == (1, 1)

    clock.advance(60)
    again = _events(TWO_TASKS, open_world)
    assert telemetry.import_events(open_world, operator, again).accepted == len(events) - 3
    clock.advance(timedelta(days=40).total_seconds())  # by now the event log has forgotten the first import
    assert telemetry.import_events(open_world, operator, _events(TWO_TASKS, open_world)).accepted == 0

    [report] = service.reliability(open_world, operator, "tau-bench")
    assert (report.tasks, report.sessions, report.successes) == (2, 4, 3)
    assert [estimate.value for estimate in report.estimates] == [0.75, 0.5]
    assert service.reliability(open_world, operator, "who-and-when") == ()


def test_another_workspace_sees_nothing_of_it(open_world: World, operator: Actor) -> None:
    telemetry.import_events(open_world, operator, _events(TWO_TASKS, open_world))
    stranger = Actor("other", "person:x@example.com", operator.roles)
    assert service.reliability(open_world, stranger) == ()
