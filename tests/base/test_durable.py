"""Leases: one holder at a time, fencing tokens that only grow, and a step that is taken again after a crash."""

from __future__ import annotations

import pytest

from tenure.base import durable
from tenure.base.room import Flow, World
from tests.sim.clock import FakeClock


def test_a_lease_has_one_holder_until_its_time_is_over(world: World, clock: FakeClock) -> None:
    first = durable.take(world, "drain", "agent-1", "one")
    assert first == 1
    assert durable.take(world, "drain", "agent-1", "two") is None
    clock.advance(durable.LEASE.total_seconds() + 1)
    second = durable.take(world, "drain", "agent-1", "two")
    assert second == 2
    with world.read() as connection:
        assert durable.holds(connection, "drain", "agent-1", 2)
        assert not durable.holds(connection, "drain", "agent-1", 1), "the first holder must find that it lost its lease"


def test_giving_back_a_lease_that_was_lost_changes_nothing(world: World, clock: FakeClock) -> None:
    lost = durable.take(world, "drain", "agent-1", "one")
    assert lost is not None
    clock.advance(durable.LEASE.total_seconds() + 1)
    durable.take(world, "drain", "agent-1", "two")
    durable.release(world, "drain", "agent-1", lost)
    assert durable.take(world, "drain", "agent-1", "three") is None


def test_a_step_that_crashed_is_taken_again(world: World) -> None:
    taken: list[str] = []

    def step(_world: World, key: str) -> bool:
        taken.append(key)
        if len(taken) == 1:
            raise RuntimeError("killed")
        return True

    flow = Flow("test", find=lambda _connection, _now: ["a"], step=step)
    with pytest.raises(RuntimeError, match="killed"):
        durable.run_due(world, flow, "one")
    assert durable.run_due(world, flow, "one") == 1
    assert taken == ["a", "a"]


def test_what_no_step_is_called_for_takes_no_lease_and_writes_nothing(world: World) -> None:
    wanted = {"b"}
    taken: list[str] = []

    def step(_world: World, key: str) -> bool:
        taken.append(key)
        return True

    flow = Flow("test", lambda _connection, _now: ["a", "b"], step, calls_for=lambda _world, key: key in wanted)
    assert durable.run_due(world, flow, "one") == 1
    assert taken == ["b"]
    wanted.clear()
    before = world.db.version()
    assert durable.run_due(world, flow, "one") == 0
    assert world.db.version() == before
