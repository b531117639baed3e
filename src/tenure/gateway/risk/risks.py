"""What calls are usually like, kept in memory within bounds, and the risk of a call held against it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Protocol

from tenure.gateway.firstuse import FirstUse
from tenure.gateway.provenance.watch import Provenance
from tenure.gateway.risk.judge import Judge
from tenure.gateway.risk.table import Usual, fields, weigh
from tenure.gateway.verdict import Verdict
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Call, CallKind, Effect, Principal, Risk
from tenure.policy.model import RISK, Bundle, facts_read

_KEPT = 10_000  # pairs of an agent and a resource
_FIELDS = 200


class Decide(Protocol):
    """``Pipeline.judge``."""

    def __call__(
        self,
        call: Call,
        principal: Principal,
        *,
        approved: bool = False,
        spent: tuple[int, int, int] | None = None,
        by: str = "",
    ) -> Verdict: ...


class Risks:
    """One for the process. What is usual is what this gateway has seen since it started."""

    def __init__(self, first_use: FirstUse, provenance: Provenance, model: Judge | None = None) -> None:
        """``model``: one that is asked how risky a call is."""
        self._model = model
        self._first_use = first_use
        self._provenance = provenance
        self._usual: OrderedDict[tuple[str, str, str], Usual] = OrderedDict()
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()

    def of(self, call: Call, principal: Principal, agent: AgentFact, bundle: Bundle) -> Risk | None:
        """The risk of a call; None where no policy in its scope asks."""
        if RISK.isdisjoint(bundle.reads) or RISK.isdisjoint(facts_read(call, agent, bundle)):
            return None
        tainted, unknown = self._provenance.standing(principal)
        return weigh(
            call,
            principal,
            agent,
            first=call.kind is CallKind.TOOL and not self._first_use.known(principal, call.resource),
            seen=self._seen.get((principal.workspace, principal.agent), 0),
            usual=self._usual.get((principal.workspace, principal.agent, call.resource), Usual()),
            tainted=tainted,
            unknown=unknown,
        )

    async def judged(self, decide: Decide, call: Call, principal: Principal, verdict: Verdict) -> Verdict:
        """The Verdict with the model's opinion; what is denied whatever it says is not put before it."""
        agent, risk = verdict.agent, verdict.risk
        if self._model is None or agent is None or risk is None or verdict.decision.effect is Effect.DENY:
            return verdict
        weighed = await self._model.weigh(call, principal, agent, risk)
        if weighed == risk:
            return verdict
        call = replace(verdict.as_decided(call), risk=weighed)
        return decide(call, principal, approved=verdict.approved, spent=verdict.spent, by=verdict.by)

    def note(self, call: Call, principal: Principal, verdict: Verdict) -> None:
        """What came of a call. One that was made, where a policy asks, is part of what is usual from now on."""
        if verdict.risk is None or not verdict.allowed:
            return
        agent = (principal.workspace, principal.agent)
        self._seen[agent] = self._seen.get(agent, 0) + 1
        self._seen.move_to_end(agent)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        key = (*agent, call.resource)
        usual = self._usual.setdefault(key, Usual())
        self._usual.move_to_end(key)
        if len(self._usual) > _KEPT:
            self._usual.popitem(last=False)
        usual.calls += 1
        highest = usual.highest = usual.highest if usual.highest is not None else {}
        longest = usual.longest = usual.longest if usual.longest is not None else {}
        for path, number, length in fields(call.arguments):
            if path in highest or len(highest) < _FIELDS:
                highest[path] = max(number, highest.get(path, 0.0))
                longest[path] = max(length, longest.get(path, 0))
