"""Breakers as a gateway sees them: what stops a call, which refusals trip one here and at once, and which calls may
pass one that is half open.

A trip that is noticed here holds until a reset, which is a newer epoch, has come down. A call on trial asks for its
place with an Event and passes when the fact names it: the place is one row, so no more calls pass than there are
places, however many gateways there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from tenure.breaker.model import FAILED_TRIAL, Place, Scope, Window, observe, places, trip_id, trip_reason
from tenure.gateway.reach import Reach
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.gateway.verdict import Verdict, event_of
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import AgentFact, BreakerFact, Snapshot
from tenure.kernel.values import Call, CallKind, Decision, Effect, Event, LifecycleState, Principal, Status
from tenure.policy.model import BREAKER

_CLOSED = BreakerFact(threshold=0)
_TRIAL_WAIT_S = 5.0  # a claim goes up and comes down in a fraction of it; without the control plane, nothing is tried
_LOOK_EVERY_S = 1.0


class Standing(msgspec.Struct, frozen=True):
    """How the breakers of one call stand. ``epoch``: of its agent's. ``tripped``: whether that one is. ``stopped``: why
    another one stops the call, empty when none does. ``half_open``: those that it may pass on trial only."""

    epoch: int = 0
    tripped: bool = False
    stopped: str = ""
    half_open: tuple[Place, ...] = ()


class Judge(Protocol):
    """``Pipeline.judge``."""

    def __call__(self, call: Call, principal: Principal, *, approved: bool = False) -> Verdict: ...


class Breakers:
    """One for the process."""

    def __init__(self, facts: Facts, spool: Spool, judge: Judge, reach: Reach, wall: Callable[[], float]) -> None:
        self._reach = reach
        self._facts = facts
        self._spool = spool
        self._judge = judge
        self._wall = wall
        self._windows: dict[str, tuple[int, Window]] = {}
        self._tripped: dict[str, int] = {}
        self._wide: set[str] = set()  # workspaces in which a breaker of more than an agent has tripped here
        self.trips = 0  # of this process: a Verdict from before the newest trip is looked at again
        # A trip that the control plane has not heard of yet must outlive the process that saw it.
        for trip in spool.recovered("breaker.tripped"):
            scope, name = trip.data.get("scope"), trip.data.get("name")
            if scope in set(Scope) and isinstance(name, str):
                self._keep(Place(trip.workspace, Scope(scope), name), trip.data["epoch"])

    def _keep(self, place: Place, epoch: int) -> None:
        self._tripped[place.key] = epoch
        if place.scope is not Scope.AGENT:
            self._wide.add(place.workspace)

    def standing(self, call: Call, principal: Principal, agent: AgentFact, snapshot: Snapshot) -> Standing:
        """How the breakers stand that a call is under: a field or two where nothing is stopped."""
        rule = agent.breaker
        tripped = rule.tripped
        if self._tripped and not tripped:
            key = f"{principal.workspace}/{Scope.AGENT.value}/{principal.agent}"
            tripped = self._tripped.get(key, -1) >= rule.epoch
        if tripped:
            return Standing(rule.epoch, True)
        workspace = principal.workspace
        if not rule.trials and workspace not in self._facts.stopping and workspace not in self._wide:
            return Standing(rule.epoch)
        half_open = []
        for place in _places(call, principal):
            fact = rule if place.scope is Scope.AGENT else snapshot.breakers.get(place.key, _CLOSED)
            if fact.tripped or self._tripped.get(place.key, -1) >= fact.epoch:
                why = f" ({fact.reason})" if fact.reason else ""
                return Standing(
                    rule.epoch, stopped=f"The breaker of {place.words} is tripped{why}; an operator must reset it."
                )
            if fact.trials and call.id not in fact.tried:
                half_open.append(place)
        return Standing(rule.epoch, half_open=tuple(half_open))

    def held_by(self, name: str, workspace: str, snapshot: Snapshot | None) -> str:
        """Why an agent may not be called now: it is stopped itself, and holds those who depend on it; else empty."""
        other = snapshot.agents.get(f"{workspace}/{name}") if snapshot is not None else None
        if other is None or other.dependants != "hold":
            return ""
        rule = other.breaker
        if rule.tripped or self._tripped.get(f"{workspace}/{Scope.AGENT.value}/{name}", -1) >= rule.epoch:
            why = f" ({rule.reason})" if rule.reason else ""
            return (
                f"Agent {name} is stopped: its breaker is tripped{why}. Calls of it wait for an operator to reset it."
            )
        if other.state is LifecycleState.SUSPENDED:
            return f"Agent {name} is suspended. Calls of it wait until somebody lets it go on."
        return ""

    # -- trips
    def count(self, call: Call, principal: Principal, verdict: Verdict) -> None:
        """Counts a violation for every breaker that it is under."""
        snapshot = self._facts.current
        if verdict.agent is None or snapshot is None:
            return
        for place in _places(call, principal):
            rule = verdict.agent.breaker if place.scope is Scope.AGENT else _rule(snapshot, place)
            if rule.threshold < 1 and not rule.trials:
                continue
            threshold = 1 if rule.trials else rule.threshold
            epoch, window = self._windows.get(place.key, (rule.epoch, Window()))
            if epoch != rule.epoch:
                window = Window()
            window, tripped = observe(window, self._wall(), threshold, rule.window_s)
            self._windows[place.key] = (rule.epoch, window)
            if tripped and self._tripped.get(place.key, -1) < rule.epoch:
                self._keep(place, rule.epoch)
                self.trips += 1
                reason = FAILED_TRIAL if rule.trials else trip_reason(rule.threshold, rule.window_s)
                self._tell_of_trip(call, principal, verdict, place, rule, reason)

    def _tell_of_trip(  # noqa: PLR0917 (the facts of one trip)
        self, call: Call, principal: Principal, verdict: Verdict, place: Place, rule: BreakerFact, reason: str
    ) -> None:
        counted = {} if rule.trials else {"threshold": rule.threshold, "window_s": rule.window_s}
        named = {"scope": place.scope.value, "name": place.name, "epoch": rule.epoch, "reason": reason}
        self._spool.append(
            Event(
                id=trip_id(place, rule.epoch),
                type="breaker.tripped",
                time=datetime.fromtimestamp(self._wall(), UTC),
                workspace=principal.workspace,
                actor="system:gateway",
                agent=principal.agent,
                release=principal.release,
                instance=principal.instance,
                session=principal.session,
                trace_id=call.trace_id or None,
                parent_span_id=call.span_id or None,
                status=Status.VIOLATION,
                policy_version=verdict.decision.policy_version or None,
                data={**named, **counted},
            ),
            urgent=True,
        )

    # -- trials
    async def on_trial(self, call: Call, principal: Principal, verdict: Verdict) -> Verdict:
        """Asks for a place for a call that would be allowed but for breakers that are half open, and waits for the
        answer: the Verdict as it is then."""
        approved = verdict.approved or verdict.approval_id is not None
        until = time.monotonic() + _TRIAL_WAIT_S
        asked: tuple[Place, ...] = ()
        while verdict.half_open:
            changed = self._facts.bell()  # taken before the look, so that no change falls between
            verdict = msgspec.structs.replace(
                self._judge(call, principal, approved=approved), approval_id=verdict.approval_id
            )
            left = until - time.monotonic()
            if not verdict.half_open or left <= 0 or self._full(verdict.half_open, verdict):
                break
            if asked != verdict.half_open:
                asked = verdict.half_open
                self._ask(call, principal, verdict)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_EVERY_S)):
                    await asyncio.shield(changed)  # others wait for the same future
        return verdict

    def _full(self, half_open: Sequence[Place], verdict: Verdict) -> bool:
        snapshot = self._facts.current
        rules = [self._fact(place, verdict, snapshot) for place in half_open]
        return any(len(rule.tried) >= rule.trials for rule in rules)

    @staticmethod
    def _fact(place: Place, verdict: Verdict, snapshot: Snapshot | None) -> BreakerFact:
        if place.scope is Scope.AGENT:
            return verdict.agent.breaker if verdict.agent is not None else _CLOSED
        return snapshot.breakers.get(place.key, _CLOSED) if snapshot is not None else _CLOSED

    def _ask(self, call: Call, principal: Principal, verdict: Verdict) -> None:
        snapshot = self._facts.current
        wanted = [
            {
                "scope": place.scope.value,
                "name": place.name,
                "epoch": self._fact(place, verdict, snapshot).epoch,
            }
            for place in verdict.half_open
        ]
        at = datetime.fromtimestamp(self._wall(), UTC)
        told = event_of(
            call,
            principal,
            verdict,
            id=new_id(),
            type="breaker.trial",
            time=at,
            status=Status.FLAGGED,
            data={**self._reach.told(principal, verdict.agent), "call_id": call.id, "breakers": wanted},
        )
        self._spool.append(told, urgent=True)


def half_open_denial(verdict: Verdict, half_open: tuple[Place, ...]) -> Verdict:
    """An allowed call that half-open breakers stop, unless it is let pass on trial."""
    of = " and ".join(place.words for place in half_open)
    reason = f"The breaker of {of} was reset and is half open: this is not one of the few calls that are tried."
    decision = Decision(Effect.DENY, reason, (BREAKER,), (), verdict.decision.policy_version)
    return msgspec.structs.replace(verdict, decision=decision, half_open=half_open)


def _places(call: Call, principal: Principal) -> tuple[Place, ...]:
    root = principal.chain[0] if principal.chain else principal.agent
    tool = call.resource[:200] if call.kind is CallKind.TOOL else ""
    return places(principal.workspace, principal.agent, principal.release, root, tool)


def _rule(snapshot: Snapshot, place: Place) -> BreakerFact:
    """How it stands; what trips it, where nothing is set for itself, is what is set for each of its scope."""
    known = snapshot.breakers.get(place.key)
    if known is not None:
        return known
    return snapshot.breakers.get(f"{place.workspace}/{place.scope.value}/*", _CLOSED)
