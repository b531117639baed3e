"""A held call approved with other arguments: what is approved is what was changed, by everybody whom it takes."""

from __future__ import annotations

from typing import Any

import pytest

from tenure.approvals import service
from tenure.approvals.api import router
from tenure.approvals.batches import batches
from tenure.approvals.model import Approval, State
from tenure.base import events
from tenure.base.room import World
from tenure.corrections import service as corrections
from tenure.corrections.model import Kind
from tenure.identity import people
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.json import digest
from tenure.kernel.values import Actor, Event
from tests.approvals.test_several_people import SQLITE
from tests.sim.api import Api

ASKED, CHANGED = {"amount": 500, "to": "ada"}, {"amount": 50, "to": "ada"}


@pytest.fixture
def team(world: World, operator: Actor) -> World:
    """A world with approvers ann, ben and cai."""
    for email in ("op@example.com", "ann@example.com", "ben@example.com", "cai@example.com"):
        people.add_person(world, operator, email, ["approver"])
    return world


def _held(world: World, ident: str = "a1", editable: str = digest(ASKED), **more: Any) -> None:
    data: dict[str, Any] = {
        "approval_id": ident,
        "call_id": "c1",
        "resource": "shop/refund",
        "digest": f"sha256:{ident}",
    }
    data |= {"arguments": ASKED, "editable": editable, "grounds": "g", "on_behalf_of": "zoe@example.com"}
    event = Event(ident, "approval.requested", world.clock(), "default", "agent:clerk", "clerk", "r", data=data | more)
    with world.begin() as tx:
        service.request(tx, event)


def _say(world: World, who: str, ident: str = "a1", *, reason: str = "too much", **more: Any) -> Approval:
    with world.read() as conn:
        actor = identity.person_actor(conn, "default", f"{who}@example.com")
    assert actor is not None
    return service.decide(world, actor, ident, True, reason, **more)


def _code(world: World, who: str, **more: Any) -> str:
    with pytest.raises(Refused) as caught:
        _say(world, who, **more)
    return caught.value.code


def _fact(world: World, ident: str = "a1") -> Any:
    with world.read() as conn:
        return service.facts(conn, world.clock())[ident]


def _told(world: World) -> list[Event]:
    with world.read() as conn:
        return [logged.event for logged in events.read(conn, 0) if logged.event.type.startswith("approval.")]


@pytest.mark.req("R072", "R192")
def test_an_approval_with_other_arguments_is_of_these_and_kept_as_a_correction(team: World, operator: Actor) -> None:
    _held(team)
    assert (_fact(team).edited, service.get(team, "default", "a1").covers) == (None, "sha256:a1")
    done = _say(team, "ann", arguments=CHANGED)
    assert (done.state, done.arguments, done.now, done.covers) == (State.GRANTED, ASKED, CHANGED, digest(CHANGED))
    assert (_fact(team).edited, _fact(team).digest) == (CHANGED, "sha256:a1")  # of that call, with these arguments
    edit, grant = _told(team)
    assert (edit.type, edit.data["arguments"], edit.data["edited"]) == ("approval.edited", ASKED, CHANGED)
    assert (edit.actor, edit.data["reason"], edit.data["enduser.id"]) == (
        "person:ann@example.com",
        "too much",
        "zoe@example.com",
    )
    assert (grant.type, grant.data["covers"]) == ("approval.granted", digest(CHANGED))
    assert "edited" not in grant.data  # what was said is told by one Event only, which is sealed
    with team.begin() as tx:
        corrections.take(tx, [edit])
    (kept,) = corrections.find(team, operator)
    assert (kept.kind, kept.by, kept.before, kept.after) == (Kind.EDITED, edit.actor, ASKED, CHANGED)


@pytest.mark.req("R063", "R072")
def test_whoever_else_is_needed_approves_what_it_was_changed_to(team: World) -> None:
    _held(team, demands=["approve:2"])
    _say(team, "ann")
    edited = _say(team, "ben", arguments=CHANGED)
    assert (edited.state, [one.by for one in edited.given]) == (State.PENDING, ["ben@example.com"])  # ann saw another
    assert _fact(team).edited is None
    assert _code(team, "ben", shown=edited.covers) == "already_answered"
    for unseen in ({}, {"shown": "sha256:a1"}):
        assert _code(team, "ann", **unseen) == "another_call"
    again = _say(team, "cai", arguments={"amount": 5}, shown=edited.covers)
    assert (again.state, [one.by for one in again.given]) == (State.PENDING, ["cai@example.com"])
    assert _code(team, "ann", shown=edited.covers) == "another_call"
    assert _say(team, "ann", shown=again.covers).state is State.GRANTED
    assert _fact(team).edited == {"amount": 5}


@SQLITE
def test_the_same_arguments_change_nothing_and_the_agents_own_take_the_change_back(team: World) -> None:
    _held(team, demands=["approve:3"])
    _say(team, "ann")
    assert [one.by for one in _say(team, "ben", arguments=dict(ASKED)).given] == ["ann@example.com", "ben@example.com"]
    _say(team, "cai", arguments=CHANGED)
    back = _say(team, "ann", arguments=dict(ASKED))
    assert (back.edited, back.covers, [one.by for one in back.given]) == (None, "sha256:a1", ["ann@example.com"])
    _held(team, "other", demands=["approve:3"])
    assert len(batches([back, service.get(team, "default", "other")])) == 1
    changed = _say(team, "ben", arguments=CHANGED)
    assert len(batches([changed, service.get(team, "default", "other")])) == 2


@SQLITE
def test_what_no_gateway_can_make_is_not_changed(team: World, operator: Actor) -> None:
    for ident, more in (("llm", {"editable": None}), ("cut", {"arguments": {"amount": 500, "to": "[redacted]"}})):
        _held(team, ident, **more)
        assert not service.get(team, "default", ident).editable
        assert _code(team, "ann", ident=ident, arguments=CHANGED) == "not_editable"
    _held(team)
    assert _code(team, "ann", arguments=CHANGED, reason=" ") == "reason_required"
    assert _code(team, "ann", arguments={"n": float("nan")}) == "bad_arguments"
    assert _code(team, "ann", arguments={"n": "x" * (64 << 10)}) == "bad_arguments"
    api = Api(team, router)
    api.actor = operator
    body = {"decision": "reject", "reason": "no", "arguments": CHANGED}
    assert api("POST", "/v1/approvals/a1/decision", body)[0] == 422
    code, answer = api("POST", "/v1/approvals/a1/decision", body | {"decision": "approve", "digest": "sha256:other"})
    assert (code, answer["code"]) == (409, "another_call")
    code, answer = api("POST", "/v1/approvals/a1/decision", body | {"decision": "approve", "digest": "sha256:a1"})
    assert (code, answer["edited"], answer["covers"]) == (200, CHANGED, digest(CHANGED))
