"""Calls that are not made: drafted for a person to see, answered as if, or left for a person to do. Pure.

A Verdict with a mode allows nothing, so that whoever knows nothing of modes refuses the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tenure.gateway.verdict import Verdict
from tenure.kernel.drafts import DRAFT, OBLIGATION, OFFER, SIMULATE
from tenure.kernel.json import digest
from tenure.kernel.values import Call, CallKind, Decision, Effect, Principal
from tenure.policy.model import HUMAN_ONLY


def mode_of(decision: Decision, call: Call) -> str:
    """What becomes of the call instead of its being made; empty when it is made, held or refused. Models only think,
    and what is known to change nothing is made."""
    if decision.effect is Effect.DENY:
        return OFFER if call.kind is CallKind.TOOL and HUMAN_ONLY in decision.policies else ""
    if not decision.obligations or call.reads or call.kind is CallKind.LLM or call.returned is not None:
        return ""
    return next((mode for mode in (DRAFT, SIMULATE) if OBLIGATION[mode] in decision.obligations), "")


def prepared(call: Call, principal: Principal, verdict: Verdict) -> dict[str, Any]:
    """The attributes of the Event of such a call: with them a person can make it later, exactly as it was."""
    facts: dict[str, Any] = {"tenure.mode": verdict.mode}
    if verdict.mode == SIMULATE:
        return facts
    try:
        exact = digest(call.arguments)
    except ValueError:  # numbers that have no canonical form: it can be looked at, and not be made from here
        exact = ""
    facts["tenure.draft"] = {
        "digest": exact,
        "arguments": call.arguments,
        "principal": msgspec.to_builtins(principal),
        "beside": call.content is not None,
        "notes": verdict.notes,
    }
    return facts


def more_than_one(held: Verdict, wanted: Sequence[str]) -> Verdict:
    """The refusal of a prepared call that one person alone wants made, where approving it takes several people or one
    of a certain role: whoever makes it stands for a plain approval and for no more."""
    decision = held.decision
    reason = f"One person cannot have this made: approving it takes {', '.join(wanted)}. {decision.reason}"
    refused = Decision(Effect.DENY, reason, decision.policies, (), decision.policy_version)
    return msgspec.structs.replace(held, decision=refused, counts=False)


def words(call: Call, verdict: Verdict) -> str:
    """What the agent is told of it."""
    if verdict.mode == SIMULATE:
        return f"Simulated, not done: {call.resource} was not called. What follows is made up and stands for nothing."
    if verdict.mode == OFFER:
        return f"{verdict.decision.reason} The call of {call.resource} was handed to people; it is not done."
    return (
        f"Drafted, not done: {call.resource} was not called. A person sees the draft {call.id} and may make it, change "
        "it or throw it away. Go on without its result."
    )
