"""What depends on what, from traffic and from manifests; and what is hit when something goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tenure.base.room import World
from tenure.graph import service, store
from tenure.graph.model import Age, Edge, Graph, Kind, Node, around, blast, joined, of_manifest
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event, LifecycleState, Role
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry
from tenure.ui.agents.picture import ROWS, drawn, filtered
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest
from tests.sim.telemetry import GATEWAY, chat, opened, refused, tool_call

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
VIEWER = Actor("default", "person:leo@example.com", frozenset({Role.VIEWER}))


def calls_agent(at: datetime, who: str, whom: str) -> Event:
    """An agent calls another."""
    event = tool_call(at, whom, agent=who)
    return replace(event, data={**event.data, "tenure.kind": "agent"})


def take(world: World, *told: Event) -> None:
    """Gateways tell of calls, and the graph takes them in."""
    telemetry.ingest(world, GATEWAY, told)
    while telemetry.pump(world):
        pass
    while service.look(world):
        pass


@pytest.mark.req("R028")
def test_edges_come_of_traffic_once_and_fade(world: World, clock: FakeClock, operator: Actor) -> None:
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:9/v1", owner="dana@example.com"))
    with opened(world):
        for_bob = {"tenure.on_behalf_of": "bob@example.com"}
        failed = {"error.type": "timeout"}
        take(world, tool_call(clock.now), tool_call(clock.now, data=for_bob), chat(clock.now, "gpt-4o"))
        dead = {"tenure.kind": "llm", "tenure.resource": "credential", "error.type": "credential"}
        take(world, refused(clock.now, "credential", data=dead))  # before there was a call of anything
        clock.advance(seconds=86_400)
        take(world, tool_call(clock.now, data=failed), calls_agent(clock.now, "clerk", "auditor"))
        assert not service.look(world), "what was taken in is not taken in again"
    with world.read() as conn:
        graph = service.whole(conn, operator)
    assert "model:credential" not in {one.target for one in graph.edges}
    edges = {(one.source, one.target): one for one in graph.edges}
    read = edges["agent:clerk", "tool:files/read"]
    assert (read.calls, read.errors, read.per_day(clock.now), read.declared) == (3, 1, 1.5, False)
    assert read.last_seen == clock.now
    assert edges["agent:clerk", "model:gpt-4o"].calls == 1
    assert edges["agent:clerk", "agent:auditor"].calls == 1
    assert edges["person:bob@example.com", "agent:clerk"].calls == 1
    assert edges["person:dana@example.com", "agent:clerk"].declared
    ages = [read.age(clock.now + timedelta(days=days)) for days in (0, 2, 8)]
    assert ages == [Age.FRESH, Age.FADING, Age.STALE]
    assert Edge("a", "b", declared=True).age(clock.now) is Age.UNUSED


def test_what_nobody_uses_for_long_is_forgotten(world: World, clock: FakeClock) -> None:
    with opened(world):
        take(world, tool_call(clock.now))
        clock.advance(seconds=91 * 86_400)
        take(world, tool_call(clock.now, "files/write"))
    with world.read() as conn:
        assert [one.target for one in store.edges(conn, "default")] == ["tool:files/write"]


def test_there_is_an_end_of_edges(world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_EDGES", 2)
    with opened(world):
        take(world, *(tool_call(clock.now, f"made/up-{n}") for n in range(5)))
        take(world, tool_call(clock.now, "made/up-9"))
    with world.read() as conn:
        assert store.count(conn, "default") == 2


def _graph(*edges: tuple[str, str, int]) -> Graph:
    today = int(NOW.timestamp() // 86_400)
    seen = [
        Edge(source, target, calls, 0, NOW - timedelta(days=30), NOW, days={today: calls})
        for source, target, calls in edges
    ]
    return joined({}, [], seen)


@pytest.mark.req("R028")
def test_who_is_hit_is_everybody_who_depends_on_it_through_whatever_is_between() -> None:
    graph = _graph(
        ("person:ann", "agent:front", 70),
        ("agent:front", "agent:clerk", 35),
        ("agent:clerk", "tool:crm/refund", 14),
        ("agent:other", "tool:files/read", 7),
        ("agent:front", "tool:files/read", 7),
        ("agent:clerk", "agent:front", 7),
    )
    hits = blast(graph, "tool:crm/refund", NOW)
    assert [(one.node.key, one.steps, one.via, one.per_day) for one in hits] == [
        ("agent:clerk", 1, "tool:crm/refund", 3.0),
        ("agent:front", 2, "agent:clerk", 5.0),
        ("person:ann", 3, "agent:front", 10.0),
    ]
    assert blast(graph, "person:ann", NOW) == []


def test_around_a_node_is_what_it_needs_and_what_needs_it_and_no_neighbour_by_a_shared_tool() -> None:
    graph = _graph(
        ("agent:front", "agent:clerk", 1),
        ("agent:clerk", "tool:crm/refund", 1),
        ("agent:other", "tool:crm/refund", 1),
        ("person:ann", "agent:front", 1),
    )
    assert set(around(graph, "agent:clerk", 1).nodes) == {"agent:front", "agent:clerk", "tool:crm/refund"}
    assert set(around(graph, "agent:clerk", 2).nodes) == set(graph.nodes) - {"agent:other"}


@pytest.mark.req("R028")
def test_what_a_manifest_declares_is_there_before_any_call_and_gone_with_its_agent(
    world: World, operator: Actor
) -> None:
    servers = {"crm": {"command": ["crm"]}}
    spec = {"servers": servers, "tools": [{"name": "crm/refund"}], "data_classes": ["invoices"]}
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:9/v1", **spec))
    with world.read() as conn:
        graph = service.whole(conn, VIEWER)
        assert {"tool:crm/refund", "data:invoices"} <= set(graph.nodes)
        assert graph.nodes["agent:clerk"] == Node("agent:clerk", "requested")
        (hit, *people) = service.hit_by(conn, VIEWER, "data:invoices", NOW)
        assert (hit.node.key, hit.per_day) == ("agent:clerk", 0.0)
        assert {one.node.kind for one in people} == {Kind.PERSON}
    registry.transition(world, operator, "clerk", LifecycleState.REJECTED, "not needed")
    with world.read() as conn:
        graph = service.whole(conn, VIEWER)
        assert set(graph.nodes) == {"agent:clerk"}
        with pytest.raises(Refused, match="There is no data:invoices"):
            service.hit_by(conn, VIEWER, "data:invoices", NOW)
        with pytest.raises(Refused, match="is no node"):
            service.hit_by(conn, VIEWER, "nonsense", NOW)


def test_a_graph_of_another_workspace_is_not_told(world: World, clock: FakeClock, operator: Actor) -> None:
    with opened(world):
        take(world, tool_call(clock.now))
    with world.read() as conn:
        assert service.whole(conn, replace(operator, workspace="other")).edges == []


def test_a_thousand_nodes_are_drawn_in_rows_that_fit_a_page() -> None:
    names = [
        key for n in range(1000) for key in (f"agent:a-{n}", f"tool:crm-{n % 9}/t-{n}", f"person:p-{n}@example.com")
    ]
    nodes = [{"key": one, "kind": one.partition(":")[0], "name": one.partition(":")[2], "state": ""} for one in names]
    fact = {"per_day": 3.0, "calls": 9, "errors": 0, "last_seen": "2026-01-01", "age": "fresh", "declared": False}
    ends = [(f"agent:a-{n}", f"tool:crm-{n % 9}/t-{n}") for n in range(1000)]
    ends += [(f"person:p-{n}@example.com", f"agent:a-{n}") for n in range(1000)]
    graph = {"nodes": nodes, "edges": [{**fact, "source": one, "target": other} for one, other in ends], "cut": 0}
    picture = drawn(graph)
    assert len(picture.boxes) == 2 * ROWS + 9
    assert {one.label for one in picture.boxes if "more" in one.label} == {"961 more"}
    assert picture.height < 1400
    assert len({(one.x, one.y) for one in picture.boxes}) == len(picture.boxes), "no two rows lie on each other"
    focused = drawn(filtered(graph, "a-777"), "agent:a-777")
    assert [one.label for one in focused.boxes if one.focus] == ["a-777"]


@pytest.mark.req("R033", "R028")
def test_a_predictive_model_is_between_its_tool_and_whatever_goes_without_it() -> None:
    behind = {"registry": "mlflow", "name": "churn", "version": "3"}
    made = manifest("clerk", "http://127.0.0.1:9/v1")
    made["spec"]["tools"] = [{"name": "scores/churn", "predicts_with": behind}, {"name": "scores/other"}]
    graph = joined({"clerk": "production"}, of_manifest(made), [])
    hit = {one.node.key: one.via for one in blast(graph, "model:mlflow/churn@3", NOW)}
    assert hit["agent:clerk"] == "tool:scores/churn"
    assert "tool:scores/other" not in hit
