"""Instances: started with an identity, heard of, lost, found again, ended; and drained agents are retired."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tenure.base import durable, events
from tenure.base.db import Database
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.model import AUDIENCE, verify
from tenure.kernel.errors import Refused
from tenure.kernel.ids import session_trace
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.registry import service as registry
from tenure.runtime import flow, service
from tenure.runtime.lineage import Wish
from tenure.runtime.model import End, Started
from tests.sim.manifests import manifest

S = LifecycleState
ANYBODY = Actor("default", "person:root@example.com", frozenset(Role))
UP_TO_STAGING = (S.APPROVED, S.CREATED, S.PROVISIONED, S.STAGING)


@pytest.fixture(autouse=True)
def _agent(world: World) -> None:
    identity.bootstrap(world)
    registry.apply(world, ANYBODY, manifest("clerk", "http://127.0.0.1:1/v1"))
    move(world, *UP_TO_STAGING)


def move(world: World, *states: LifecycleState, **more: Any) -> None:
    """Takes the clerk along."""
    for state in states:
        registry.transition(world, ANYBODY, "clerk", state, "a test", **more)


def state(world: World) -> LifecycleState:
    """Where the clerk stands."""
    with world.read() as conn:
        return registry.the_agent(conn, "default", "clerk").state


def start(world: World, **more: Any) -> Started:
    """Starts an instance of the clerk."""
    return service.start_instance(world, ANYBODY, "clerk", **more)


def stop_of(world: World, started: Started) -> tuple[bool, str]:
    """What a heartbeat of an instance is answered."""
    answer = service.heartbeat(world, ANYBODY, started.instance.id)
    return answer.stop, answer.reason


def end_of(world: World, started: Started) -> End | None:
    """How an instance ended."""
    with world.read() as conn:
        return service.the_instance(conn, ANYBODY, started.instance.id).end


def test_an_instance_has_an_identity_of_its_own_and_its_wires(world: World, database: Database) -> None:
    started = start(world, ttl_s=60, wish=Wish("ada@example.com"))
    one, env = started.instance, started.env
    with world.read() as conn:
        keys = identity.public_keys(conn)
        log = [item.event for item in events.read(conn, 0)]
    now = world.clock().timestamp()
    principal = verify(started.token, keys, identity.issuer(world.config), AUDIENCE, now)
    assert (principal.agent, principal.release, principal.instance) == ("clerk", one.release, one.id)
    assert (principal.session, principal.on_behalf_of) == (one.session, "ada@example.com")
    assert one.expires_at.timestamp() == now + 60
    assert env["OPENAI_BASE_URL"] == "http://127.0.0.1:7710/v1"
    assert env["TENURE_MCP_URL"] == "http://127.0.0.1:7710/mcp"
    assert env["OPENAI_API_KEY"] == env["TENURE_AGENT_TOKEN"] == started.token
    assert env["ANTHROPIC_BASE_URL"] == env["GOOGLE_GEMINI_BASE_URL"] == "http://127.0.0.1:7710"
    assert env["ANTHROPIC_API_KEY"] == env["GEMINI_API_KEY"] == started.token
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:7700/otlp"
    assert env["OTEL_EXPORTER_OTLP_HEADERS"] == f"authorization=Bearer%20{started.token}"
    assert "tenure.release=sha256%3A" in env["OTEL_RESOURCE_ATTRIBUTES"]
    assert env["TRACEPARENT"] == "00-{}-{}-01".format(*session_trace("default", one.session))
    assert "TENURE_TOKEN" not in env
    told = [event for event in log if event.type == "instance.started"]
    assert [(event.agent, event.instance, event.actor) for event in told] == [("clerk", one.id, ANYBODY.name)]
    assert started.token not in repr(log)
    if database.is_sqlite:
        files = [path.read_bytes() for path in world.config.data_dir.glob("control.db*")]
        assert not any(started.token.encode() in content for content in files)


@pytest.mark.parametrize("beyond", [S.PRODUCTION, S.SUSPENDED, S.DRAINING])
def test_only_staging_and_production_start_anything(world: World, beyond: LifecycleState) -> None:
    move(world, beyond)
    if beyond is S.PRODUCTION:
        assert start(world).instance.agent == "clerk"
        return
    with pytest.raises(Refused, match="only an agent in staging or production"):
        start(world)


def test_who_may_start_and_who_may_speak(world: World) -> None:
    owner = Actor("default", "person:dana@example.com", frozenset({Role.OWNER}))
    stranger = Actor("default", "person:eve@example.com", frozenset({Role.OWNER, Role.APPROVER}))
    one = service.start_instance(world, owner, "clerk").instance
    with pytest.raises(Refused) as refusal:
        service.start_instance(world, stranger, "clerk")
    assert refusal.value.status == 403
    with pytest.raises(Refused) as unknown:
        service.heartbeat(world, stranger, one.id)
    assert unknown.value.status == 404
    assert not service.heartbeat(world, owner, one.id).stop
    itself = identity.authenticate(world, f"Bearer {start(world).token}", None)
    assert itself
    with pytest.raises(Refused):
        service.heartbeat(world, itself, one.id)
    assert itself.principal
    assert not service.heartbeat(world, itself, itself.principal.instance).stop


@pytest.mark.parametrize("bad", [{"ttl_s": 0}, {"ttl_s": 86_401}, {"wish": Wish("")}, {"wish": Wish("a\nb")}])
def test_bad_wishes_are_refused_and_leave_nothing(world: World, bad: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        start(world, **bad)
    with world.read() as conn:
        assert service.instances(conn, "default", "clerk") == []


@pytest.mark.req("R014")
def test_when_an_instance_must_end(world: World) -> None:
    move(world, S.PRODUCTION)
    one = start(world)
    assert stop_of(world, one) == (False, "")
    move(world, S.SUSPENDED)
    assert stop_of(world, one) == (True, "clerk is suspended: a test")
    move(world, S.PRODUCTION)
    assert stop_of(world, one)[1].startswith("the credentials of clerk were replaced")
    two = start(world)
    changed = manifest("clerk", "http://127.0.0.1:1/v1", instructions="Other")
    pending = registry.apply(world, ANYBODY, changed).agent.pending_release
    assert pending
    assert stop_of(world, two) == (False, "")
    registry.decide_release(world, ANYBODY, "clerk", pending, grant=True, reason="fine")
    assert stop_of(world, two)[1].startswith("clerk has a new release")
    three = start(world)
    move(world, S.DRAINING)
    assert stop_of(world, three) == (False, "")
    move(world, S.RETIRED)
    assert stop_of(world, three) == (True, "clerk is retired: a test")


def test_a_silent_instance_is_lost_and_one_that_comes_back_is_live(world: World, clock: Any) -> None:
    one, two = start(world), start(world)
    clock.advance(20)
    stop_of(world, two)
    clock.advance(11)
    assert durable.run_due(world, flow.SILENT, "h") == 1
    assert (end_of(world, one), end_of(world, two)) == (End.LOST, None)
    assert durable.run_due(world, flow.SILENT, "h") == 0
    assert stop_of(world, one) == (False, "")
    assert end_of(world, one) is None
    ended = service.end_instance(world, ANYBODY, one.instance.id, 3)
    assert (ended.end, ended.exit_code) == (End.EXITED, 3)
    assert service.end_instance(world, ANYBODY, one.instance.id, 4).exit_code == 3
    assert stop_of(world, one) == (True, "this instance was ended")
    with world.read() as conn:
        told = [item.event.type for item in events.read(conn, 0) if item.event.type.startswith("instance.")]
    assert told == ["instance.started"] * 2 + ["instance.ended", "instance.returned", "instance.ended"]


@pytest.mark.req("R014")
def test_a_draining_agent_is_retired_when_nothing_of_it_runs(world: World, clock: Any) -> None:
    one = start(world)
    move(world, S.DRAINING, drain_s=600)
    assert durable.run_due(world, flow.DRAIN, "h") == 0
    clock.advance(20)
    service.end_instance(world, ANYBODY, one.instance.id, 0)
    assert durable.run_due(world, flow.DRAIN, "h") == 1
    assert state(world) is S.RETIRED
    assert durable.run_due(world, flow.DRAIN, "h") == 0
    assert not flow.drain(world, "default/clerk")


@pytest.mark.req("R014")
def test_a_draining_agent_is_retired_when_its_time_is_over(world: World, clock: Any) -> None:
    one = start(world)
    registry.transition(world, ANYBODY, "clerk", S.DRAINING, "x" * 2000, drain_s=25)
    clock.advance(24)
    stop_of(world, one)
    assert durable.run_due(world, flow.DRAIN, "h") == 0
    clock.advance(1)
    assert durable.run_due(world, flow.DRAIN, "h") == 1
    assert stop_of(world, one)[0]
    with world.read() as conn:
        last = registry.history(conn, "default", "clerk")[-1]
    assert (last.to, last.actor) == (S.RETIRED, "system:runtime")
    assert last.reason.endswith("the time to finish is over, 1 still ran")
    json.dumps(last.reason)


@pytest.mark.req("R013")
def test_an_agent_for_one_task_is_revoked_and_retired_when_its_task_ends(world: World) -> None:
    registry.apply(world, ANYBODY, manifest("errand", "http://127.0.0.1:1/v1", process={"task": True}))
    for to in UP_TO_STAGING:
        registry.transition(world, ANYBODY, "errand", to, "a test")

    def errand() -> Any:
        with world.read() as conn:
            return registry.the_agent(conn, "default", "errand")

    assert durable.run_due(world, flow.DONE, "a test") == 0, "it has not begun"
    first, second = (service.start_instance(world, ANYBODY, "errand") for _ in range(2))
    service.end_instance(world, ANYBODY, first.instance.id, 0)
    assert durable.run_due(world, flow.DONE, "a test") == 0, "some of it still works"
    epoch = errand().credential_epoch
    service.end_instance(world, ANYBODY, second.instance.id, 0)
    assert durable.run_due(world, flow.DONE, "a test") == 1
    assert errand().credential_epoch > epoch, "what it held is worthless at once"
    durable.run_due(world, flow.DRAIN, "a test")
    assert (errand().state, "its task has ended" in errand().state_reason) == (S.RETIRED, True)
    with pytest.raises(Refused, match="retired"):
        service.start_instance(world, ANYBODY, "errand")
    assert state(world) is S.STAGING, "others go on"
