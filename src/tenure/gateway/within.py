"""Decisions under limits: a call that would be allowed, or held, has its part reserved first, or is refused."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tenure.gateway.leases import WAIT_S, Leases, Short
from tenure.gateway.verdict import Verdict
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Call, Decision, Effect, Principal
from tenure.policy.model import LIMIT, SPENT, Bundle, facts_read


def share(
    leases: Leases, call: Call, principal: Principal, agent: AgentFact, bundle: Bundle | None
) -> tuple[int, int, int] | None:
    """How much of its limits is used, where a policy on the call looks at it; None where none does."""
    if not SPENT & facts_read(call, agent, bundle):
        return None
    return call.spent if any(call.spent) else leases.spent(call, principal, agent)


async def within(leases: Leases, call: Call, principal: Principal, verdict: Verdict, size: int) -> Verdict:
    """The Verdict with what the call reserves under its limits, before a person is asked: who approves a call does not
    do so in vain. A denial when a limit has no room. ``size``: of the call's body, in bytes.

    What was declared to go on without the control plane does not wait for it."""
    agent, decision = verdict.agent, verdict.decision
    if agent is None or not (verdict.allowed or verdict.pending):
        return verdict
    go_on = "fail_open" in decision.obligations
    got = await leases.admit(call, principal, agent, size, wait_s=0.0 if go_on else WAIT_S)
    if not isinstance(got, Short):
        return replace(verdict, charge=got)
    if go_on:
        return verdict
    return replace(verdict, decision=refused(got, decision), retry_s=got.retry_s)


def refused(short: Short, decision: Decision) -> Decision:
    """The denial of a call that has no room, in place of ``decision``."""
    return Decision(Effect.DENY, short.reason, (LIMIT,), (), decision.policy_version)


def charged(leases: Leases, verdict: Verdict, data: JsonObject) -> JsonObject:
    """What the Event of a call tells of limits: how full they were, where a policy looked at it, and what the call came
    to, by lease. ``data`` are its other attributes."""
    out: dict[str, Any] = {}
    if verdict.spent is not None:
        out["tenure.spent"] = verdict.spent
    if verdict.charge is not None and verdict.agent is not None:
        by_lease = leases.settle(verdict.charge, verdict.agent, data, made=verdict.allowed)
        if by_lease:
            out["tenure.charged"] = by_lease
    return out
