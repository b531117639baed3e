"""Earned autonomy: the arithmetic, that nothing is relaxed without a person, and that it falls back at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.autonomy import earned, react, service
from tenure.autonomy.api import router
from tenure.autonomy.earning import LEAST_CALLS, NEXT, Outcome, Record, State, counted, lower_bound, relaxed
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

AT = datetime(2026, 1, 1, tzinfo=UTC)
RELAXED = {Autonomy.APPROVE: Autonomy.NOTIFY, Autonomy.NOTIFY: Autonomy.AUTONOMOUS}


@pytest.mark.parametrize(
    ("good", "calls", "bound"),
    # one-sided 95 %: the quantiles of the beta distribution that tables of it give
    [
        (30, 30, 0.90497),
        (29, 30, 0.85139),
        (9, 10, 0.60584),
        (20, 20, 0.86089),
        (299, 300, 0.98428),
        (1, 1, 0.05),
        (0, 9, 0.0),
    ],
)
def test_the_bound_is_that_of_clopper_and_pearson(good: int, calls: int, bound: float) -> None:
    assert lower_bound(good, calls) == pytest.approx(bound, abs=2e-5)


def a_record(**changes: Any) -> Record:
    return replace(Record("default", "clerk", "shop/refund", "sha256:1", Autonomy.APPROVE), **changes)


@pytest.mark.req("R064")
@given(
    st.sampled_from([Autonomy.APPROVE, Autonomy.NOTIFY, Autonomy.HUMAN_ONLY, Autonomy.AUTONOMOUS]),
    st.lists(st.sampled_from(list(Outcome)), max_size=80),
    st.integers(1, 4),
    st.integers(0, 60),
)
def test_no_evidence_relaxes_anything_and_enough_of_it_only_asks(
    declared: Autonomy, outcomes: list[Outcome], tier: int, before: int
) -> None:
    record = a_record(declared=declared, good=before)
    for outcome in outcomes:
        record, came = counted(record, outcome, AT, tier)
        assert relaxed(record, declared, record.release) is declared
        assert came != "proposed" or (record.enough and declared in NEXT and tier <= 3)
        assert (record.state is State.PROPOSED) <= record.enough
        assert record.enough == (declared in NEXT and record.calls >= LEAST_CALLS and record.bound >= 0.9)


@pytest.mark.req("R064")
@given(
    st.sampled_from(list(RELAXED)),
    st.integers(LEAST_CALLS, 2000),
    st.lists(st.sampled_from(list(Outcome)), max_size=30),
)
def test_one_bad_outcome_after_the_acceptance_falls_back_at_once_however_good_the_past(
    declared: Autonomy, good: int, outcomes: list[Outcome]
) -> None:
    record = a_record(declared=declared, good=good, state=State.ACCEPTED)
    for outcome in outcomes:
        assert relaxed(record, declared, record.release) is RELAXED[declared]
        assert relaxed(record, declared, "sha256:2") is declared, "a new release starts at its declared level"
        assert relaxed(record, Autonomy.HUMAN_ONLY, record.release) is Autonomy.HUMAN_ONLY
        record, came = counted(record, outcome, AT, 1)
        if outcome is not Outcome.GOOD:
            assert (came, record.state, record.calls) == ("fell_back", State.WATCHED, 0)
            assert relaxed(record, declared, record.release) is declared
            return
        assert came == ""


# -- in the database

SERVERS = {"shop": {"command": ["shop"]}}
TOOLS = [{"name": "shop/refund", "autonomy": "approve"}, {"name": "shop/list"}]


class Clerk:
    """An agent with a tool that takes approvals, and what gateways tell of it."""

    def __init__(self, world: World, operator: Actor) -> None:
        self.world, self.operator, self.number = world, operator, 0
        policy.publish(world, operator, default_policies(), "begin")
        self.apply()

    def apply(self, **spec: Any) -> None:
        whole = manifest("clerk", "http://127.0.0.1:9/v1", servers=SERVERS, tools=TOOLS, **spec)
        registry.apply(self.world, self.operator, whole)

    @property
    def release(self) -> str:
        with self.world.read() as connection:
            return registry.the_agent(connection, "default", "clerk").release

    def tell(
        self, kind: str = "call.completed", count: int = 1, release: str = "", data: dict[str, Any] | None = None
    ) -> None:
        """Events of calls of shop/refund that a person approved."""
        facts = {"tenure.kind": "tool", "tenure.resource": "shop/refund", "tenure.approval.id": "a"} | (data or {})
        told = []
        for _ in range(count):
            self.number += 1
            at = AT + timedelta(seconds=self.number)
            told.append(
                Event(new_id(), kind, at, "default", "agent:clerk", "clerk", release or self.release, data=facts)
            )
        with self.world.begin() as tx:
            react.take(tx, told)

    @property
    def level(self) -> Autonomy:
        with self.world.read() as connection:
            fact = service.governed(connection, registry.agent_facts(connection))["default/clerk"]
        return next(tool.autonomy for tool in fact.tools if tool.name == "refund")

    def answer(self, decision: str, actor: Actor | None = None, release: str = "") -> Record:
        shown = release or self.release
        return earned.decide(
            self.world, actor or self.operator, "clerk", "shop/refund", shown, decision, "looked at it"
        )

    def told(self) -> list[str]:
        with self.world.read() as connection:
            kinds = [one.event.type for one in events.read(connection, 0)]
        return [kind.partition(".")[2] for kind in kinds if kind.startswith("autonomy.")]


@pytest.fixture
def clerk(world: World, operator: Actor) -> Clerk:
    return Clerk(world, operator)


@pytest.mark.req("R064")
def test_evidence_proposes_a_person_accepts_and_one_failure_falls_back(clerk: Clerk, operator: Actor) -> None:
    clerk.tell(count=29)
    assert (clerk.level, clerk.told()) == ("approve", [])
    with pytest.raises(Refused, match="watched"):
        clerk.answer("accept")
    clerk.tell()
    assert (clerk.level, clerk.told()) == ("approve", ["proposed"])
    for nobody in (
        Actor("default", "service:ci", PEOPLE),
        Actor("default", "system:autonomy", frozenset({Role.SYSTEM})),
        Actor("default", "person:own@example.com", frozenset({Role.OWNER, Role.OPERATOR})),
    ):
        with pytest.raises(Refused, match="may not do this"):
            clerk.answer("accept", nobody)
    clerk.answer("accept")
    assert clerk.level == "notify"
    bounds = {line.bound.resource: line.level for line in service.boundary(clerk.world, operator, "clerk").lines}
    level = bounds["shop/refund"]
    assert level is not None
    assert (level.own, level.earned, level.in_force, level.set_by) == ("approve", "notify", "notify", ("evidence",))
    clerk.tell(count=3)
    assert clerk.level == "notify"
    clerk.tell(data={"error.type": "tool_error"})
    assert (clerk.level, clerk.told()) == ("approve", ["proposed", "accepted", "fell_back"])
    clerk.tell(count=29)
    assert clerk.told()[-1] == "fell_back", "what was before proves nothing any more"


@pytest.mark.req("R064")
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("approval.rejected", {"resource": "shop/refund"}),
        ("call.refused", {"tenure.violation": True}),
        ("breaker.tripped", {"scope": "agent", "name": "clerk"}),
        ("breaker.tripped", {"scope": "tool", "name": "shop/refund"}),
        ("breaker.tripped", {"scope": "workspace", "name": ""}),
        ("tool.changed", {"resource": "shop/refund"}),
    ],
)
def test_what_speaks_against_it_ends_it(clerk: Clerk, kind: str, data: dict[str, Any]) -> None:
    clerk.tell(count=LEAST_CALLS)
    clerk.answer("accept")
    clerk.tell(kind, data=data)
    assert (clerk.level, clerk.told()[-1]) == ("approve", "fell_back")


@pytest.mark.req("R064")
def test_a_new_release_starts_at_its_declared_level_and_proves_itself_alone(clerk: Clerk) -> None:
    clerk.tell(count=LEAST_CALLS)
    clerk.answer("accept")
    old = clerk.release
    clerk.apply(instructions="Do it otherwise.")
    assert clerk.release != old
    assert clerk.level == "approve", "by the facts themselves, before any Event was heard"
    clerk.tell("agent.applied")
    assert clerk.told()[-1] == "fell_back"
    clerk.tell(count=LEAST_CALLS, release=old)
    assert clerk.told()[-1] == "fell_back"
    with pytest.raises(Refused):
        clerk.answer("accept", release=old)


def test_the_floor_is_above_what_was_earned_and_a_person_can_end_it(
    clerk: Clerk, operator: Actor, world: World
) -> None:
    clerk.tell(count=LEAST_CALLS)
    clerk.answer("accept")
    service.set_floor(world, operator, Autonomy.APPROVE, "an incident")
    assert clerk.level == "approve"
    service.set_floor(world, operator, Autonomy.AUTONOMOUS, "it is over")
    assert clerk.level == "notify"
    api = Api(world, router)
    api.actor = operator
    body = {
        "agent": "clerk",
        "resource": "shop/refund",
        "release": clerk.release,
        "decision": "end",
        "reason": "enough",
    }
    status, one = api("POST", "/v1/autonomy/earned/decision", body | {"reason": "enough"})
    assert (status, one["state"], one["in_force"], clerk.level) == (200, "watched", False, "approve")
    assert [(one["resource"], one["calls"]) for one in api("GET", "/v1/autonomy/earned")[1]] == [("shop/refund", 0)]
    clerk.tell(count=LEAST_CALLS)
    clerk.answer("decline")
    clerk.tell(count=LEAST_CALLS)
    assert clerk.told()[-2:] == ["proposed", "declined"], "what a person declined is not proposed again"
