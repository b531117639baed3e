"""Limits in the database: what gateways tell and ask, what people set, and what is told at 80 and at 100 percent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tenure.base import events
from tenure.base.room import World
from tenure.kernel.budgets import LeaseFact, LimitFact
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.money import nano
from tenure.kernel.values import PEOPLE, Actor, Call, CallKind, Event, Principal, Role
from tenure.limits import service, store
from tenure.limits.api import router
from tenure.limits.model import Usage, accounts, period, reserved, slice_of, used, words
from tenure.registry import service as registry
from tenure.telemetry.prices import Prices
from tests.sim.api import Api
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

ACCOUNT = "workspace:all/calls-day-each-workspace|"


@pytest.fixture
def hundred(world: World, operator: Actor) -> LimitFact:
    """A hundred calls a day for the whole workspace."""
    wanted = LimitFact("", "calls", 100, "day", "workspace")
    return service.set_limit(world, operator, "all", wanted, "a test").fact


def told(kind: str, data: dict[str, Any], workspace: str = "default") -> Event:
    return Event(new_id(), kind, datetime.now(UTC), workspace, "system:gateway", data=data)


def ask(lease: str, serial: int, *, used: int = 0, ceiling: int = 0, want: int = 1, final: bool = False) -> Event:
    data: dict[str, Any] = {"lease": lease, "account": ACCOUNT, "limit": ACCOUNT[:-1], "serial": serial, "used": used}
    data |= {"ceiling": ceiling, "need": min(want, 1), "want": want, "final": final}
    return told("limits.asked", data)


def call(**charged: int) -> Event:
    return told("call.completed", {"tenure.charged": charged})


def take(world: World, *news: Event) -> dict[str, LeaseFact]:
    with world.begin() as tx:
        service.take(tx, news, world.clock())
        return service.facts(tx, world.clock())


def alerts(world: World) -> list[int]:
    with world.read() as connection:
        found = [one.event for one in events.read(connection, 0) if one.event.type == "limits.reached"]
    return [one.data["percent"] for one in found]


@pytest.mark.usefixtures("hundred")
@pytest.mark.req("R035")
def test_a_lease_is_granted_topped_up_and_given_back(world: World) -> None:
    lease = take(world, ask("a", 1))["a"]
    assert (lease.serial, lease.granted, lease.short) == (1, 10, False)
    assert take(world, ask("a", 1))["a"] == lease, "an answered request is not answered again"
    lease = take(world, call(a=8), ask("a", 2, used=8, ceiling=10))["a"]
    assert lease.granted == 20
    assert "a" not in take(world, call(a=2), ask("a", 3, used=10, ceiling=10, want=0, final=True))
    assert not take(world, call(a=5)), "a lease that was given back is known no more"
    other = take(world, ask("b", 1))["b"]
    assert other.others == 10


@pytest.mark.usefixtures("hundred")
def test_what_an_event_that_was_lost_would_have_told_is_told_by_the_next_request(world: World, operator: Actor) -> None:
    take(world, ask("a", 1), call(a=3))
    take(world, ask("a", 2, used=7, ceiling=10))
    assert service.find(world, operator)[0].uses[0].spent == 7
    take(world, call(a=1), ask("a", 3, used=8, ceiling=10, want=0))
    assert service.find(world, operator)[0].uses[0].spent == 8


@pytest.mark.usefixtures("hundred")
@pytest.mark.req("R110")
def test_a_killed_gateways_lease_comes_back_when_it_is_over_and_what_is_told_late_counts_once(
    world: World, operator: Actor, clock: FakeClock
) -> None:
    take(world, *(ask(name, 1, want=45) for name in ("dead", "live")), call(dead=20))
    lease = take(world, ask("live", 2, ceiling=45, want=30))["live"]
    assert (lease.granted, lease.short) == (55, True)
    use = service.find(world, operator)[0].uses[0]
    assert (use.spent, use.held) == (20, 80)
    clock.advance(36)
    assert take(world, ask("live", 3, ceiling=55, want=30))["live"].granted == 80
    take(world, call(dead=5))
    assert service.find(world, operator)[0].uses[0].spent == 25


@pytest.mark.usefixtures("hundred")
def test_the_day_after_begins_with_nothing_used(world: World, clock: FakeClock) -> None:
    take(world, ask("a", 1, want=100), call(a=100))
    assert take(world, ask("b", 1))["b"].granted == 0
    clock.advance(86_400)
    assert take(world, ask("c", 1))["c"].granted == 10


@pytest.mark.usefixtures("hundred")
def test_it_is_told_once_when_four_fifths_and_when_all_is_used(world: World) -> None:
    take(world, ask("a", 1, want=100), call(a=79))
    assert alerts(world) == []
    take(world, call(a=1), call(a=1))
    assert alerts(world) == [80]
    take(world, call(a=19), call(a=1))
    assert alerts(world) == [80, 100]


@pytest.mark.usefixtures("hundred")
def test_what_another_workspace_tells_changes_nothing_here(world: World, operator: Actor) -> None:
    take(world, ask("a", 1))
    stranger = replace(call(a=50), workspace="other")
    take(world, stranger, replace(ask("a", 2, want=0, final=True), workspace="other"))
    assert service.find(world, operator)[0].uses[0].spent == 0
    assert service.find(world, Actor("other", "person:eve@example.com", PEOPLE)) == []


@pytest.mark.usefixtures("hundred")
def test_a_removed_limit_takes_back_what_is_told_of_it(world: World, operator: Actor) -> None:
    take(world, ask("a", 1))
    service.remove(world, operator, "all", "not needed")
    assert take(world, ask("a", 2, ceiling=10)) == {}
    assert service.find(world, operator) == []
    with pytest.raises(Refused, match="no limit all"):
        service.remove(world, operator, "all", "again")


@pytest.mark.usefixtures("hundred")
def test_sums_that_count_nowhere_are_forgotten(world: World, clock: FakeClock) -> None:
    take(world, ask("a", 1))
    with world.read() as connection:
        assert not service.overdue(connection, clock())
    clock.advance(2 * 86_400)
    with world.read() as connection:
        assert service.overdue(connection, clock())
    assert service.forget(world, "sums")
    with world.read() as connection:
        assert not store.totals(connection, "default")
        assert not store.of_workspace(connection, "default")


@pytest.mark.req("R035")
def test_the_limits_of_a_manifest_reach_the_gateways_with_prices(world: World, operator: Actor) -> None:
    limits = [{"calls": 5, "per": "minute", "each": "person", "sliding": True}]
    spec = {"budgets": {"usd_per_day": 5}, "limits": limits}
    body = manifest("clerk", "http://127.0.0.1:1/v1", **spec)
    body["spec"]["model"]["name"] = "gpt-4o"
    registry.apply(world, operator, body)
    with world.read() as connection:
        fact = service.governed(world, connection, registry.agent_facts(connection))["default/clerk"]
    assert [(one.id, one.amount) for one in fact.limits] == [
        ("clerk/usd-day", 5 * 10**9),
        ("clerk/calls-minute-each-person-sliding", 5),
    ]
    assert fact.models[0].price is not None
    assert fact.models[0].price.output == 4 * fact.models[0].price.input > 0
    found = service.find(world, operator)
    assert [(one.agent, one.unpriced) for one in found] == [("clerk", ()), ("clerk", ())]


def test_the_api_sets_lists_and_refuses(world: World, operator: Actor) -> None:
    api = Api(world, router)
    api.actor = operator
    body = {"of": "usd", "amount": "2.50", "per": "month", "each": "person", "reason": "the budget"}
    body |= {"zone": "Europe/Berlin"}
    status, made = api("PUT", "/v1/limits/people", body)
    assert (status, made["allowed"]) == (200, "$2.50 a month")
    _, listed = api("GET", "/v1/limits")
    assert [(one["name"], one["amount"], one["zone"]) for one in listed] == [("people", "2.5", "Europe/Berlin")]
    for wrong in ({"amount": "2.505"}, {"zone": "Mars"}, {"of": "tokens", "each": "tool"}, {"per": "year"}):
        assert api("PUT", "/v1/limits/people", body | wrong)[0] == 422, wrong
    api.actor = Actor("default", "person:vi@example.com", frozenset({Role.VIEWER}))
    assert api("PUT", "/v1/limits/people", body)[0] == 403
    assert api("DELETE", "/v1/limits/people?reason=over")[0] == 403
    api.actor = operator
    assert api("DELETE", "/v1/limits/people?reason=over")[0] == 200
    assert api("GET", "/v1/limits") == (200, [])


def test_windows_begin_where_their_time_zone_says() -> None:
    berlin = LimitFact("x", "calls", 1, "day", "agent", zone="Europe/Berlin")
    night = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)  # the day on which clocks go forward there: it has 23 hours
    start, end = period(berlin, night)
    assert datetime.fromtimestamp(start, UTC) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert end - start == 23 * 3600
    month = period(replace(berlin, per="month"), night)
    assert [datetime.fromtimestamp(at, UTC).isoformat() for at in month] == [
        "2026-02-28T23:00:00+00:00",
        "2026-03-31T22:00:00+00:00",
    ]
    sliding = period(replace(berlin, per="minute", sliding=True), night)
    assert sliding[1] - sliding[0] == 5


def test_a_lease_is_a_part_of_what_is_left_and_a_tenth_at_most() -> None:
    assert slice_of(1000, 1000, 1, 1, 1) == 100
    assert slice_of(1000, 60, 1, 1, 3) == 10
    assert slice_of(1000, 5, 1, 1, 3) == 1
    assert slice_of(1000, 5, 6, 6, 3) == 0
    assert slice_of(1000, 300, 10, 250, 3) == 250, "what waits goes before what may come"
    assert slice_of(1000, -5, 0, 1, 3) == 0


def test_a_call_is_reckoned_with_what_it_says_and_charged_what_it_came_to() -> None:
    tokens = LimitFact("x", "tokens", 100_000, "day", "agent")
    asked = Call("c", CallKind.LLM, "m", {"operation": "chat", "max_tokens": 500})
    assert reserved(tokens, asked, 4000, None) == 1500
    assert reserved(tokens, replace(asked, arguments={"operation": "chat"}), 4000, None) == 1000 + 4096
    assert reserved(replace(tokens, amount=50), replace(asked, arguments={"operation": "chat"}), 4000, None) == 5
    assert reserved(tokens, replace(asked, arguments={"operation": "count_tokens"}), 4000, None) == 0
    assert reserved(LimitFact("x", "calls", 9, "day", "agent"), asked, 4000, None) == 1
    assert used(LimitFact("x", "usd", 9, "day", "agent"), Usage(10, 10), None) == 0


@pytest.mark.req("R035")
def test_accounts_are_those_of_whom_the_limit_is_about() -> None:
    who = Principal("default", "child", "r", "i", "s", 1, on_behalf_of="ann@example.com", chain=("boss",))
    tool = Call("c", CallKind.TOOL, "crm/refund", {})
    limits = [
        LimitFact(each, "calls", 1, "day", each) for each in ("workspace", "agent", "person", "chain", "tool", "model")
    ]
    names = [name for name, _ in accounts(limits, "boss", tool, who)]
    assert names == [
        *("workspace|", "agent|boss", "person|ann@example.com", "chain|person:ann@example.com", "tool|crm/refund")
    ]
    only = [replace(limits[4], only="crm/*"), replace(limits[4], only="files/*")]
    assert [name for name, _ in accounts(only, "boss", tool, who)] == ["tool|crm/refund"]
    assert not list(accounts([replace(limits[0], of="tokens")], "boss", tool, who))
    assert words(LimitFact("x", "usd", nano("2.5"), "hour", "agent")) == "$2.50 an hour"


def test_prices_of_a_thousand_tokens_are_those_of_the_table() -> None:
    found = Prices().of_thousand("openai", "gpt-4o", datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0))
    assert found is not None
    assert found[0] == Decimal("0.0025")
    assert found[1] == Decimal("0.01")
    assert found[2] < found[0]
    assert Prices().of_thousand("openai", "no-such-model", datetime(2026, 1, 1, tzinfo=UTC)) is None
