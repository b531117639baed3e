"""Breakers of tools, releases, chains and workspaces: what trips them, stopping by hand, and going on on trial."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tenure.approvals import service as approvals
from tenure.base import durable, events
from tenure.base.room import World
from tenure.breaker import counting, service, store
from tenure.breaker.api import router
from tenure.breaker.flow import PATIENCE, TRIALS
from tenure.breaker.model import (
    FAILED_TRIAL,
    LOST_TRIAL,
    Breaker,
    Count,
    Limits,
    Place,
    Scope,
    Share,
    Spend,
    as_json,
    from_json,
    is_upstream_error,
)
from tenure.breaker.react import CONSUMER
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, LifecycleState, Role, Status
from tenure.registry import service as registry
from tests.sim.api import Api
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

TOOL = Place("default", Scope.TOOL, "shop/refund")
WHOLE = Place("default", Scope.WORKSPACE)


def _call(world: World, *, type: str = "call.completed", after: float = 0.0, **data: Any) -> Event:  # noqa: A002 (the field's name)
    told = {"tenure.kind": "tool", "tenure.resource": "shop/refund", "tenure.breaker.epoch": 0}
    return Event(
        id=new_id(),
        type=type,
        time=world.clock() + timedelta(seconds=after),
        workspace="default",
        actor="agent:clerk",
        agent="clerk",
        release="sha256:r1",
        data=told | {name.replace("__", "."): value for name, value in data.items()},
    )


def _violation(world: World, **more: Any) -> Event:
    return _call(world, type="call.refused", tenure__violation=True, **more)


def _hear(world: World, *told: Event) -> None:
    with world.begin() as tx:
        events.append(tx, told)
    while events.consume(world.db, CONSUMER, limit=7):
        pass


def _at(world: World, place: Place) -> Breaker:
    with world.read() as connection:
        return next((one for one in store.states(connection) if one.place == place), Breaker(place))


def _types(world: World, kind: str) -> list[Event]:
    with world.read() as connection:
        return [logged.event for logged in events.read(connection, 0) if logged.event.type == kind]


def _set(world: World, operator: Actor, place: Place, **limits: Any) -> None:
    service.set_limits(world, operator, place.scope, place.name, Limits(**limits))


@pytest.mark.req("R055")
@pytest.mark.parametrize(
    ("place", "also"),
    [
        (TOOL, {"agent": "other", "release": "sha256:r2"}),
        (Place("default", Scope.RELEASE, "sha256:r1"), {}),
        (Place("default", Scope.CHAIN, "clerk"), {}),
        (WHOLE, {"agent": "other", "release": "sha256:r2"}),
    ],
    ids=lambda value: value.scope.value if isinstance(value, Place) else "",
)
def test_violations_trip_what_they_were_set_for(
    world: World, operator: Actor, place: Place, also: dict[str, Any]
) -> None:
    _set(world, operator, place, violations=Count(2, 60))
    _hear(world, _violation(world))
    assert not _at(world, place).tripped
    _hear(world, replace(_violation(world), **also))
    assert _at(world, place).reason == "2 violations within 60 s"
    assert [one.place for one in _standing(world) if one.tripped] == [place]
    (told,) = _types(world, "breaker.tripped")
    assert (told.data["scope"], told.data["name"], told.data["threshold"]) == (place.scope.value, place.name, 2)


def _standing(world: World) -> list[Breaker]:
    return [one.breaker for one in service.find(world, "default")]


def test_work_that_was_handed_on_counts_for_who_began_it(world: World, operator: Actor) -> None:
    _set(world, operator, Place("default", Scope.CHAIN, "front-desk"), violations=Count(1, 60))
    _hear(world, _violation(world), _violation(world, tenure__chain=["front-desk", "clerk"]))
    assert [one.place.name for one in _standing(world) if one.tripped] == ["front-desk"]


def test_a_setting_for_each_of_a_scope_counts_each_for_itself(world: World, operator: Actor) -> None:
    _set(world, operator, Place("default", Scope.TOOL, "*"), violations=Count(2, 60))
    _set(world, operator, Place("default", Scope.TOOL, "shop/look"), violations=Count(1, 60))
    _hear(world, _violation(world), _violation(world, tenure__resource="shop/other"))
    assert not any(one.tripped for one in _standing(world))
    _hear(world, _violation(world, tenure__resource="shop/look"), _violation(world, tenure__resource="shop/other"))
    assert {one.place.name for one in _standing(world) if one.tripped} == {"shop/look", "shop/other"}


@pytest.mark.req("R055")
def test_a_share_of_failing_calls_trips_from_enough_calls_on(world: World, operator: Actor, clock: FakeClock) -> None:
    _set(world, operator, TOOL, errors=Share(0.5, 10, 60))
    _hear(world, *[_call(world, error__type="upstream_timeout") for _ in range(9)])
    assert not _at(world, TOOL).tripped, "nine calls are not enough to tell"
    clock.advance(61)
    calls = [_call(world, after=number) for number in range(5)]
    _hear(world, *calls, *[_call(world, error__type="503", after=6) for _ in range(4)])
    assert not _at(world, TOOL).tripped, "those of before are out of the window"
    _hear(world, _call(world, error__type="tool_error", after=7))
    assert _at(world, TOOL).reason == "5 of 10 calls failed within 60 s"


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        *((kind, True) for kind in ("429", "500", "upstream_died", "tool_error", "incomplete", "-32603")),
        *((kind, False) for kind in ("404", "400", "cancelled", "client_disconnected", "stopped", "-32602")),
        *((kind, False) for kind in ("invalid_arguments", "upstream_busy")),
    ],
)
def test_only_what_failed_at_the_upstream_is_its_error(world: World, kind: str, counts: bool) -> None:
    assert is_upstream_error(_call(world, error__type=kind)) is counts
    assert not is_upstream_error(_call(world, type="call.refused", error__type=kind))


@pytest.mark.req("R055")
def test_money_trips_a_chain(world: World, operator: Actor, clock: FakeClock) -> None:
    chain = Place("default", Scope.CHAIN, "clerk")
    _set(world, operator, chain, spend=Spend(Decimal("1.00"), 3600))
    _hear(world, *[_call(world, tenure__cost_usd="0.250000") for _ in range(4)], _call(world))
    assert not _at(world, chain).tripped, "as much as is allowed"
    _hear(world, _call(world, tenure__cost_usd="0.000001"))
    assert _at(world, chain).reason == "1.00 USD spent within 3600 s"
    service.reset(world, operator, Scope.CHAIN, "clerk", "paid")
    clock.advance(1)
    _hear(world, _call(world, tenure__cost_usd="0.9", after=-2), _call(world, tenure__cost_usd="0.9"))
    assert not _at(world, chain).tripped, "what was spent before the reset is of an earlier epoch"


@pytest.mark.req("R055")
def test_anomalies_trip(world: World, operator: Actor) -> None:
    _set(world, operator, Place("default", Scope.AGENT, "clerk"), anomalies=Count(2, 60))
    strange = [replace(_call(world), type="drift.seen", status=Status.ANOMALY) for _ in range(2)]
    _hear(world, strange[0])
    assert not _at(world, Place("default", Scope.AGENT, "clerk")).tripped
    _hear(world, strange[1])
    assert _at(world, Place("default", Scope.AGENT, "clerk")).reason == "2 anomalies within 60 s"


def test_nothing_is_counted_where_nothing_is_set(world: World) -> None:
    _hear(world, *[_call(world, error__type="500", tenure__cost_usd="5") for _ in range(20)])
    with world.read() as connection:
        assert store.states(connection) == []


# --- by hand ----------------------------------------------------------------------------------------------------------


def _employed(world: World, operator: Actor, name: str = "clerk", **spec: Any) -> str:
    registry.apply(world, operator, manifest(name, "http://127.0.0.1:1/v1", **spec))
    for to in ("approved", "created", "provisioned", "staging"):
        by = operator if to in ("approved", "staging") else Actor("default", "system:x", frozenset({Role.SYSTEM}))
        registry.transition(world, by, name, LifecycleState(to), "a test needs it")
    with world.read() as connection:
        return registry.the_agent(connection, "default", name).release


SHOP: dict[str, Any] = {"servers": {"shop": {"url": "http://127.0.0.1:1/mcp"}}, "tools": [{"name": "shop/refund"}]}


@pytest.mark.req("R055", "R068")
@pytest.mark.parametrize("scope", list(Scope))
def test_a_person_stops_anything_and_only_a_person_lets_it_go_on(world: World, operator: Actor, scope: Scope) -> None:
    release = _employed(world, operator, **SHOP)
    told: list[list[str]] = []
    world.alarm.attach(lambda: told.append(list(world.alarm.ahead.breakers)))
    name = {Scope.TOOL: "shop/refund", Scope.RELEASE: release[:20], Scope.WORKSPACE: ""}.get(scope, "clerk")
    reached = service.reach(world, operator, scope, name)
    assert (reached.agents, reached.instances, reached.held) == (("clerk",), 0, 0)
    done = service.stop(world, operator, scope, name, "it went mad")
    full = done.breaker.place
    assert (done.changed, told, full.name) == (True, [[full.key], []], release if scope is Scope.RELEASE else name)
    assert done.breaker.reason == "stopped by op@example.com: it went mad"
    with world.read() as connection:
        assert service.facts(connection)[full.key].tripped
    assert service.stop(world, operator, scope, full.name, "again").changed is False
    program = Actor("default", "service:ci", frozenset(Role))
    with pytest.raises(Refused, match="by a person"):
        service.reset(world, program, scope, full.name, "because")
    after = service.reset(world, operator, scope, full.name, "mended")
    assert (after.state, after.epoch, len(told)) == ("closed", 1, 3)
    assert [(one.actor, one.data["scope"]) for one in _types(world, "breaker.tripped")] == [
        (operator.name, scope.value)
    ]


@pytest.mark.parametrize(
    ("actor", "scope", "name"),
    [
        (Actor("default", "person:v@example.com", frozenset({Role.VIEWER})), Scope.AGENT, "clerk"),
        (Actor("default", "person:o@example.com", frozenset({Role.OWNER})), Scope.AGENT, "clerk"),
        (Actor("default", "person:o@example.com", frozenset({Role.OWNER})), Scope.WORKSPACE, ""),
        (Actor("other", "person:x@example.com", frozenset(Role)), Scope.AGENT, "clerk"),
        (Actor("other", "person:x@example.com", frozenset(Role)), Scope.TOOL, "shop/refund"),
        (Actor("default", "agent:clerk", frozenset()), Scope.AGENT, "clerk"),
    ],
)
def test_who_may_not_stop(world: World, operator: Actor, actor: Actor, scope: Scope, name: str) -> None:
    _employed(world, operator, **SHOP)
    with pytest.raises(Refused) as refused:
        service.stop(world, actor, scope, name, "mine now")
    assert refused.value.status in (403, 404)
    with world.read() as connection:
        assert store.states(connection) == []


def test_what_is_stopped_must_be_there(world: World, operator: Actor) -> None:
    _employed(world, operator, **SHOP)
    with pytest.raises(Refused, match="There is no agent klerk") as refused:
        service.stop(world, operator, Scope.AGENT, "klerk", "x")
    assert "clerk" in refused.value.fix
    with pytest.raises(Refused, match="has the tool"):
        service.reach(world, operator, Scope.TOOL, "shop/refunds")
    with pytest.raises(Refused, match="has no name"):
        service.stop(world, operator, Scope.WORKSPACE, "default", "x")
    with pytest.raises(Refused, match="needs a reason"):
        service.stop(world, operator, Scope.AGENT, "clerk", "  ")


def test_what_a_stop_reaches_is_counted(world: World, operator: Actor) -> None:
    _employed(world, operator, "helper", **SHOP)
    _employed(world, operator, "clerk", agents=[{"name": "helper"}])
    assert service.reach(world, operator, Scope.CHAIN, "clerk").agents == ("clerk", "helper")
    assert service.reach(world, operator, Scope.TOOL, "shop/refund").agents == ("helper",)
    data = {"approval_id": "a" * 32, "call_id": "c1", "resource": "shop/refund", "digest": "d", "arguments": {}}
    told = replace(_call(world), type="approval.requested", agent="helper", policy_version="p", data=data)
    with world.begin() as tx:
        approvals.request(tx, told)
    assert service.reach(world, operator, Scope.WORKSPACE, "").held == 1
    assert service.reach(world, operator, Scope.AGENT, "clerk").held == 0


# --- on trial ---------------------------------------------------------------------------------------------------------


def _half_open(world: World, operator: Actor, trials: int, place: Place = TOOL) -> int:
    _set(world, operator, place, violations=Count(2, 60), trials=trials)
    _hear(world, _violation(world), _violation(world))
    assert _at(world, place).tripped
    after = service.reset(world, operator, place.scope, place.name, "mended")
    assert (after.state, after.trials) == ("half_open", trials)
    return after.epoch


def _asks(call: Event, epoch: int, *places: Place) -> Event:
    wanted = [{"scope": one.scope.value, "name": one.name, "epoch": epoch} for one in places or (TOOL,)]
    return replace(call, id=new_id(), type="breaker.trial", data={"call_id": call.id, "breakers": wanted})


@pytest.mark.req("R055")
def test_only_so_many_calls_pass_on_trial_and_then_all(world: World, operator: Actor, clock: FakeClock) -> None:
    epoch = _half_open(world, operator, 3)
    clock.advance(1)
    calls = [_call(world) for _ in range(40)]
    _hear(world, *[_asks(call, epoch) for call in calls])
    tried = _at(world, TOOL).tried
    assert set(tried) == {call.id for call in calls[:3]}
    _hear(world, *calls[:2], *calls[3:])
    assert (_at(world, TOOL).state, _at(world, TOOL).good) == ("half_open", 2)
    _hear(world, calls[0], calls[2])
    assert _at(world, TOOL).state == "closed"
    assert [one.data["trials"] for one in _types(world, "breaker.closed")] == [3]
    _hear(world, _violation(world))
    assert not _at(world, TOOL).tripped, "its count began anew"


@pytest.mark.parametrize("how", ["error", "violation", "anomaly"])
def test_a_trial_call_that_goes_wrong_trips_it_again(world: World, operator: Actor, clock: FakeClock, how: str) -> None:
    epoch = _half_open(world, operator, 3)
    clock.advance(1)
    call = _call(world)
    _hear(world, _asks(call, epoch))
    bad = {
        "error": replace(call, data={**call.data, "error.type": "500"}),
        "violation": replace(_violation(world), id=call.id),
        "anomaly": replace(call, status=Status.ANOMALY),
    }
    _hear(world, bad[how])
    assert (_at(world, TOOL).state, _at(world, TOOL).reason) == ("tripped", FAILED_TRIAL)


def test_any_violation_trips_what_is_half_open(world: World, operator: Actor, clock: FakeClock) -> None:
    _half_open(world, operator, 3)
    clock.advance(1)
    _hear(world, _violation(world))
    assert _at(world, TOOL).reason == FAILED_TRIAL


def test_a_trial_that_came_to_nothing_gives_its_place_back(world: World, operator: Actor, clock: FakeClock) -> None:
    epoch = _half_open(world, operator, 1)
    clock.advance(1)
    first, second = _call(world), _call(world)
    _hear(world, _asks(first, epoch), replace(first, data={**first.data, "error.type": "client_disconnected"}))
    assert _at(world, TOOL).tried == ()
    _hear(world, _asks(second, epoch), second)
    assert _at(world, TOOL).state == "closed"


def test_a_call_passes_all_half_open_breakers_or_none(world: World, operator: Actor, clock: FakeClock) -> None:
    release = Place("default", Scope.RELEASE, "sha256:r1")
    _set(world, operator, release, violations=Count(2, 60), trials=1)
    epoch = _half_open(world, operator, 2)
    service.reset(world, operator, Scope.RELEASE, "sha256:r1", "mended")
    clock.advance(1)
    calls = [_call(world) for _ in range(2)]
    _hear(world, *[_asks(call, epoch, TOOL, release) for call in calls])
    assert _at(world, TOOL).tried == _at(world, release).tried == (calls[0].id,)


def test_what_asks_of_another_epoch_is_not_tried(world: World, operator: Actor) -> None:
    epoch = _half_open(world, operator, 1)
    strange = [{"scope": "galaxy", "name": "x", "epoch": 1}, "x", {"scope": "tool", "name": "shop/refund"}]
    _hear(
        world,
        _asks(_call(world), epoch - 1),
        *[replace(_asks(_call(world), epoch), data={"call_id": "c", "breakers": [one]}) for one in strange],
        replace(_asks(_call(world), epoch), data={"call_id": 7, "breakers": "all"}),
    )
    assert _at(world, TOOL).tried == ()


def test_a_trial_call_of_which_nothing_is_heard_trips_it_again(world: World, operator: Actor, clock: FakeClock) -> None:
    epoch = _half_open(world, operator, 1)
    call = _call(world)
    _hear(world, _asks(call, epoch))
    clock.advance(PATIENCE.total_seconds())
    assert durable.run_due(world, TRIALS, "here") == 0
    clock.advance(61)
    assert durable.run_due(world, TRIALS, "here") == 1
    assert _at(world, TOOL).reason == LOST_TRIAL
    assert counting.give_up(world, call.id) is False


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "limits"),
    [
        (Scope.AGENT, Limits(violations=Count(1, 60))),
        (Scope.TOOL, Limits()),
        (Scope.TOOL, Limits(violations=Count(0, 60))),
        (Scope.TOOL, Limits(violations=Count(1, 0))),
        (Scope.TOOL, Limits(anomalies=Count(1, 86_401))),
        (Scope.TOOL, Limits(errors=Share(1.1, 1, 60))),
        (Scope.TOOL, Limits(errors=Share(0.1, 0, 60))),
        (Scope.TOOL, Limits(spend=Spend(Decimal(-1), 60))),
        (Scope.TOOL, Limits(trials=101)),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(world: World, operator: Actor, scope: Scope, limits: Limits) -> None:
    with pytest.raises(Refused):
        service.set_limits(world, operator, scope, "x/y", limits)
    assert service.settings(world, "default") == []


def test_limits_come_back_as_they_were_written() -> None:
    full = Limits(Count(1, 2.0), Count(3, 4.0), Share(0.5, 6, 7.0), Spend(Decimal("8.25"), 9.0), 2)
    assert from_json(as_json(full)) == full
    assert from_json(as_json(Limits())) == Limits()


def test_settings_over_http(world: World, operator: Actor) -> None:
    api = Api(world, router)
    api.actor = operator
    limits = {"errors": {"share": 0.5, "least": 20, "window_s": 60}, "spend": {"usd": "10.00", "window_s": 3600}}
    status, answer = api("PUT", "/v1/breakers/limits", {"scope": "tool", "name": "*", "limits": limits | {"trials": 2}})
    assert (status, answer["limits"]["spend"]["usd"], answer["limits"]["violations"]) == (200, "10.00", None)
    assert [one["name"] for one in api("GET", "/v1/breakers/limits")[1]] == ["*"]
    assert api("PUT", "/v1/breakers/limits", {"scope": "workspace", "name": "x", "limits": limits})[0] == 422
    assert api("POST", "/v1/breakers/limits/drop", {"scope": "tool", "name": "*"})[0] == 200
    assert api("POST", "/v1/breakers/limits/drop", {"scope": "tool", "name": "*"})[0] == 404
    api.actor = Actor("default", "person:a@example.com", frozenset({Role.APPROVER}))
    assert api("PUT", "/v1/breakers/limits", {"scope": "tool", "name": "*", "limits": limits})[0] == 403
