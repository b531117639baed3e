"""What gateways tell, counted: violations and anomalies one by one and exactly, errors and money summed in slots. Runs
in the transaction that moves the consumer's cursor, so each Event counts once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.room import World
from tenure.breaker import store
from tenure.breaker.model import (
    FAILED_TRIAL,
    LOST_TRIAL,
    SLOTS,
    Breaker,
    Count,
    Limits,
    Outcome,
    Place,
    Scope,
    Window,
    is_upstream_error,
    is_violation,
    limits_of,
    observe,
    outcome,
    places_of,
    slot,
    too_many_errors,
    trip_id,
    trip_reason,
    within,
)
from tenure.kernel.ids import stable_id
from tenure.kernel.values import Event, Status
from tenure.registry import service as registry
from tenure.registry.model import agent_fact

KEEP = timedelta(days=1)
"""Violations older than this, and than two windows, can no longer take part in a trip and are forgotten."""
_TRIAL_GRACE = timedelta(minutes=1)


@dataclass(slots=True)
class _Batch:
    """What is known while one batch is taken. ``sums``: (breaker, kind, slot) -> [calls, amount]."""

    settings: dict[Place, Limits]
    trials: dict[str, list[Place]]
    sums: dict[tuple[Place, str, int], list[int]] = field(default_factory=dict)
    last: dict[tuple[Place, str], Event] = field(default_factory=dict)
    since: dict[Place, datetime | None] = field(default_factory=dict)


def manifest_limit(connection: Connection, place: Place) -> Count | None:
    """How many violations stop an agent, as its manifest says or, for one that is not registered, as the default is."""
    if place.scope is not Scope.AGENT:
        return None
    record = registry.get_agent(connection, place.workspace, place.name)
    if record is None:
        return Count(5, 300.0)
    fact = agent_fact(record).breaker
    return Count(fact.threshold, fact.window_s)


def take(connection: Connection, batch: Sequence[Event]) -> None:
    """Counts a batch of the log, oldest first."""
    known = _Batch(store.limits(connection), store.open_trials(connection))
    for event in batch:
        if event.type == "breaker.tripped":
            trip(connection, event)
        elif event.type == "breaker.trial":
            _admit(connection, event, known)
        elif event.agent is not None and (event.type.startswith("call.") or event.status is Status.ANOMALY):
            _look(connection, event, known)
    _settle(connection, known)


def _look(connection: Connection, event: Event, known: _Batch) -> None:
    for place in known.trials.pop(event.id, ()):
        _answer(connection, event, place)
    kind = "violation" if is_violation(event) else "anomaly" if event.status is Status.ANOMALY else ""
    if not kind and not known.settings:
        return
    for place in places_of(event):
        limits = limits_of(known.settings, place)
        if kind == "violation":
            _mark(connection, event, kind, place, manifest_limit(connection, place) or limits.violations)
        elif kind == "anomaly":
            _mark(connection, event, kind, place, limits.anomalies)
        if event.type == "call.completed":
            _sum(connection, event, place, limits, known)


def _counts(event: Event, held: Breaker, kind: str = "") -> bool:
    """Whether it happened in the breaker's epoch. A refusal says which epoch of its agent's it was; of anything else,
    what began before the reset is of an earlier one."""
    if kind == "violation" and held.place.scope is Scope.AGENT:
        return bool(event.data.get("tenure.breaker.epoch", 0) == held.epoch)
    return held.reset_at is None or event.time >= held.reset_at


def _mark(connection: Connection, event: Event, kind: str, place: Place, limit: Count | None) -> None:
    if limit is None:
        return
    held = store.hold(connection, place)
    if not _counts(event, held, kind) or not store.note(connection, kind, event.id, held, event.time):
        return
    window = timedelta(seconds=limit.window_s)
    store.forget(connection, held, event.time - max(KEEP, 2 * window))
    if held.tripped:
        return
    if held.trials:  # on trial, one is too many
        _trip(connection, event, held, FAILED_TRIAL)
        return
    near = store.times_near(connection, kind, held, event.time, window, event.id)
    # Seconds from this Event on: near zero a float holds every microsecond exactly enough to compare.
    others = Window(tuple((time - event.time).total_seconds() for time in near))
    _, tripped = observe(others, 0.0, limit.count, limit.window_s)
    if tripped:
        of_anomalies = within(f"{limit.count} anomalies" if limit.count > 1 else "1 anomaly", limit.window_s)
        words = trip_reason(limit.count, limit.window_s) if kind == "violation" else of_anomalies
        _trip(connection, event, held, words, limit)


def _sum(connection: Connection, event: Event, place: Place, limits: Limits, known: _Batch) -> None:
    if limits.errors is None and limits.spend is None:
        return
    if place not in known.since:
        known.since[place] = store.hold(connection, place).reset_at
    since = known.since[place]
    if since is not None and event.time < since:
        return
    at = event.time.timestamp()
    if limits.errors is not None:
        here = known.sums.setdefault((place, "errors", slot(at, limits.errors.window_s)), [0, 0])
        here[0] += 1
        here[1] += is_upstream_error(event)
        known.last[place, "errors"] = event
    if limits.spend is not None and (micros := _micros(event)):
        here = known.sums.setdefault((place, "spend", slot(at, limits.spend.window_s)), [0, 0])
        here[1] += micros
        known.last[place, "spend"] = event


def _micros(event: Event) -> int:
    """Millionths of a dollar that a call cost, 0 where that is not known."""
    try:
        return int(Decimal(str(event.data.get("tenure.cost_usd") or 0)) * 1_000_000)
    except InvalidOperation:
        return 0


def _settle(connection: Connection, known: _Batch) -> None:
    for (place, kind), event in known.last.items():
        held = store.hold(connection, place)
        limits = limits_of(known.settings, place)
        slots = {at: sums for (one, of, at), sums in known.sums.items() if (one, of) == (place, kind)}
        for at, (calls, amount) in slots.items():
            store.add(connection, kind, held, at, calls, amount)
        newest = max(slots)
        calls, amount = store.summed(connection, kind, held, newest - SLOTS + 1, newest)
        if held.tripped or held.trials:
            continue
        if kind == "errors" and limits.errors is not None and too_many_errors(limits.errors, calls, amount):
            words = within(f"{amount} of {calls} calls failed", limits.errors.window_s)
            _trip(connection, event, held, words)
        if kind == "spend" and limits.spend is not None and amount > limits.spend.usd * 1_000_000:
            words = within(f"{Decimal(amount) / 1_000_000:.2f} USD spent", limits.spend.window_s)
            _trip(connection, event, held, words)


def _trip(connection: Connection, cause: Event, held: Breaker, reason: str, limit: Count | None = None) -> None:
    store.save(connection, tripped(held, cause.time, "system:breaker", reason))
    counted = {"threshold": limit.count, "window_s": limit.window_s} if limit is not None else {}
    told = tripped_event(held, cause.time, "system:breaker", reason)
    facts = {name: getattr(cause, name) for name in ("release", "instance", "session", "trace_id", "policy_version")}
    agent = held.place.name if held.place.scope is Scope.AGENT else cause.agent
    data = {**told.data, **counted}
    events.append(connection, [replace(told, agent=agent, parent_span_id=cause.span_id, data=data, **facts)])


def tripped(held: Breaker, at: datetime, by: str, reason: str) -> Breaker:
    """The breaker, tripped."""
    return replace(held, tripped_at=at, tripped_by=by, reason=reason, trials=0)


def tripped_event(held: Breaker, at: datetime, actor: str, reason: str) -> Event:
    """The Event that tells of a trip in the breaker's present epoch."""
    place = held.place
    return Event(
        id=trip_id(place, held.epoch),
        type="breaker.tripped",
        time=at,
        workspace=place.workspace,
        actor=actor,
        agent=place.name if place.scope is Scope.AGENT else None,
        status=Status.VIOLATION,
        data={"scope": place.scope.value, "name": place.name, "epoch": held.epoch, "reason": reason},
    )


