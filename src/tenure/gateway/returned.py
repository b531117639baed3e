"""The decision on what came back, before it is handed on: only where a policy of the agent can read ``returned``.

The call itself was decided on and made; nothing undoes it. What came back is handed on as it is, redacted, or withheld.
It can wait for a person as a call can, under an approval that is bound to exactly it, but not to be picked up later: to
ask again would make the call again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec.structs import replace as amended

from tenure.gateway.approvals import Approvals, Judge
from tenure.gateway.snapshot import Facts
from tenure.gateway.verdict import Verdict
from tenure.kernel.json import Json
from tenure.kernel.values import Call, Decision, Effect, Principal
from tenure.policy.model import facts_read, redactions

WITHHELD = "answer_withheld"
"""The ``error.type`` of a call whose answer was not handed on."""
Watch = Callable[[list[str]], "Verdict | None"]
"""Weighs what was found in a stream so far, as the texts that hold it: the Verdict that cuts it, or that goes on and
redacts; None to go on as it is."""


class Withheld(Exception):  # noqa: N818 (a decision, not a malfunction)
    """What came back is not handed on; of a stream, but for what came before (``settled``). ``verdict`` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.decision.reason)
        self.verdict = verdict
        self.settled = b""


class Returned:
    """One for the process."""

    def __init__(self, facts: Facts, judge: Judge, approvals: Approvals) -> None:
        self._facts = facts
        self._judge = judge
        self._approvals = approvals

    def matters(self, call: Call, principal: Principal) -> bool:
        """Whether what comes back must be decided on: whether a policy in scope reads it."""
        snapshot = self._facts.current
        agent = snapshot.agents.get(f"{principal.workspace}/{principal.agent}") if snapshot is not None else None
        return "returned" in facts_read(call, agent, self._facts.bundles.get(principal.workspace))

    def weigh(self, call: Call, principal: Principal, verdict: Verdict, value: Json) -> Verdict:
        """The Verdict on ``value``, which came back from a call that ``verdict`` allowed.

        An approval of the call is none of its answer: where the answer alone changes what would be decided without the
        approval, it needs one of its own."""
        call = verdict.as_decided(call)
        answered = replace(call, returned=value)
        approved = verdict.approval_id is not None
        if approved:
            before, after = self._judge(call, principal), self._judge(answered, principal)
            if _told(before.decision) != _told(after.decision):
                return after
        return amended(self._judge(answered, principal, approved=approved), approval_id=verdict.approval_id)

    async def decide(  # noqa: PLR0917 (what was allowed, what came back, how long to wait for a person)
        self,
        call: Call,
        principal: Principal,
        verdict: Verdict,
        value: Json,
        prefer_wait: float | None,
        max_wait: float,
    ) -> Verdict:
        """As ``weigh``, and waits for a person where one is to be asked. Effect allow (with what its obligations
        redact) or deny: what nobody decided on in time is withheld for good."""
        weighed = self.weigh(call, principal, verdict, value)
        if weighed.decision.effect is not Effect.HOLD:
            return weighed
        wait = prefer_wait if prefer_wait is not None else weighed.agent.hold_timeout_s if weighed.agent else 0.0
        answered = replace(verdict.as_decided(call), returned=value)
        settled = await self._approvals.settle(answered, principal, weighed, min(wait, max_wait), b"")
        if settled.decision.effect is Effect.HOLD:
            reason = f"{settled.decision.reason} Nobody decided on what came back in time."
            settled = amended(settled, decision=replace(settled.decision, effect=Effect.DENY, reason=reason))
        return settled

    def watch(self, call: Call, principal: Principal, verdict: Verdict) -> Watch | None:
        """For a stream: None when nothing in it needs a decision. A piece of it can be redacted; that a person is to
        decide on it cuts it."""
        if not self.matters(call, principal):
            return None

        def cut(texts: list[str]) -> Verdict | None:
            weighed = self.weigh(call, principal, verdict, texts)
            decision = weighed.decision
            if decision.effect is Effect.ALLOW and not redactions(decision):
                return None
            return in_one_piece(weighed, "lets a person decide on") if decision.effect is Effect.HOLD else weighed

        return cut


def in_one_piece(verdict: Verdict, what: str) -> Verdict:
    """The Verdict that cuts a stream, because in a stream cannot be done ``what`` policy does."""
    decision = verdict.decision
    reason = f"{decision.reason} The stream held what policy {what}; ask for the answer in one piece."
    return amended(verdict, decision=replace(decision, effect=Effect.DENY, reason=reason))


def told(verdict: Verdict) -> dict[str, Any]:
    """The attributes of an Event that tell of the decision on what came back."""
    decision = verdict.decision
    out: dict[str, Any] = {
        "tenure.returned.decision": {
            "effect": decision.effect.value,
            "reason": decision.reason,
            "policies": decision.policies,
            "obligations": decision.obligations,
        }
    }
    if not verdict.allowed:
        out |= {"error.type": WITHHELD, "error.message": decision.reason}
    return out


def _told(decision: Decision) -> tuple[Effect, tuple[str, ...]]:
    return decision.effect, decision.policies
