"""Applying: all or nothing, the same again changes nothing, and a change of behaviour waits for an approver."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenure.base import events
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Autonomy, LifecycleState, Role
from tenure.registry import service, store
from tests.sim.manifests import RISK, manifest

URL = "http://127.0.0.1:1/v1"
S = LifecycleState
ANYBODY = Actor("default", "person:root@example.com", frozenset(Role))
SERVER = {"files": {"command": ["files"]}}


def clerk(**spec: Any) -> dict[str, Any]:
    """The manifest that these tests change."""
    return manifest("clerk", URL, **spec)


def kinds(world: World) -> Counter[str]:
    """How many Events of each type there are."""
    with world.read() as conn:
        return Counter(item.event.type for item in events.read(conn, 0))


def rows(world: World) -> list[int]:
    """How many rows each table has."""
    with world.read() as conn:
        tables = (store.agent_table, store.release_table, store.transition_table)
        return [conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in tables]


def move(world: World, *states: LifecycleState) -> None:
    """Takes the clerk along."""
    for state in states:
        service.transition(world, ANYBODY, "clerk", state, "on the way")


RUNNING = (S.APPROVED, S.CREATED, S.PROVISIONED, S.STAGING, S.PRODUCTION)


@pytest.mark.req("R020", "R021")
def test_what_is_registered_can_be_looked_up(world: World, clock: Any) -> None:
    risk = {"data_sensitivity": 1, "decision_authority": 2, "blast_radius": 3, "regulatory_exposure": 1}
    tools = [{"name": "files/read", "autonomy": "approve"}]
    applied = service.apply(
        world,
        ANYBODY,
        clerk(risk=risk, servers=SERVER, tools=tools, data_classes=["internal"], breaker={"threshold": 9}),
    )
    assert (applied.changed, applied.created) == (True, True)
    with world.read() as conn:
        agent = service.get_agent(conn, "default", "clerk")
        fact = service.agent_facts(conn)["default/clerk"]
        release = service.get_release(conn, "default", applied.agent.release)
    assert agent == applied.agent
    assert (agent.owner, agent.framework, agent.risk_tier) == ("dana@example.com", "openai", 3)
    assert (agent.state, agent.created_at, agent.requested_by) == (S.REQUESTED, clock(), ANYBODY.name)
    assert agent.manifest["spec"]["data_classes"] == ["internal"]
    assert release.content["spec"]["tools"] == tools
    assert (fact.state, fact.release, fact.risk_tier) == (S.REQUESTED, agent.release, 3)
    assert [(tool.server, tool.name, tool.autonomy) for tool in fact.tools] == [("files", "read", Autonomy.APPROVE)]
    assert (fact.models[0].name, fact.models[0].upstream.base_url) == ("scripted-clerk", URL)
    assert (fact.servers[0].command, fact.breaker.threshold, fact.breaker.window_s) == (("files",), 9, 300.0)


def test_the_same_again_changes_nothing(world: World, clock: Any) -> None:
    service.apply(world, ANYBODY, clerk())
    before, told = rows(world), kinds(world)
    clock.advance(5)
    again = service.apply(world, ANYBODY, clerk())
    assert not again.changed
    assert (rows(world), kinds(world)) == (before, told)
    assert again.agent.updated_at < clock()


def test_all_or_nothing(world: World) -> None:
    broken = manifest("other", URL, owner="nobody")
    with pytest.raises(Refused) as refusal:
        service.apply_all(world, ANYBODY, [clerk(), broken, "text", manifest("clerk", URL)])
    found = {(fault["document"], fault["path"]) for fault in refusal.value.details["faults"]}
    assert found == {(1, "spec.owner"), (2, ""), (3, "metadata.name")}
    assert rows(world) == [0, 0, 0]
    assert not kinds(world)


@pytest.mark.req("R025")
@pytest.mark.parametrize("highest", RISK)
def test_the_tier_is_the_highest_of_the_four_dimensions_of_risk(world: World, highest: str) -> None:
    risk = {**dict.fromkeys(RISK, 2), highest: 4}
    assert service.apply(world, ANYBODY, clerk(risk=risk)).agent.risk_tier == 4
    assert service.apply(world, ANYBODY, clerk(risk={**risk, highest: 3})).agent.risk_tier == 3


def test_a_dry_run_tells_and_changes_nothing(world: World) -> None:
    (result,) = service.apply_all(world, ANYBODY, [clerk()], dry_run=True)
    assert (result.changed, result.created) == (True, True)
    assert rows(world) == [0, 0, 0]


def test_before_anybody_approved_a_change_is_current_at_once(world: World) -> None:
    first = service.apply(world, ANYBODY, clerk()).agent
    second = service.apply(world, ANYBODY, clerk(instructions="Other")).agent
    assert first.release != second.release
    assert second.pending_release is None
    move(world, S.REJECTED)
    third = service.apply(world, ANYBODY, clerk(instructions="Better")).agent
    assert (third.state, third.pending_release) == (S.REJECTED, None)
    move(world, S.REQUESTED)


def test_a_change_of_behaviour_waits_for_an_approver(world: World) -> None:
    service.apply(world, ANYBODY, clerk())
    move(world, *RUNNING)
    with world.read() as conn:
        before = service.agent_facts(conn)["default/clerk"]
    wider = clerk(servers=SERVER, tools=[{"name": "files/read"}], owner="eve@example.com", purpose="More")
    waiting = service.apply(world, ANYBODY, wider).agent
    assert waiting.pending_release
    assert (waiting.owner, waiting.release) == ("dana@example.com", before.release)
    assert (waiting.pending_owner, waiting.pending_by) == ("eve@example.com", ANYBODY.name), "she has not accepted"
    with world.read() as conn:
        now = service.agent_facts(conn)["default/clerk"]
    assert (now.tools, now.purpose, now.credential_epoch) == ((), before.purpose, before.credential_epoch)
    assert not service.apply(world, ANYBODY, wider).changed

    with pytest.raises(Refused, match="does not wait"):
        service.decide_release(world, ANYBODY, "clerk", before.release, grant=True, reason="yes")
    owner = Actor("default", "person:eve@example.com", frozenset({Role.OWNER}))
    with pytest.raises(Refused, match="approver"):
        service.decide_release(world, owner, "clerk", waiting.pending_release, grant=True, reason="yes")
    done = service.decide_release(world, ANYBODY, "clerk", waiting.pending_release, grant=True, reason="needed")
    assert (done.release, done.pending_release) == (waiting.pending_release, None)
    with world.read() as conn:
        fact = service.agent_facts(conn)["default/clerk"]
    assert ([tool.name for tool in fact.tools], fact.purpose) == (["read"], "More")
    # What runs under the old release may not go on under the new one.
    assert fact.credential_epoch == before.credential_epoch + 1
    assert kinds(world)["release.approved"] == 1
    assert not service.apply(world, ANYBODY, wider).changed


def test_a_candidate_is_dropped_or_taken_back(world: World) -> None:
    service.apply(world, ANYBODY, clerk())
    move(world, *RUNNING)
    candidate = service.apply(world, ANYBODY, clerk(instructions="Other")).agent.pending_release
    assert candidate
    dropped = service.decide_release(world, ANYBODY, "clerk", candidate, grant=False, reason="no")
    assert dropped.pending_release is None
    assert service.apply(world, ANYBODY, clerk(instructions="Other")).agent.pending_release == candidate
    back = service.apply(world, ANYBODY, clerk())
    assert (back.changed, back.agent.pending_release) == (True, None)


def test_who_may_apply(world: World) -> None:
    owner = Actor("default", "person:Dana@example.com", frozenset({Role.OWNER}))
    stranger = Actor("default", "person:eve@example.com", frozenset({Role.OWNER}))
    viewer = Actor("default", "person:dana@example.com", frozenset({Role.VIEWER}))
    service.apply(world, owner, clerk())
    for actor in (stranger, viewer):
        with pytest.raises(Refused) as refusal:
            service.apply(world, actor, clerk(instructions="Mine now"))
        assert refusal.value.status == 403
    assert service.apply(world, owner, clerk(instructions="Better")).changed


def test_a_retired_agent_stays_as_it_was(world: World) -> None:
    service.apply(world, ANYBODY, clerk())
    move(world, *RUNNING, S.SUSPENDED, S.RETIRED)
    with pytest.raises(Refused, match="stays as it was"):
        service.apply(world, ANYBODY, clerk(instructions="Back"))


def test_dependencies_and_workspaces_must_be_there(world: World) -> None:
    with pytest.raises(Refused) as refusal:
        service.apply(world, ANYBODY, clerk(dependencies=[{"agent": "clark"}]))
    assert refusal.value.details["faults"][0]["path"] == "spec.dependencies[0].agent"
    elsewhere = clerk()
    elsewhere["metadata"]["workspace"] = "elsewhere"
    with pytest.raises(Refused, match=r"metadata\.workspace"):
        service.apply(world, ANYBODY, elsewhere)


CHANGES: list[dict[str, Any]] = [
    {}, {"owner": "eve@example.com"}, {"instructions": "Other"}, {"servers": SERVER}, {"goals": ["g"]},
    {"servers": SERVER, "tools": [{"name": "files/read"}]}, {"budgets": {"usd_per_day": 1}},
]  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=5), st.integers(0, len(RUNNING)))
def test_applying_twice_is_applying_once(world: World, changes: list[dict[str, Any]], steps: int) -> None:
    with world.read() as conn:
        name = f"a{len(service.list_agents(conn))}"
    service.apply(world, ANYBODY, manifest(name, URL))
    for state in RUNNING[:steps]:
        service.transition(world, ANYBODY, name, state, "on the way")
    for change in changes:
        wanted = manifest(name, URL, **copy.deepcopy(change))
        first = service.apply(world, ANYBODY, wanted).agent
        before, told = rows(world), kinds(world)
        second = service.apply(world, ANYBODY, wanted)
        assert (second.changed, second.agent) == (False, first)
        assert (rows(world), kinds(world)) == (before, told)
        with world.read() as conn:
            assert service.get_release(conn, "default", first.release).agent == name
