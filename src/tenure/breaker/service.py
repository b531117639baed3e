"""The verbs of the breaker: count, trip, reset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.breaker import store
from tenure.breaker.model import Breaker, Window, observe, trip_id, trip_reason
from tenure.kernel.errors import Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.snapshot import BreakerFact
from tenure.kernel.values import Actor, Event, Status
from tenure.registry import service as registry
from tenure.registry.model import agent_fact

KEEP = timedelta(days=1)
"""Violations older than this, and than two windows, can no longer take part in a trip and are forgotten."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent's breaker and the limits of its manifest."""

    breaker: Breaker
    threshold: int
    window_s: float


def facts(connection: Connection) -> dict[str, BreakerFact]:
    """Epoch, tripped and reason of every breaker that ever counted, by ``<workspace>/<agent>``. The limits are the
    manifest's and are left at their default here."""
    return {
        f"{item.workspace}/{item.agent}": BreakerFact(epoch=item.epoch, tripped=item.tripped, reason=item.reason)
        for item in store.find(connection)
    }


def find(world: World, workspace: str) -> list[Standing]:
    """The breaker of every agent of the workspace, by name."""
    with world.read() as connection:
        known = {item.agent: item for item in store.find(connection, workspace)}
        limits = {
            fact.name: fact.breaker for fact in registry.agent_facts(connection).values() if fact.workspace == workspace
        }
    names = sorted(known.keys() | limits.keys())
    return [_standing(known.get(name) or Breaker(workspace, name), limits.get(name, BreakerFact())) for name in names]


def _standing(item: Breaker, limits: BreakerFact) -> Standing:
    return Standing(item, limits.threshold, limits.window_s)


def _limits(connection: Connection, workspace: str, agent: str) -> BreakerFact:
    record = registry.get_agent(connection, workspace, agent)
    return agent_fact(record).breaker if record else BreakerFact()


def count(connection: Connection, event: Event) -> None:
    """Counts a violation (``call.refused`` with ``tenure.violation``) in the epoch it happened in, once, and trips the
    breaker when those of all gateways together are too many."""
    if event.agent is None or event.data.get("tenure.violation") is not True:
        return
    held = store.hold(connection, event.workspace, event.agent)
    if event.data.get("tenure.breaker.epoch", 0) != held.epoch or not store.count(
        connection, event.id, held, event.time
    ):
        return
    limits = _limits(connection, event.workspace, event.agent)
    window = timedelta(seconds=limits.window_s)
    store.forget(connection, held, event.time - max(KEEP, 2 * window))
    if held.tripped:
        return
    near = store.times_near(connection, held, event.time, window, event.id)
    # Seconds from this Event on: near zero a float holds every microsecond exactly enough to compare.
    others = Window(tuple((time - event.time).total_seconds() for time in near))
    _, tripped = observe(others, 0.0, limits.threshold, limits.window_s)
    if tripped:
        reason = trip_reason(limits.threshold, limits.window_s)
        store.save(connection, replace(held, tripped_at=event.time, reason=reason))
        events.append(connection, [_tripped(event, held.epoch, limits, reason)])


def _tripped(cause: Event, epoch: int, limits: BreakerFact, reason: str) -> Event:
    assert cause.agent is not None  # noqa: S101 (count refuses one without)
    return Event(
        id=trip_id(cause.workspace, cause.agent, epoch),
        type="breaker.tripped",
        time=cause.time,
        workspace=cause.workspace,
        actor="system:breaker",
        agent=cause.agent,
        release=cause.release,
        instance=cause.instance,
        session=cause.session,
        trace_id=cause.trace_id,
        parent_span_id=cause.span_id,
        status=Status.VIOLATION,
        policy_version=cause.policy_version,
        data={"epoch": epoch, "threshold": limits.threshold, "window_s": limits.window_s, "reason": reason},
    )


def trip(connection: Connection, event: Event) -> None:
    """Takes over a trip that a gateway tells of. One of an earlier epoch has been reset since and changes nothing; one
    of a later epoch than is known here (a database restored from a copy) is believed: stopping is the safe side."""
    epoch = event.data.get("epoch")
    if event.agent is None or not isinstance(epoch, int):
        return
    held = store.hold(connection, event.workspace, event.agent)
    if epoch < held.epoch or (epoch == held.epoch and held.tripped):
        return
    reason = str(event.data.get("reason") or "tripped by a gateway").replace("\x00", "")
    store.save(connection, replace(held, epoch=epoch, tripped_at=event.time, reason=reason))


def reset(world: World, actor: Actor, agent: str, reason: str) -> Breaker:
    """Lets the agent act again, in a new epoch in which nothing has been counted yet. Raises Refused: 403 for anybody
    but a person who is an operator, 400 without a reason, 409 when the breaker is not tripped."""
    if actor.principal is not None or not actor.name.startswith("person:"):
        raise Refused("not_a_person", "A breaker is reset by a person.", fix="Use a person's credential.", status=403)
    permit(actor, "breakers:reset")
    if not reason.strip():
        raise Refused("reason_required", "A reset needs a reason; it is kept in the audit.", fix="Say why it is safe.")
    now = world.clock()
    with world.begin() as tx:
        if not any(item.agent == agent and item.tripped for item in store.find(tx, actor.workspace)):
            raise _not_tripped(agent)
        held = store.hold(tx, actor.workspace, agent)
        if not held.tripped:
            raise _not_tripped(agent)
        after = replace(
            held, epoch=held.epoch + 1, tripped_at=None, reason="", reset_by=actor.name, reset_reason=reason.strip()
        )
        store.save(tx, after)
        store.forget(tx, after, None)
        event = Event(
            id=stable_id("breaker.reset", actor.workspace, agent, str(after.epoch)),
            type="breaker.reset",
            time=now,
            workspace=actor.workspace,
            actor=actor.name,
            agent=agent,
            data={"epoch": after.epoch, "reason": after.reset_reason, "tripped_for": held.reason},
        )
        events.append(tx, [event])
    return after


def _not_tripped(agent: str) -> Refused:
    return Refused(
        "breaker_not_tripped",
        f"The breaker of agent {agent} is not tripped.",
        fix="`tenure breaker list` shows which are.",
        status=409,
    )
