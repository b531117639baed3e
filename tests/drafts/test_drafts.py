"""Prepared calls in the control plane: kept, decided by a person, given to one gateway, settled once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tenure.base.room import World
from tenure.drafts import service
from tenure.drafts.api import router
from tenure.drafts.cli import register
from tenure.drafts.model import Choice, Draft, State
from tenure.kernel.drafts import DraftFact
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.values import Actor, Event, Principal, Role
from tenure.registry import service as registry
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest
from tests.sim.serving import serving

GIVEN = {"amount": 40}
ANN = Actor("default", "person:ann@example.com", frozenset({Role.APPROVER}))
BY_PERSON = {"tenure.kind": "tool", "tenure.resource": "shop/refund"}


@pytest.fixture(autouse=True)
def _agent(world: World, operator: Actor) -> None:
    servers = {"shop": {"command": ["shop"]}, "local": {"in_process": True}}
    tools = [{"name": "shop/refund"}, {"name": "local/pay"}]
    registry.apply(world, operator, manifest("clerk", "http://127.0.0.1:1/v1", servers=servers, tools=tools))


def _told(world: World, *events: Event) -> None:
    with world.begin() as tx:
        service.take(tx, events)


def _drafted(world: World, ident: str, arguments: JsonObject = GIVEN, **more: Any) -> Event:
    """What a gateway tells of a drafted call; ``kept`` are the arguments as they reached the control plane."""
    work: Any = {"task": more.pop("task", None), "kind": more.pop("kind", "draft")}
    resource, kept = more.pop("resource", "shop/refund"), more.pop("kept", arguments)
    principal = Principal("default", "clerk", "sha256:r", "i1", "s1", 0, task=work["task"], bounds=(("tool:shop/*",),))
    data = {
        "tenure.resource": resource,
        "tenure.kind": "tool",
        "tenure.mode": work["kind"],
        "tenure.decision": {"effect": "allow", "reason": "Permitted by policy granted."},
        "tenure.justification": "the customer asked",
        "tenure.draft": {
            "digest": digest(arguments),
            "arguments": kept,
            "principal": json.loads(json.dumps(asdict(principal))),
            "beside": False,
            "notes": ["amount is taken from a mail"],
        },
    }
    trace: Any = {"session": "s1", "trace_id": "t" * 32, "span_id": "s" * 16, "policy_version": "v1"}
    now = world.clock()
    return Event(ident, "call.refused", now, "default", "agent:clerk", "clerk", "sha256:r", data=data | more, **trace)


def _facts(world: World) -> dict[str, DraftFact]:
    with world.read() as connection:
        return service.facts(connection)


def _claimed(world: World, ident: str, claim: str) -> None:
    data = {"draft": ident, "claim": claim}
    now = world.clock()
    _told(world, Event(claim, "draft.claimed", now, "default", "system:gateway", "clerk", data=data))


def _made(world: World, ident: str, kind: str = "call.completed", data: JsonObject | None = None) -> Event:
    now = world.clock()
    return Event(f"e-{ident}", kind, now, "default", ANN.name, "clerk", data={"tenure.draft.id": ident, **(data or {})})


def _code(world: World, *words: Any, actor: Actor = ANN, **more: Any) -> str:
    with pytest.raises(Refused) as refused:
        service.decide(world, actor, *words, **more)
    return refused.value.code


@pytest.mark.req("R062")
def test_drafts_of_a_task_are_together_and_the_same_wish_is_one_draft(world: World) -> None:
    _told(world, _drafted(world, "a", task="T-1"), _drafted(world, "b", {"amount": 9}, task="T-1"))
    _told(world, _drafted(world, "c", task="T-2"), _drafted(world, "d", task="T-1"), _drafted(world, "a", task="T-1"))
    found = {one.id: one for one in service.find(world, ANN, work="T-1")}
    assert {ident: one.times for ident, one in found.items()} == {"a": 2, "b": 1}
    one = found["a"]
    assert (one.arguments, one.whole, one.why) == (GIVEN, True, "Permitted by policy granted.")
    assert (one.justification, one.notes) == ("the customer asked", ("amount is taken from a mail",))
    assert service.find(world, ANN, agent="other") == []
    _told(world, replace(_drafted(world, "x"), data={"tenure.draft": 7}), replace(_drafted(world, "y"), workspace="w"))
    assert len(service.find(world, ANN)) == 3, "what cannot be read, or is of another workspace, is not kept"


@pytest.mark.req("R062", "R072")
def test_a_changed_draft_is_made_by_one_gateway_and_settled_once(world: World) -> None:
    _told(world, _drafted(world, "a"))
    exact = digest(GIVEN)
    assert _code(world, "a", Choice.EXECUTE, exact, "", {"amount": 5}) == "reason_required"
    changed = service.decide(world, ANN, "a", Choice.EXECUTE, exact, "less will do", {"amount": 5})
    assert (changed.state, changed.edited, changed.arguments) == (State.RELEASED, {"amount": 5}, GIVEN)
    [fact] = _facts(world).values()
    assert (fact.arguments, fact.digest, fact.by) == ({"amount": 5}, digest({"amount": 5}), ANN.name)
    assert (fact.principal.session, fact.principal.bounds) == ("s1", (("tool:shop/*",),)), "as bound as the agent was"
    assert _code(world, "a", Choice.DISCARD, exact, "no") == "draft_not_open"
    _claimed(world, "a", "g1")
    _claimed(world, "a", "g2")
    assert _facts(world)["a"].claim == "g1"
    _told(world, _made(world, "a", data={"gen_ai.tool.call.result": {"ok": 1}}))
    _told(world, _made(world, "a", "call.refused"))
    done = service.get(world, ANN, "a")
    assert (done.state, done.outcome, done.event) == (State.DONE, {"result": {"ok": 1}, "error": ""}, "e-a")
    assert _facts(world) == {}


@pytest.mark.parametrize(
    ("kind", "data", "state", "key"),
    [
        ("call.refused", {"tenure.decision": {"reason": "no more"}}, State.REFUSED, "reason"),
        ("call.completed", {"error.type": "upstream_died"}, State.FAILED, "error"),
    ],
)
def test_what_was_not_done_says_why(world: World, kind: str, data: JsonObject, state: State, key: str) -> None:
    _told(world, _drafted(world, "a", kind="offer"))
    service.decide(world, ANN, "a", Choice.EXECUTE, digest(GIVEN))
    _claimed(world, "a", "g1")
    _told(world, _made(world, "a", kind, data))
    found = service.get(world, ANN, "a")
    assert (found.state, bool(found.outcome and found.outcome[key])) == (state, True)


@pytest.mark.req("R062")
def test_who_decides_what_and_on_which_call(world: World, operator: Actor) -> None:
    _told(world, _drafted(world, "a"), _drafted(world, "cut", {"key": "s3cret"}, kept={"key": "[redacted]"}))
    _told(world, _drafted(world, "own", {"x": 1}, resource="local/pay"))
    exact = digest(GIVEN)
    program = Actor("default", "service:ci", frozenset({Role.APPROVER}))
    viewer = replace(ANN, roles=frozenset({Role.VIEWER}))
    assert _code(world, "a", Choice.EXECUTE, exact, actor=program) == "not_a_person"
    assert _code(world, "a", Choice.EXECUTE, exact, actor=viewer) == "not_permitted"
    assert _code(world, "a", Choice.EXECUTE, "sha256:other") == "another_call"
    assert _code(world, "nothing", Choice.EXECUTE, exact) == "unknown_draft"
    assert _code(world, "a", Choice.DISCARD, exact) == "reason_required"
    assert _code(world, "a", Choice.DISCARD, exact, "no", {"amount": 1}) == "bad_choice"
    assert _code(world, "a", Choice.EXECUTE, exact, "so", {"amount": float("nan")}) == "bad_arguments"
    assert _code(world, "a", Choice.EXECUTE, exact, "so", {"text": "x" * 70_000}) == "bad_arguments"
    secret = digest({"key": "s3cret"})
    assert _code(world, "cut", Choice.EXECUTE, secret) == "not_whole"
    service.decide(world, ANN, "cut", Choice.EXECUTE, secret, "by hand", {"key": "another"})
    assert _code(world, "own", Choice.EXECUTE, digest({"x": 1})) == "not_here"
    service.decide(world, operator, "own", Choice.ELSEWHERE, digest({"x": 1}), "paid at the bank")
    service.decide(world, operator, "a", Choice.DISCARD, exact, "nobody wants it")
    states = {one.id: one.state for one in service.find(world, ANN)}
    assert states == {"a": State.DISCARDED, "cut": State.RELEASED, "own": State.ELSEWHERE}


def test_what_no_gateway_takes_waits_again_and_a_silent_one_leaves_it_unknown(world: World, clock: FakeClock) -> None:
    _told(world, _drafted(world, "a"))
    exact = digest(GIVEN)

    def give_up() -> list[bool]:
        with world.read() as connection:
            late = service.overdue(connection, world.clock())
        return [service.give_up(world, key) for key in late]

    service.decide(world, ANN, "a", Choice.EXECUTE, exact)
    assert give_up() == []
    clock.advance(61)
    assert give_up() == [True]
    _claimed(world, "a", "late")
    assert service.get(world, ANN, "a").state is State.OPEN, "a claim that comes too late gets nothing"
    service.decide(world, ANN, "a", Choice.EXECUTE, exact)
    _claimed(world, "a", "g1")
    clock.advance(61)
    assert give_up() == []
    clock.advance(900)
    assert give_up() == [True]
    assert service.get(world, ANN, "a").state is State.UNKNOWN
    assert _facts(world) == {}, "and nobody makes it a second time"
    _told(world, _made(world, "a"))
    assert service.get(world, ANN, "a").state is State.DONE


def test_one_agent_does_not_fill_the_table(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_OPEN", 2)
    _told(world, *(_drafted(world, f"d{number}", {"n": number}) for number in range(4)))
    found: list[Draft] = service.find(world, ANN)
    assert {one.id for one in found} == {"d0", "d1"}


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    app = typer.Typer()
    register(app)
    with serving(world, ANN, router) as url:
        monkeypatch.setenv("TENURE_URL", url)
        monkeypatch.setenv("TENURE_TOKEN", "any")
        yield lambda *words: CliRunner().invoke(app, ["drafts", *words])


def test_drafts_on_the_command_line(world: World, run: Any) -> None:
    assert "Nothing waits" in run("list").stdout
    _told(world, _drafted(world, "a"), _drafted(world, "b", {"amount": 9}))
    assert [one["id"] for one in json.loads(run("list", "--json").stdout)] == ["a", "b"]
    assert "Nobody" not in run("show", "a").stdout
    assert run("execute", "a", "--arguments", "[1]", "--yes").exit_code == 2
    changed = run("execute", "a", "--arguments", '{"amount": 5}', "--reason", "less", "--yes")
    assert changed.exit_code == 0, changed.output
    assert "released" in changed.stdout
    assert "discarded" in run("discard", "b", "--reason", "no").stdout
    assert json.loads(run("show", "a", "--json").stdout)["edited"] == {"amount": 5}
