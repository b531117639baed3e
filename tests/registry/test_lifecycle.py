"""The one table, exhaustively: every pair of states, by the service and by SQL on both databases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from tenure.base import events
from tenure.base.db import Database
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.registry import flow, service, store
from tenure.registry.model import ACTING, TRANSITIONS, AgentRecord, Facts, Transition, bumps_epoch, check
from tests.sim.manifests import manifest

S = LifecycleState
LEGAL = {(t.frm, t.to) for t in TRANSITIONS}
PAIRS = list(itertools.product(S, S))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANYBODY = Actor("default", "person:root@example.com", frozenset(Role))


def path_to(state: LifecycleState) -> list[LifecycleState]:
    """The shortest way from requested to ``state``."""
    ways: dict[LifecycleState, list[LifecycleState]] = {S.REQUESTED: []}
    queue = [S.REQUESTED]
    for here in queue:
        for frm, to in [(t.frm, t.to) for t in TRANSITIONS]:
            if frm == here and to not in ways:
                ways[to] = [*ways[here], to]
                queue.append(to)
    return ways[state]


def agents_in(world: World, wanted: Mapping[str, LifecycleState]) -> None:
    """Registers agents and takes each to its state."""
    service.apply_all(world, ANYBODY, [manifest(name, "http://127.0.0.1:1/v1") for name in wanted])
    with world.begin() as tx:
        for name, state in wanted.items():
            for to in path_to(state):
                service.transition_in(world, tx, ANYBODY, name, to=to, reason="on the way")


def agent_in(world: World, state: LifecycleState) -> None:
    """One agent, clerk, in ``state``."""
    agents_in(world, {"clerk": state})


@pytest.mark.req("R001", "R004")
def test_every_pair_of_states_through_the_service(world: World) -> None:
    agents_in(world, {f"a{number}": frm for number, (frm, _) in enumerate(PAIRS)})
    for number, (frm, to) in enumerate(PAIRS):
        name = f"a{number}"
        with world.read() as conn:
            before = service.the_agent(conn, "default", name)
        if (frm, to) in LEGAL and (frm, to) != (S.SUSPENDED, S.PRODUCTION):
            after = service.transition(world, ANYBODY, name, to, "a test")
            assert after.state is to
            assert after.credential_epoch == before.credential_epoch + bumps_epoch(frm, to)
        else:
            with pytest.raises(Refused) as refusal:
                service.transition(world, ANYBODY, name, to, "a test")
            expected = "unmet_need" if (frm, to) in LEGAL else "illegal_transition"
            assert (refusal.value.code, refusal.value.status) == (expected, 409)
            with world.read() as conn:
                assert service.the_agent(conn, "default", name) == before


@pytest.mark.req("R004")
def test_every_pair_of_states_directly_in_sql(world: World, database: Database) -> None:
    agents_in(world, {f"a{number}": frm for number, (frm, _) in enumerate(PAIRS)})
    for number, (frm, to) in enumerate(PAIRS):
        name = f"a{number}"
        change = sa.update(store.agent_table).where(store.agent_table.c.name == name).values(state=str(to))
        if (frm, to) in LEGAL or frm is to:
            with database.begin() as conn:
                conn.execute(change)
        else:
            with pytest.raises(sa.exc.IntegrityError, match="does not exist"), database.begin() as conn:
                conn.execute(change)
        with database.read() as conn:
            assert service.the_agent(conn, "default", name).state is (to if (frm, to) in LEGAL else frm)


@pytest.mark.req("R004", "R005")
def test_the_database_refuses_every_way_round(world: World, database: Database) -> None:
    agent_in(world, S.RETIRED)
    with database.read() as conn:
        row = dict(conn.execute(sa.select(store.agent_table)).mappings().one())
    attempts: list[Any] = [
        sa.insert(store.agent_table).values({**row, "name": "b", "id": "b", "state": "production"}),
        sa.delete(store.agent_table),
        sa.update(store.agent_table).values(name="other"),
        sa.update(store.agent_table).values(state="nonsense"),
        sa.delete(store.transition_table),
        sa.update(store.transition_table).values(reason="a better one"),
        sa.delete(store.release_table),
        sa.update(store.release_table).values(created_by="somebody else"),
    ]
    if database.is_sqlite:
        again = {**row, "state": "requested"}
        attempts.append(sa.insert(store.agent_table).prefix_with("OR REPLACE").values(again))
    for attempt in attempts:
        with pytest.raises(sa.exc.IntegrityError, match="tenure:"), database.begin() as conn:
            conn.execute(attempt)
    with database.read() as conn:
        assert service.the_agent(conn, "default", "clerk").state is S.RETIRED


def test_every_state_can_be_reached_and_only_retirement_is_final() -> None:
    assert all(path_to(state) is not None for state in S)
    assert {state for state in S if not any(frm is state for frm, _ in LEGAL)} == {S.RETIRED}


WHO = {
    "agents:ask": {Role.OWNER, Role.OPERATOR},
    "agents:decide": {Role.APPROVER},
    "agents:finish": {Role.OPERATOR, Role.SYSTEM},
    "agents:promote": {Role.APPROVER},
    "agents:provision": {Role.SYSTEM},
    "agents:resume": {Role.APPROVER, Role.OPERATOR},
    "agents:retire": {Role.OWNER, Role.OPERATOR, Role.SYSTEM},
    "agents:suspend": {Role.OWNER, Role.APPROVER, Role.OPERATOR, Role.SYSTEM},
    "agents:try": {Role.OWNER, Role.OPERATOR},
}


@pytest.mark.req("R004")
@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda t: f"{t.frm}-{t.to}")
def test_each_step_is_for_its_roles_only(transition: Transition) -> None:
    facts = Facts(has_release=True, before=S.PRODUCTION, dependants=())
    agent = AgentRecord(
        "default", "clerk", "1", transition.frm, "r", 1, "dana@example.com", "finance@example.com", "openai", 1, {},
        NOW, NOW, NOW, "", "",
    )  # fmt: skip
    for role in Role:
        # A stranger with the owner's role is nobody's owner; the real owner has no other role.
        stranger = Actor("default", "person:eve@example.com", frozenset({role}))
        if role in WHO[transition.action] - {Role.OWNER}:
            assert check(agent, transition.to, stranger, facts) is transition
            continue
        with pytest.raises(Refused) as refusal:
            check(agent, transition.to, stranger, facts)
        assert (refusal.value.code, refusal.value.status) == ("not_permitted", 403)
        if role is Role.OWNER and role in WHO[transition.action]:
            owner = Actor("default", "person:dana@example.com", frozenset({role}))
            assert check(agent, transition.to, owner, facts) is transition


def logged(world: World, kind: str) -> list[Mapping[str, Any]]:
    """The Events of a type, as plain values."""
    with world.read() as conn:
        return [
            {"actor": item.event.actor, "time": item.event.time, "agent": item.event.agent, **item.event.data}
            for item in events.read(conn, 0)
            if item.event.type == kind
        ]


@pytest.mark.req("R005")
def test_every_step_is_an_event_and_a_line_of_history(world: World, clock: Any) -> None:
    agent_in(world, S.PRODUCTION)
    clock.advance(60)
    service.transition(world, ANYBODY, "clerk", S.SUSPENDED, "  it strayed ")
    with world.read() as conn:
        past = service.history(conn, "default", "clerk")
    assert [change.to for change in past] == [S.REQUESTED, *path_to(S.PRODUCTION), S.SUSPENDED]
    assert [change.seq for change in past] == list(range(1, len(past) + 1))
    assert (past[-1].actor, past[-1].reason, past[-1].time) == (ANYBODY.name, "it strayed", clock())
    told = logged(world, "agent.transitioned")
    assert [(one["from"], one["to"]) for one in told] == [(str(c.frm), str(c.to)) for c in past[1:]]
    assert (told[-1]["actor"], told[-1]["reason"], told[-1]["time"]) == (ANYBODY.name, "it strayed", clock())


@pytest.mark.req("R188")
def test_a_step_is_answered_when_the_gateways_decide_by_it(world: World) -> None:
    heard: list[str] = []

    def announce() -> None:
        with world.read() as conn:
            heard.append(service.the_agent(conn, "default", "clerk").state)
        assert world.replicas.confirm("gateway-1", "run", len(heard))

    agent_in(world, S.STAGING)
    world.replicas.publisher = (lambda: len(heard) + 1, announce)
    world.replicas.confirm("gateway-1", "run", 0)
    for to in (S.SUSPENDED, S.STAGING, S.SUSPENDED, S.RETIRED):
        service.transition(world, ANYBODY, "clerk", to, "it must")
    assert heard == [S.SUSPENDED, S.STAGING, S.SUSPENDED, S.RETIRED]


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 2001, "a\x00b"])
def test_a_step_needs_a_reason(world: World, reason: str) -> None:
    agent_in(world, S.REQUESTED)
    with pytest.raises(Refused, match="needs a reason"):
        service.transition(world, ANYBODY, "clerk", S.APPROVED, reason)
    assert not logged(world, "agent.transitioned")


def test_resuming_to_production_needs_to_have_been_there(world: World) -> None:
    agent_in(world, S.PRODUCTION)
    service.transition(world, ANYBODY, "clerk", S.SUSPENDED, "stop")
    assert service.transition(world, ANYBODY, "clerk", S.PRODUCTION, "go on").state is S.PRODUCTION


@pytest.mark.req("R014")
def test_an_agent_that_others_rely_on_is_not_ended_by_accident(world: World) -> None:
    needs = [{"agent": "clerk"}]
    service.apply_all(
        world,
        ANYBODY,
        [manifest("boss", "http://127.0.0.1:1/v1", dependencies=needs), manifest("clerk", "http://127.0.0.1:1/v1")],
    )
    for to in path_to(S.PRODUCTION):
        service.transition(world, ANYBODY, "clerk", to, "on the way")
    with pytest.raises(Refused) as refusal:
        service.transition(world, ANYBODY, "clerk", S.DRAINING, "replaced")
    assert refusal.value.details["dependants"] == ["boss"]
    service.transition(world, ANYBODY, "clerk", S.DRAINING, "replaced", force=True)
    assert logged(world, "agent.transitioned")[-1]["forced"] is True
    with pytest.raises(Refused) as refused:
        service.apply(world, ANYBODY, manifest("late", "http://127.0.0.1:1/v1", dependencies=needs))
    assert refused.value.details["faults"][0]["path"] == "spec.dependencies[0].agent"


def test_provisioning_goes_on_wherever_it_was_killed(world: World, clock: Any) -> None:
    agent_in(world, S.APPROVED)
    with world.read() as conn:
        assert flow.find(conn, clock()) == ["default/clerk"]
    assert flow.step(world, "default/clerk")
    # Whoever ran the first step is gone; another looks at state alone.
    assert flow.step(world, "default/clerk")
    assert not flow.step(world, "default/clerk")
    assert not flow.step(world, "default/nobody")
    with world.read() as conn:
        assert flow.find(conn, clock()) == []
        assert service.the_agent(conn, "default", "clerk").state is S.PROVISIONED
    assert [one["actor"] for one in logged(world, "agent.transitioned")][-2:] == ["system:registry"] * 2


def test_credentials_die_with_the_right_to_act() -> None:
    for frm, to in LEGAL:
        stops = to in (S.SUSPENDED, S.RETIRED) or (frm in ACTING and to not in ACTING)
        assert bumps_epoch(frm, to) is stops
    assert not bumps_epoch(S.PRODUCTION, S.DRAINING)
