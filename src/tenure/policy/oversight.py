"""The four levels of oversight (D9), held whatever the policy files say: of level and policy the stricter wins.

And what an agent states of its own confidence, which only ever tightens.
"""

from __future__ import annotations

from dataclasses import replace

from tenure.kernel.drafts import OBLIGATION
from tenure.kernel.values import Autonomy, Decision, Effect
from tenure.policy.system import APPROVE, CONFIDENCE, HUMAN_ONLY, MODE, NOTIFY

_STRICT = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}


def overseen(decision: Decision, level: Autonomy, *, approved: bool) -> Decision:
    """``decision`` of the policies on a call, under ``level``: never more than they allow, and never more than it does.
    ``approved``: a person approved exactly this call."""
    if level is Autonomy.AUTONOMOUS or decision.effect is Effect.DENY:
        return decision
    if level is Autonomy.HUMAN_ONLY:
        reason = "Only a person may do this; no approval lets an agent do it."
        return Decision(Effect.DENY, reason, (HUMAN_ONLY,), (), decision.policy_version)
    if level is Autonomy.NOTIFY:
        duties = dict.fromkeys((*decision.obligations, "notify"))
        return replace(decision, policies=(*decision.policies, NOTIFY), obligations=tuple(duties))
    if decision.effect is Effect.HOLD:
        return replace(decision, policies=(*decision.policies, APPROVE))
    if approved:
        return decision
    duties = dict.fromkeys((*decision.obligations, "approve"))
    reason = "Every such call of this agent waits for a person's approval."
    return Decision(Effect.HOLD, reason, (APPROVE,), tuple(duties), decision.policy_version)


def stricter(silent: Decision, stated: Decision) -> Decision:
    """Of the decision on a call without the agent's statement of confidence and the one with it, the one that allows
    less: a statement never lets anything through that silence would not."""
    if _STRICT[stated.effect] > _STRICT[silent.effect] or stated.effect is Effect.DENY:
        return stated
    if stated.effect is silent.effect:
        return replace(silent, obligations=tuple(dict.fromkeys((*silent.obligations, *stated.obligations))))
    return silent


def unsure(decision: Decision, confidence: int, below: int, *, approved: bool) -> Decision:
    """``decision``, unless the agent's ``confidence`` (percent) is ``below`` what it may go on with: then a person is
    asked for guidance. ``approved``: a person approved exactly this call."""
    if confidence >= below or decision.effect is Effect.DENY or approved:
        return decision
    reason = f"The agent is {confidence} % sure of this and asks for guidance below {below} %."
    held = decision.policies if decision.effect is Effect.HOLD else ()
    duties = tuple(dict.fromkeys((*decision.obligations, "approve")))
    return Decision(Effect.HOLD, reason, (*held, CONFIDENCE), duties, decision.policy_version)


def level_for(level: Autonomy, *, by_person: bool) -> Autonomy:
    """The level that a call is under: what only a person may do, a person may."""
    return Autonomy.AUTONOMOUS if by_person and level is Autonomy.HUMAN_ONLY else level


def in_mode(decision: Decision, mode: str) -> Decision:
    """``decision`` with what the manifest wants to become of the call instead of its being made, if it is not refused
    anyway. The gateway knows whether the call changes anything."""
    if not mode or decision.effect is Effect.DENY:
        return decision
    duties = tuple(dict.fromkeys((*decision.obligations, OBLIGATION[mode])))
    return replace(decision, policies=(*decision.policies, MODE), obligations=duties)
