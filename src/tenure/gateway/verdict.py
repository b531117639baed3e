"""What ``decide`` answers a handler, and the Event that tells of it. Values only."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from tenure.breaker.model import Place
from tenure.gateway.keeping import Entered
from tenure.gateway.leases import Charge
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, ApprovalFact, Snapshot
from tenure.kernel.values import Call, Decision, Effect, Event, Origin, Principal, Risk, Status
from tenure.policy.model import SET_ASIDE


class Verdict(msgspec.Struct, frozen=True):
    """The Decision and the facts that belong to it.

    ``approval_id``: the approval that the call went through by, waits for (effect hold), or was rejected under.
    ``violation``: it counts toward the breaker. ``counts`` is False for a person's own no, and for a fork: neither is
    the agent's misconduct. ``basis`` is what was decided from, to tell whether it has changed since. ``decide_us`` is
    the deciding itself, ``waited_us`` the wait for a person. ``approved``: it was decided as if a person had approved
    it. ``half_open``: breakers for which alone it was refused, and which it may pass on trial.

    ``charge``: what it reserved under limits; ``retry_s``: in how many seconds more may be had of one that is used up;
    ``spent``: how much of them was used, where a policy looked at it (``Leases.spent``). ``origin``: where the call
    came from, and ``risk`` how risky it looked, where a policy looked at that. ``entered``: what it is in
    the histories that sequence rules look at (``keeping.Entered``). ``at``: the moment that it was decided for, where a
    policy looks at the time (Unix seconds). ``mode``: what becomes of the call instead of its being made
    (``kernel.drafts``); ``by``: the person who makes it in the agent's place. ``edited``: the approval by which a
    person wants it made with other arguments; such a Verdict allows nothing by itself.
    """

    decision: Decision
    agent: AgentFact | None
    approval_id: str | None = None
    violation: bool = False
    counts: bool = True
    breaker_epoch: int = 0
    decide_us: int = 0
    waited_us: int = 0
    basis: tuple[Snapshot | None, int, float] = (None, 0, 0.0)
    approved: bool = False
    half_open: tuple[Place, ...] = ()
    charge: Charge | None = None
    retry_s: float = 0.0
    spent: tuple[int, int, int] | None = None
    origin: Origin | None = None
    risk: Risk | None = None
    entered: Entered | None = None
    at: float = 0.0
    mode: str = ""
    by: str = ""
    edited: ApprovalFact | None = None

    def as_decided(self, call: Call) -> Call:
        """The call with what is known of it as of the decision: it is not to be found out anew."""
        if self.origin is None and self.risk is None:
            return call
        return replace(call, origin=self.origin, risk=self.risk)

    @property
    def known(self) -> dict[str, Any]:
        """The attributes of an Event that tell what was known of the call, as far as a policy asked."""
        out: dict[str, Any] = {} if self.origin is None else {"tenure.origin": self.origin}
        if self.at:
            out["tenure.decided_at"] = self.at
        return out if self.risk is None else {**out, "tenure.risk": self.risk}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person who decides should see."""
        notes = self.origin.notes if self.origin is not None else ()
        if self.risk is None:
            return notes
        points = f"risk {self.risk.score} of 100, unsure {self.risk.uncertainty} of 100"
        return (*notes, f"{points}: {'; '.join(self.risk.reasons)}" if self.risk.reasons else points)

    @property
    def allowed(self) -> bool:
        """Whether the call may be acted on."""
        return self.decision.effect is Effect.ALLOW and not self.mode

    @property
    def pending(self) -> bool:
        """Whether it waits for a person."""
        return self.decision.effect is Effect.HOLD and not self.mode


def told_of(call: Call, verdict: Verdict) -> dict[str, Any]:
    """The attributes of an Event that every call has."""
    decision = verdict.decision
    facts: dict[str, Any] = {
        "tenure.call.id": call.id,
        "tenure.resource": call.resource,
        "tenure.kind": call.kind.value,
        "tenure.decision": {
            "effect": decision.effect.value,
            "reason": decision.reason,
            "policies": decision.policies,
            "obligations": decision.obligations,
            "policy_version": decision.policy_version,
            **({"because": decision.because} if decision.because else {}),
            **({"over": decision.over} if decision.over else {}),
        },
        "tenure.decide_us": verdict.decide_us,
        "tenure.breaker.epoch": verdict.breaker_epoch,
        "tenure.violation": verdict.violation,
    }
    if verdict.approval_id is not None:
        facts["tenure.approval.id"] = verdict.approval_id
    return facts


def whom(call: Call, principal: Principal) -> dict[str, Any]:
    """The attributes of an Event that say for whom it was. What a fork says again is about whom the run was for."""
    facts: dict[str, Any] = {}
    if principal.on_behalf_of is not None:
        facts["tenure.on_behalf_of"] = principal.on_behalf_of
    about = call.end_user or principal.on_behalf_of
    if principal.fork is not None:
        facts["tenure.fork"], about = principal.fork[0], principal.fork[1] or about
    if about is not None:
        facts["enduser.id"] = about
    return facts


def told_as(principal: Principal, *, allowed: bool) -> str:
    """The type of the Event that tells of a call."""
    if principal.fork is not None:
        return "fork.called" if allowed else "fork.refused"
    return "call.completed" if allowed else "call.refused"


def event_of(
    call: Call,
    principal: Principal,
    verdict: Verdict,
    *,
    id: str,  # noqa: A002 (the field's name)
    type: str,  # noqa: A002 (the field's name)
    time: datetime,
    status: Status,
    data: JsonObject,
    duration_us: int | None = None,
) -> Event:
    """An Event of the agent about one call: who, under which release and policy version, in which trace."""
    return Event(
        id=id,
        type=type,
        time=time,
        workspace=principal.workspace,
        actor=verdict.by or f"agent:{principal.agent}",
        agent=principal.agent,
        release=principal.release,
        instance=principal.instance,
        session=principal.session,
        trace_id=call.trace_id or None,
        span_id=call.span_id or None,
        parent_span_id=call.parent_span_id,
        status=status,
        policy_version=verdict.decision.policy_version or None,
        duration_us=duration_us,
        data=data,
    )


def status_of(verdict: Verdict, data: JsonObject, *, first: bool, tried: bool = False) -> Status:
    """How the live feed shows a call with these attributes. ``first``: the agent never used that tool before;
    ``tried``: it is a fork's, and a violation of nobody's."""
    decision = verdict.decision
    if decision.effect is Effect.DENY and not tried and not SET_ASIDE.intersection(decision.policies):
        return Status.VIOLATION
    flagged = (
        first
        or not verdict.allowed
        or verdict.approval_id is not None
        or "error.type" in data
        or any(word.startswith(("notify", "fail_open")) for word in decision.obligations)
    )
    return Status.FLAGGED if flagged else Status.ALLOWED


class NoLongerAllowed(Exception):  # noqa: N818 (a change of facts, not a malfunction)
    """An allowed call may not be acted on any more. ``verdict`` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.decision.reason)
        self.verdict = verdict
