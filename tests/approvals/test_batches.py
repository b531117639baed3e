"""Alike calls are shown by what differs and answered at once; each stays bound to its own digest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tenure.approvals import service
from tenure.approvals.api import router
from tenure.approvals.cli import register
from tenure.approvals.model import MAX_ANSWERED, State
from tenure.base import events
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.json import digest
from tenure.kernel.values import Actor, Event, Role
from tests.sim.clock import FakeClock
from tests.sim.serving import serving


def _held(world: World, ident: str, arguments: dict[str, Any], **more: Any) -> str:
    """A held call of clerk; returns its digest."""
    exact = digest(arguments)
    data = {
        "approval_id": ident,
        "call_id": f"call-{ident}",
        "resource": "shop/refund",
        "digest": exact,
        "arguments": arguments,
        "reason": "Refunds need a person.",
        "policies": ["limit"],
        "grounds": more.pop("grounds", "sha256:g"),
    }
    told: dict[str, Any] = {"agent": "clerk", "release": "sha256:r", "policy_version": "sha256:p"}
    event = Event(ident, "approval.requested", world.clock(), "default", "agent:clerk", data=data, **(told | more))
    with world.begin() as tx:
        service.request(tx, event)
    return exact


@pytest.mark.req("R065")
def test_alike_calls_are_shown_by_what_differs(world: World, clock: FakeClock) -> None:
    _held(world, "a1", {"amount": 5, "customer": {"id": "c1"}, "note": None, "tags": []})
    clock.advance(1)
    _held(world, "a2", {"amount": "5", "customer": {"id": "c1"}, "note": None, "tags": [], "a.b": 1})
    _held(world, "other-agent", {"amount": 5}, agent="otter")
    _held(world, "other-release", {"amount": 5}, release="sha256:s")
    _held(world, "other-policies", {"amount": 5}, grounds="sha256:q")
    first, *others = service.waiting(world, "default")
    assert [call.id for call in first.calls] == ["a1", "a2"]
    assert first.same == (("customer.id", '"c1"'), ("note", "null"), ("tags", "[]"))
    assert first.differs == ("amount", "a\\.b")  # a dot in a key is no step into an object
    assert first.rows == (("5", ""), ('"5"', "1"))  # a text is not the number it looks like
    assert sorted(call.id for one in others for call in one.calls) == ["other-agent", "other-policies", "other-release"]
    assert [len(one.calls) for one in service.waiting(world, "default", "otter")] == [1]
    assert service.waiting(world, "elsewhere") == []


@pytest.mark.req("R065", "R068")
def test_one_answer_decides_each_call_for_its_own_digest(world: World, operator: Actor, clock: FakeClock) -> None:
    exact = {ident: _held(world, ident, {"amount": index}) for index, ident in enumerate(("a1", "a2", "a3", "a4"))}
    clock.advance(1)
    service.decide(world, operator, "a2", False, "this one is wrong")
    chosen = [("a1", exact["a1"]), ("a2", exact["a2"]), ("a3", exact["a1"]), ("gone", "sha256:0")]
    answered = service.answer(world, operator, chosen, True, "month end")
    assert [(one.id, one.state, one.code) for one in answered] == [
        ("a1", State.GRANTED, ""),
        ("a2", State.REJECTED, "approval_not_pending"),
        ("a3", State.PENDING, "another_call"),  # what was shown is not what waits under this id
        ("gone", None, "unknown_approval"),
    ]
    assert service.get(world, "default", "a4").state is State.PENDING  # not chosen
    granted = service.get(world, "default", "a1")
    with world.read() as connection:
        told = [one.event for one in events.read(connection, 0) if one.event.type == "approval.granted"]
        facts = service.facts(connection, clock())
    assert [one.data["digest"] for one in told] == [exact["a1"]]
    assert told[0].data["answer"] == granted.answer
    assert {ident for ident, fact in facts.items() if fact.state == "granted"} == {"a1"}


@pytest.mark.req("R065")
def test_what_ran_out_meanwhile_is_told_and_stops_none_of_the_others(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    early = _held(world, "a1", {"amount": 1})
    clock.advance(200)
    late = _held(world, "a2", {"amount": 2})
    clock.advance(150)  # a1 waits for 300 s only, whether or not the flow that ends it has come by
    assert [[call.id for call in one.calls] for one in service.waiting(world, "default")] == [["a2"]]
    answered = service.answer(world, operator, [("a1", early), ("a2", late)], True, "")
    assert [(one.state, one.code) for one in answered] == [
        (State.PENDING, "approval_not_pending"),
        (State.GRANTED, ""),
    ]
    assert "expired" in answered[0].message


def test_one_answer_is_for_alike_calls_only(world: World, operator: Actor) -> None:
    one, other = _held(world, "a1", {"amount": 1}), _held(world, "a2", {"amount": 1}, agent="otter")
    for chosen, code in (
        ([("a1", one), ("a2", other)], "not_alike"),
        ([], "bad_choice"),
        ([("a1", one)] * (MAX_ANSWERED + 1), "bad_choice"),
    ):
        with pytest.raises(Refused) as refused:
            service.answer(world, operator, chosen, True, "")
        assert refused.value.code == code
    viewer = Actor("default", "person:v@example.com", frozenset({Role.VIEWER}))
    with pytest.raises(Refused, match="may not"):
        service.answer(world, viewer, [("a1", one)], True, "")
    with pytest.raises(Refused, match="needs a reason"):
        service.answer(world, operator, [("a1", one)], False, " ")
    assert service.get(world, "default", "a1").state is State.PENDING


app = typer.Typer()
register(app)


@app.callback()
def _main() -> None:
    """Makes the group of commands a group."""


@pytest.fixture
def run(world: World, operator: Actor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with serving(world, operator, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        yield lambda *words: CliRunner().invoke(app, ["approvals", *words])


def test_a_batch_on_the_command_line(world: World, run: Any) -> None:
    assert "Nothing waits." in run("batches").stdout
    for index in range(3):
        _held(world, f"a{index}", {"amount": index, "shop": "[bold]x"})
    (batch,) = json.loads(run("batches", "--json").stdout)
    assert 'shop = "[bold]x"' in run("batches").stdout
    assert run("answer", batch["id"], "approve").exit_code == 2  # nobody there to ask
    answered = run("answer", batch["id"], "approve", "--only", "a0", "--only", "a1", "--yes", "--json")
    assert [one["state"] for one in json.loads(answered.stdout)] == ["granted", "granted"]
    assert "a2  rejected" in run("answer", batch["id"], "reject", "--reason", "no", "--yes").stdout
    gone = run("answer", batch["id"], "approve", "--yes")
    assert gone.exit_code == 2
