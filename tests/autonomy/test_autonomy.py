"""The floor of a workspace, boundaries, and what people are told: in the database, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenure.autonomy import service
from tenure.autonomy.api import router
from tenure.base import events
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import PEOPLE, Actor, Autonomy, Event, Role
from tenure.policy import service as policy
from tenure.registry import service as registry
from tests.sim.api import Api
from tests.sim.gateway import default_policies
from tests.sim.manifests import manifest

SERVERS = {"shop": {"command": ["shop"]}}
TOOLS = [
    {"name": "shop/list"},
    {"name": "shop/refund", "autonomy": "notify"},
    {"name": "shop/pay", "autonomy": "human_only"},
]


@pytest.fixture
def api(world: World, operator: Actor) -> Api:
    policy.publish(world, operator, default_policies(), "begin")
    found = Api(world, router)
    found.actor = operator
    return found


def register(world: World, operator: Actor, **spec: Any) -> None:
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:9/v1", servers=SERVERS, tools=TOOLS, **spec))


def call(resource: str = "shop/refund", *, after_s: float = 0.0, duties: tuple[str, ...] = ("notify",)) -> Event:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=after_s)
    data = {"tenure.resource": resource, "tenure.decision": {"effect": "allow", "obligations": list(duties)}}
    return Event(new_id(), "call.completed", at, "default", "agent:clerk", agent="clerk", trace_id="t" * 32, data=data)


def levels(world: World) -> dict[str, Autonomy]:
    with world.read() as connection:
        fact = service.governed(connection, registry.agent_facts(connection))["default/clerk"]
    return {tool.name: tool.autonomy for tool in fact.tools}


@pytest.mark.req("R060")
def test_of_the_floor_the_agents_level_and_the_tools_own_the_strictest_is_in_force(
    world: World, operator: Actor, api: Api
) -> None:
    register(world, operator)
    assert levels(world) == {"list": "autonomous", "refund": "notify", "pay": "human_only"}
    register(world, operator, autonomy="notify")
    assert levels(world) == {"list": "notify", "refund": "notify", "pay": "human_only"}
    assert api("PUT", "/v1/autonomy", {"level": "approve", "reason": "a bad week"})[0] == 200
    assert levels(world) == {"list": "approve", "refund": "approve", "pay": "human_only"}
    assert api("GET", "/v1/autonomy")[1]["reason"] == "a bad week"
    service.set_floor(world, operator, Autonomy.AUTONOMOUS, "the week is over")
    assert levels(world)["list"] == "notify"
    with world.read() as connection:
        told = [one.event.data for one in events.read(connection, 0) if one.event.type == "autonomy.set"]
    assert [(one["before"], one["level"]) for one in told] == [("autonomous", "approve"), ("approve", "autonomous")]


def test_only_a_person_who_runs_the_workspace_sets_the_floor(world: World) -> None:
    for actor in (
        Actor("default", "person:ann@example.com", frozenset({Role.APPROVER})),
        Actor("default", "service:ci", PEOPLE),
    ):
        with pytest.raises(Refused, match="may not do this"):
            service.set_floor(world, actor, Autonomy.AUTONOMOUS, "for speed")


@pytest.mark.req("R071", "R078")
def test_the_boundary_is_written_down_with_who_asks_for_each_level(world: World, operator: Actor, api: Api) -> None:
    register(world, operator, autonomy="notify")
    api("PUT", "/v1/autonomy", {"level": "approve", "reason": "a bad week"})
    status, found = api("GET", "/v1/agents/clerk/boundary")
    assert status == 200
    lines = {line["resource"]: line for line in found["lines"]}
    assert {name: line["verdict"] for name, line in lines.items() if "/" in name} == {
        "shop/list": "approval",
        "shop/refund": "approval",
        "shop/pay": "stop",
    }
    assert lines["shop/list"]["level"]["set_by"] == ["workspace"]
    assert lines["shop/pay"]["level"]["set_by"] == ["tool"]
    assert lines["shop/pay"]["policies"] == ["system/human-only"]
    further = {one["policy"]: one for one in lines["shop/list"]["further"]}
    assert further["secret-on-its-way-out"]["speaks"] == "stop"
    assert further["secret-on-its-way-out"]["looks_at"] == ["findings"]
    assert api("GET", "/v1/agents/nobody/boundary")[0] == 404


@pytest.mark.req("R060")
def test_people_are_told_of_calls_on_the_level_notify_until_somebody_has_seen_them(
    world: World, operator: Actor, api: Api
) -> None:
    register(world, operator)
    with world.begin() as tx:
        service.take(tx, [call(), call(after_s=1), call("shop/list", duties=())])
        service.take(tx, [call(after_s=2)])
    (one,) = api("GET", "/v1/notices")[1]
    assert (one["agent"], one["resource"], one["calls"]) == ("clerk", "shop/refund", 3)
    with world.begin() as tx:
        service.take(tx, [call(after_s=3)])
    seen = {"agent": "clerk", "resource": "shop/refund", "upto": one["last_at"]}
    upto = datetime.fromisoformat(one["last_at"])
    with pytest.raises(Refused, match="again meanwhile"):
        service.see(world, operator, "clerk", "shop/refund", upto)
    viewer = Actor("default", "person:eve@example.com", frozenset({Role.VIEWER}))
    with pytest.raises(Refused, match="may not do this"):
        service.see(world, viewer, "clerk", "shop/refund", upto)
    service.see(world, operator, "clerk", "shop/refund", upto + timedelta(seconds=1))
    assert api("GET", "/v1/notices")[1] == []
    assert api("POST", "/v1/notices/seen", seen)[0] == 404
