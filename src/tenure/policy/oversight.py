"""The four levels of oversight (D9), held whatever the policy files say: of level and policy the stricter wins."""

from __future__ import annotations

from dataclasses import replace

from tenure.kernel.values import Autonomy, Decision, Effect
from tenure.policy.system import APPROVE, HUMAN_ONLY, NOTIFY


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