def trip(connection: Connection, event: Event) -> None:
    """Takes over a trip that a gateway tells of. One of an earlier epoch has been reset since and changes nothing; one
    of a later epoch than is known here (a database restored from a copy) is believed: stopping is the safe side."""
    epoch, place = event.data.get("epoch"), place_of(event)
    if place is None or not isinstance(epoch, int):
        return
    held = store.hold(connection, place)
    if epoch < held.epoch or (epoch == held.epoch and held.tripped):
        return
    reason = str(event.data.get("reason") or "tripped by a gateway").replace("\x00", "")
    store.save(connection, tripped(replace(held, epoch=epoch), event.time, event.actor, reason))


def place_of(event: Event) -> Place | None:
    """The breaker that an Event of a breaker names; None when it names none."""
    scope, name = event.data.get("scope"), event.data.get("name")
    if scope not in set(Scope) or not isinstance(name, str) or "\x00" in name or len(name) > 200:
        return None
    return Place(event.workspace, Scope(scope), name)


# --- trial calls ------------------------------------------------------------------------------------------------------


def _admit(connection: Connection, event: Event, known: _Batch) -> None:
    """A gateway asks for one call to pass half-open breakers: it may pass all of them or none."""
    call, wanted = event.data.get("call_id"), event.data.get("breakers")
    if not isinstance(call, str) or not 0 < len(call) <= 64 or not isinstance(wanted, list | tuple):
        return
    found = []
    for one in wanted[: len(Scope)]:
        place = place_of(replace(event, data=one)) if isinstance(one, dict) else None
        if place is None:
            return
        held = store.hold(connection, place)
        if held.epoch != one.get("epoch") or held.tripped or call in held.tried or len(held.tried) >= held.trials:
            return
        found.append(place)
    for place in found:
        store.grant(connection, place, call, event.time)
    if found:
        known.trials[call] = found


