"""Who depends on an agent, and that they are told when it is stopped."""

from __future__ import annotations

from typing import Any

import pytest

from tenure.base import events
from tenure.base.room import World
from tenure.breaker import cascade
from tenure.breaker.react import CASCADE
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry
from tests.sim.manifests import manifest

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def row(world: World, operator: Actor) -> World:
    """front calls middle, middle calls back and back is declared by audit; lone has nobody."""
    wants: dict[str, dict[str, Any]] = {
        "back": {},
        "lone": {},
        "middle": {"agents": [{"name": "back"}]},
        "audit": {"dependencies": [{"agent": "back"}]},
        "front": {"agents": [{"name": "middle"}]},
    }
    for name, spec in wants.items():
        registry.apply(world, operator, manifest(name, "http://127.0.0.1:9/v1", **spec))
    telemetry.open_store(world)
    return world


def _happens(world: World, kind: str, agent: str, **data: Any) -> dict[str, Event]:
    event = Event(new_id(), kind, world.clock(), "default", "system:test", agent, data=data)
    with world.begin() as tx:
        events.append(tx, [event])
    for _ in range(2):
        events.consume(world.db, CASCADE)
    with world.read() as conn:
        told = [one.event for one in events.read(conn, 0) if one.event.type == "agent.dependency_stopped"]
    return {str(one.agent): one for one in told}


@pytest.mark.req("R208")
def test_dependants_are_those_who_declare_it_may_call_it_or_reach_it_through_others(
    row: World, operator: Actor
) -> None:
    found = cascade.dependants(row, operator, "back")
    telemetry.close_store(row)
    assert found.while_stopped == "hold"
    assert {(one.agent, one.steps, one.through, one.declared, one.granted) for one in found.dependants} == {
        ("middle", 1, "back", False, True),
        ("audit", 1, "back", True, False),
        ("front", 2, "middle", False, True),
    }
    with pytest.raises(Refused) as refused:
        cascade.dependants(row, operator, "nobody")
    assert refused.value.status == 404


@pytest.mark.req("R208")
def test_a_trip_and_a_suspension_are_told_to_those_nearest(row: World) -> None:
    telemetry.close_store(row)
    told = _happens(row, "breaker.tripped", "back", scope="agent", name="back", reason="5 violations")
    assert set(told) == {"middle", "audit"}
    assert told["middle"].data["name"] == "back"
    assert told["middle"].data["reason"] == "5 violations"
    assert set(_happens(row, "breaker.tripped", "lone", scope="tool", name="back", reason="x")) == {"middle", "audit"}
    assert set(_happens(row, "agent.transitioned", "middle", to="suspended", reason="y")) == {
        "middle",
        "audit",
        "front",
    }


@pytest.mark.req("R208")
def test_who_is_let_through_is_not_told(row: World, operator: Actor) -> None:
    telemetry.close_store(row)
    registry.apply(row, operator, manifest("back", "http://127.0.0.1:9/v1", dependants="allow"))
    assert _happens(row, "breaker.tripped", "back", scope="agent", name="back", reason="x") == {}
