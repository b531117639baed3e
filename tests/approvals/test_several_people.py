"""Held calls that take more than one person, and people who answer for others."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenure.approvals import service, standin_store, standing
from tenure.approvals.api import router
from tenure.approvals.flow import STAND_INS
from tenure.approvals.model import Approval, Given, Right, State, check_right, complete
from tenure.base import durable, events
from tenure.base.access import holders
from tenure.base.room import World
from tenure.identity import people
from tenure.identity import service as identity
from tenure.kernel.demands import DECIDERS, Demand, demand_of, demands_of
from tenure.kernel.errors import Refused
from tenure.kernel.values import Actor, Event
from tenure.registry import service as registry
from tests.sim.api import Api
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

SQLITE = pytest.mark.parametrize(
    "database", ["sqlite"], indirect=True
)  # what it asks of a database is asked of both elsewhere
ROLES = {
    "ann@example.com": ["approver"],
    "ben@example.com": ["approver", "operator"],
    "cai@example.com": ["approver"],
    "dan@example.com": ["viewer"],
    "eve@example.com": ["viewer"],
}


@pytest.fixture
def team(world: World, operator: Actor) -> World:
    """A world with approvers ann, ben (an operator, too) and cai, and viewers dan and eve."""
    people.add_person(world, operator, "op@example.com", ["operator"])
    for email, roles in ROLES.items():
        people.add_person(world, operator, email, roles)
    return world


def _who(world: World, name: str) -> Actor:
    with world.read() as conn:
        found = identity.person_actor(conn, "default", f"{name}@example.com")
    assert found is not None
    return found


def _held(world: World, ident: str = "a1", demands: Sequence[str] = ("approve:2",), **more: Any) -> None:
    data = {
        "approval_id": ident,
        "call_id": "c1",
        "resource": "shop/refund",
        "digest": "sha256:d",
        "arguments": {"amount": 500},
        "reason": "Large refunds need two people.",
        "policies": ["limit"],
        "grounds": "sha256:g",
        "demands": list(demands),
    }
    event = Event(
        ident, "approval.requested", world.clock(), "default", "agent:clerk", "clerk", "sha256:r", data=data | more
    )
    with world.begin() as tx:
        service.request(tx, event)


def _say(world: World, who: str, ident: str = "a1", for_: str = "", *, grant: bool = True) -> Approval:
    return service.decide(world, _who(world, who), ident, grant, f"says {who}", f"{for_}@example.com" if for_ else "")


def _code(world: World, who: str, **more: Any) -> str:
    with pytest.raises(Refused) as caught:
        _say(world, who, **more)
    return caught.value.code


def _fact(world: World, ident: str = "a1") -> Any:
    with world.read() as conn:
        return service.facts(conn, world.clock())[ident]


def _hand_over(world: World, giver: str, to: str, **more: Any) -> Any:
    now = world.clock()
    wanted = standing.drawn_up(
        _who(world, giver), f"{to}@example.com", (), (), now, now + timedelta(days=7), "on leave", now
    )
    return standing.hand_over(world, _who(world, giver), replace(wanted, **more))


def _told(world: World, kind: str) -> list[Event]:
    with world.read() as conn:
        return [logged.event for logged in events.read(conn, 0) if logged.event.type == kind]


def test_what_a_policy_demands_is_read_from_its_words() -> None:
    assert demand_of("approve:operator:2") == Demand("operator", 2)
    assert [str(demand_of(text)) for text in ("approve", "approve:approver", "approve:3")] == [
        "approve",
        "approve:approver",
        "approve:3",
    ]
    wrong = ("approve:0", "approve:1", "approve:6", "approve:02", "approve:viewer", "approve:2:operator", "approve::2")
    assert [demand_of(text) for text in (*wrong, "approve:", "redact", "approve:operator:", "")] == [None] * 11
    assert demands_of(["approve", "redact", "approve:operator"]) == (Demand("operator"),)
    assert demands_of(["notify"]) == (Demand(),)
    assert {role.value for role in DECIDERS} == set(holders("approvals:decide")[0])


@pytest.mark.req("R063", "R071")
def test_two_different_people_approve_and_the_second_sees_the_first(team: World) -> None:
    _held(team)
    first = _say(team, "ann")
    assert (first.state, first.missing) == (State.PENDING, ("2 different people",))
    assert _fact(team).state == "pending"  # no gateway hears of half an approval
    assert _code(team, "ann") == "already_answered"
    (seen,) = service.get(team, "default", "a1").given
    assert (seen.by, seen.reason) == ("ann@example.com", "says ann")
    done = _say(team, "cai")
    assert (done.state, done.decided_by) == (State.GRANTED, "person:cai@example.com")
    (half,), (whole,) = _told(team, "approval.answered"), _told(team, "approval.granted")
    assert (half.actor, half.data["missing"]) == ("person:ann@example.com", ["2 different people"])
    assert [one["by"] for one in whole.data["given"]] == ["ann@example.com", "cai@example.com"]
    _, load = service.load(team, "default", 1, 5)
    assert {one.by: one.calls for one in load} == {"person:ann@example.com": 1, "person:cai@example.com": 1}


@SQLITE
def test_one_no_is_enough_first_or_second(team: World) -> None:
    _held(team, "first")
    _held(team, "second")
    assert _say(team, "ann", "first", grant=False).state is State.REJECTED
    _say(team, "ann", "second")
    assert _say(team, "ann", "second", grant=False).state is State.REJECTED  # whoever said yes may think again
    assert _code(team, "cai", ident="first") == "approval_not_pending"


@SQLITE
def test_one_person_with_two_roles_is_one_person(team: World) -> None:
    _held(team, demands=["approve:operator:2"])
    assert _code(team, "ann") == "other_role"
    _say(team, "ben")
    assert _code(team, "ben") == "already_answered"
    people.add_person(team, _who(team, "ben"), "cai@example.com", ["operator"])
    assert _say(team, "cai").state is State.GRANTED
    _held(team, "each", demands=["approve:approver:2", "approve:operator"])
    _say(team, "ben", "each")  # counts for either demand, and once
    assert service.get(team, "default", "each").missing == ("2 different people with the role approver",)
    assert _say(team, "ann", "each").state is State.GRANTED


@SQLITE
def test_the_person_for_whom_it_is_made_does_not_approve_it(team: World) -> None:
    _held(team, on_behalf_of="Ann@example.com")
    assert _code(team, "ann") == "own_call"
    _hand_over(team, "ann", "dan")
    assert _code(team, "dan") == "own_call"  # what ann cannot, her stand-in cannot
    _hand_over(team, "cai", "ann")
    assert _code(team, "ann", for_="cai") == "own_call"
    _held(team, "alone", demands=[], on_behalf_of="ann@example.com")
    assert _say(team, "ann", "alone").state is State.GRANTED  # where one person is enough, it may be them


@pytest.mark.req("R071", "R072")
def test_a_stand_in_answers_for_somebody_and_it_is_told(team: World, operator: Actor, clock: FakeClock) -> None:
    _held(team, "a1", demands=["approve:operator"])
    _held(team, "a2", demands=["approve:operator"])
    assert _code(team, "dan") == "not_permitted"
    made = _hand_over(team, "ben", "dan")
    done = _say(team, "dan")
    assert (done.state, done.decided_by, done.decided_for) == (
        State.GRANTED,
        "person:dan@example.com",
        "person:ben@example.com",
    )
    (granted,) = _told(team, "approval.granted")
    assert (granted.actor, granted.data["for"]) == ("person:dan@example.com", "person:ben@example.com")
    people.add_person(team, operator, "ben@example.com", ["approver"])
    assert _code(team, "dan", ident="a2") == "other_role"  # never more than the giver may at that moment
    clock.advance(7 * 86_400)
    _held(team, "a3", demands=[])
    assert _code(team, "dan", ident="a3") == "not_permitted"  # it is over by itself, noted or not
    assert durable.run_due(team, STAND_INS, "test") == 1
    assert durable.run_due(team, STAND_INS, "test") == 0
    (ended,) = _told(team, "approval.hand_over_ended")
    assert (ended.data["stand_in"], ended.data["for"], made.stand_in) == (
        "dan@example.com",
        "ben@example.com",
        "dan@example.com",
    )


@SQLITE
def test_nobody_hands_on_what_was_handed_to_them(team: World) -> None:
    _hand_over(team, "ann", "dan")
    with pytest.raises(Refused) as caught:
        _hand_over(team, "dan", "eve")
    assert caught.value.code == "not_permitted"
    _hand_over(team, "ben", "ann")  # ann answers for ben, and dan for ann: dan does not answer for ben
    _held(team, demands=["approve:operator"])
    assert _code(team, "dan") == "other_role"
    assert _say(team, "ann").decided_for == "person:ben@example.com"


@SQLITE
def test_four_eyes_are_not_two_through_a_stand_in(team: World) -> None:
    _hand_over(team, "ann", "cai")
    _hand_over(team, "ben", "cai")
    _hand_over(team, "ann", "eve")
    _held(team)
    assert _say(team, "cai", for_="ann").state is State.PENDING
    assert _code(team, "cai") == "already_answered"  # neither as herself
    assert _code(team, "cai", for_="ben") == "already_answered"  # nor for another
    assert _code(team, "ann") == "already_answered"  # ann's word was given
    assert _code(team, "eve", for_="ann") == "already_answered"  # whoever gives it
    assert _say(team, "ben").state is State.GRANTED


@SQLITE
def test_where_two_are_asked_nobody_stands_in_for_an_agent_of_their_own(team: World, operator: Actor) -> None:
    registry.apply(team, operator, manifest("clerk", "http://127.0.0.1:1/v1", owner="dan@example.com"))
    _hand_over(team, "ann", "dan")
    _held(team)
    _held(team, "one", demands=[])
    assert _code(team, "dan") == "own_agent"
    assert _say(team, "dan", "one").state is State.GRANTED


@SQLITE
def test_what_is_handed_over_has_bounds(team: World, clock: FakeClock) -> None:
    _hand_over(team, "ann", "dan", agents=("clerk*",), tools=("shop/re*",))
    _held(team, "in", demands=[])
    _held(team, "out", demands=[], resource="bank/pay")
    assert _code(team, "dan", ident="out") == "not_permitted"
    assert _say(team, "dan", "in").state is State.GRANTED
    now = clock()
    for wrong in (
        {"stand_in": "ann@example.com"},
        {"stand_in": "nobody@example.com"},
        {"ends_at": now},
        {"ends_at": now + timedelta(days=91)},
        {"reason": " "},
        {"tools": ("",)},
    ):
        with pytest.raises(Refused) as caught:
            _hand_over(team, "ann", "dan", **wrong)
        assert caught.value.status == 422


@SQLITE
def test_either_of_the_two_ends_it(team: World) -> None:
    for who in ("ann", "dan", "ben"):  # ben manages people
        made = _hand_over(team, "ann", "dan")
        with pytest.raises(Refused):
            standing.take_back(team, _who(team, "eve"), made.id)
        standing.take_back(team, _who(team, who), made.id)
        with pytest.raises(Refused, match="over already"):
            standing.take_back(team, _who(team, who), made.id)
    _held(team, demands=[])
    assert _code(team, "dan") == "not_permitted"


@SQLITE
def test_over_http(team: World) -> None:
    _held(team)
    api = Api(team, router)
    until = (team.clock() + timedelta(days=1)).isoformat()
    api.actor = _who(team, "ann")
    body = {"stand_in": "Dan@example.com", "ends_at": until, "reason": "away"}
    status, made = api("POST", "/v1/approvals/stand-ins", body)
    assert (status, made["in_force"]) == (200, True)
    api.actor = _who(team, "dan")
    assert [one["person"] for one in api("GET", "/v1/approvals/stand-ins")[1]] == ["ann@example.com"]
    _, said = api("POST", "/v1/approvals/a1/decision", {"decision": "approve", "for": "ann@example.com"})
    assert (said["state"], said["takes"], said["missing"]) == ("pending", 2, ["2 different people"])
    assert [(one["by"], one["holder"]) for one in said["given"]] == [("dan@example.com", "ann@example.com")]
    assert api("POST", f"/v1/approvals/stand-ins/{made['id']}/end")[1]["in_force"] is False
    assert api("GET", "/v1/approvals/stand-ins")[1] == []
    assert len(api("GET", "/v1/approvals/stand-ins?everything=true")[1]) == 1


def test_of_two_answers_at_once_none_is_lost_and_none_counts_twice(team: World) -> None:
    for number in range(4):
        ident = f"race-{number}"
        _held(team, ident)
        barrier = threading.Barrier(3)

        def answer(who: str, ident: str = ident, barrier: threading.Barrier = barrier) -> None:
            actor = _who(team, who)
            barrier.wait()
            for _ in range(5):
                try:
                    service.decide(team, actor, ident, True)
                except Refused as refused:
                    if refused.code != "answered_meanwhile":
                        return

        threads = [threading.Thread(target=answer, args=(who,)) for who in ("ann", "ann", "cai")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = service.get(team, "default", ident)
        assert (done.state, sorted(one.by for one in done.given)) == (
            State.GRANTED,
            ["ann@example.com", "cai@example.com"],
        )


_NAMES = st.sampled_from("abcd")
_HANDED = st.sets(st.tuples(_NAMES, _NAMES).filter(lambda pair: pair[0] != pair[1]))


@given(
    answers=st.lists(st.tuples(_NAMES, _NAMES, st.sampled_from(["approver", "operator"])), max_size=8),
    demand=st.sampled_from(["approve:2", "approve:3", "approve:operator:2"]),
    requester=_NAMES,
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_answered_in_whoevers_place_it_takes_that_many_people(
    answers: list[tuple[str, str, str]], demand: str, requester: str
) -> None:
    item = _pending(demand, requester)
    for by, holder, role in answers:
        try:
            check_right(item, Right(by, holder, frozenset({role})), True, ())
        except Refused:
            continue
        item = replace(item, given=(*item.given, Given(by, holder, (role,), item.requested_at)))
        if complete(item):
            break
    if complete(item):
        assert len({one.by for one in item.given}) == len(item.given) >= item.takes
        assert not {one.by for one in item.given[1:]} & {item.given[0].holder}
        assert requester not in {name for one in item.given for name in (one.by, one.holder)}
        assert "operator" not in demand or all("operator" in one.roles for one in item.given)


def _pending(demand: str, requester: str) -> Approval:
    at = FakeClock()()
    empty: dict[str, Any] = {"session": None, "instance": None, "trace_id": None, "span_id": None}
    words: dict[str, Any] = dict.fromkeys(("release", "call_id", "policy_version", "purpose", "why"), "")
    return Approval(
        id="a",
        workspace="default",
        agent="clerk",
        resource="shop/refund",
        digest="sha256:d",
        arguments={},
        policies=(),
        parent_span_id=None,
        requested_at=at,
        demands=(demand,),
        on_behalf_of=requester,
        **empty,
        **words,
    )


@SQLITE
def test_what_there_was_is_kept_for_auditors(team: World, clock: FakeClock) -> None:
    made = _hand_over(team, "ann", "dan")
    clock.advance(30 * 86_400)
    with team.read() as conn:
        assert standin_store.find(conn, "default", clock(), 10) == []
        assert [one.id for one in standin_store.find(conn, "default", None, 10)] == [made.id]


@pytest.mark.req("R063", "R067")
def test_only_whoever_can_approve_their_own_call_alone_is_shown_its_page_by_their_client(team: World) -> None:
    cases: list[tuple[str, str, Sequence[str], str]] = [
        ("alone", "person:Ann@example.com", (), "person:Ann@example.com"),
        ("viewer", "dan@example.com", (), ""),
        ("nobody", "", (), ""),
        ("gone", "zoe@example.com", (), ""),
        ("other-role", "ann@example.com", ("approve:operator",), ""),
        ("own-role", "ben@example.com", ("approve:operator",), "ben@example.com"),
        ("four-eyes", "ann@example.com", ("approve:2",), ""),
    ]
    for ident, person, demands, expected in cases:
        _held(team, ident, demands, on_behalf_of=person)
        assert _fact(team, ident).person == expected, ident
    assert _code(team, "ann", ident="four-eyes") == "own_call"
    assert _say(team, "ann", "alone").state is State.GRANTED