def _answer(connection: Connection, event: Event, place: Place) -> None:
    """A trial call has ended."""
    held = store.hold(connection, place)
    if not held.trials or event.id not in held.tried:
        return
    match outcome(event):
        case Outcome.BAD:
            _trip(connection, event, held, FAILED_TRIAL)
        case Outcome.VOID:
            store.take_back(connection, place, event.id)
        case Outcome.GOOD:
            store.went_well(connection, place, event.id)
            if held.good + 1 >= held.trials:
                close(connection, held, event.time)


def close(connection: Connection, held: Breaker, at: datetime) -> None:
    """All trial calls went well: every call may pass."""
    store.save(connection, replace(held, trials=0))
    store.forget(connection, held, None)
    place = held.place
    told = Event(
        id=stable_id("breaker.closed", place.key, str(held.epoch)),
        type="breaker.closed",
        time=at,
        workspace=place.workspace,
        actor="system:breaker",
        agent=place.name if place.scope is Scope.AGENT else None,
        status=Status.FLAGGED,
        data={"scope": place.scope.value, "name": place.name, "epoch": held.epoch, "trials": held.trials},
    )
    events.append(connection, [told])


def silent(connection: Connection, now: datetime, patience: timedelta) -> list[str]:
    """Trial calls that were granted longer ago than any call may take, and of which nothing was told."""
    return store.silent_trials(connection, now - patience - _TRIAL_GRACE)


def give_up(world: World, call: str) -> bool:
    """Trips the breakers that a lost trial call was to answer for: what is not known to have gone well has not. False
    when it was told of meanwhile."""
    now = world.clock()
    with world.begin() as tx:
        for place in (lost := store.open_trials(tx).get(call, [])):
            held = store.hold(tx, place)
            if held.trials:
                store.save(tx, tripped(held, now, "system:breaker", LOST_TRIAL))
                events.append(tx, [tripped_event(held, now, "system:breaker", LOST_TRIAL)])
            store.take_back(tx, place, call)
    return bool(lost)
