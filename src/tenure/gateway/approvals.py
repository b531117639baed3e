"""Held calls: ask for an approval, wait for a person, claim what was granted. Exactness comes from the control plane,
whose claim is atomic: whoever's claim id the fact shows may act, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

import msgspec
from msgspec.structs import replace

from tenure.gateway.reach import Reach
from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.gateway.verdict import Verdict, event_of
from tenure.kernel.demands import FOUR_EYES, HIGHEST_TIER, demand_of
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.json import Json, JsonObject, digest
from tenure.kernel.snapshot import ApprovalFact
from tenure.kernel.values import Call, Decision, Effect, Principal, Status
from tenure.policy.model import grounds_of

_CLAIM_GRACE_S = 5.0  # a claim under way is worth a little more patience than was asked for
_LOOK_EVERY_S = 1.0  # facts also change by growing stale, which rings no bell
_REQUEST_KEPT_S = 60.0  # how long an asked-for approval may take to show up as a fact
_UNUSED_KEPT = 1000
_SHOWN_BYTES = 256 << 10
_BINDING = 16  # hex digits of an approval's id that are computed from what it covers


Invite: TypeAlias = Callable[[ApprovalFact], bool]
"""Told of the approval that a call waits for, at each look; says whether to wait no longer."""


class Judge(Protocol):
    """``Pipeline.judge``."""

    def __call__(self, call: Call, principal: Principal, *, approved: bool = False) -> Verdict: ...


@dataclass(slots=True)
class _Wait:
    """What one held call knows while it waits."""

    until: float
    asked: str | None = None  # the approval it waits for
    seen: bool = False  # that approval has been seen as a fact
    claimed: str | None = None  # the approval it has sent a claim for
    invite: Invite | None = None


class Approvals:
    """One for the process."""

    def __init__(self, facts: Facts, spool: Spool, judge: Judge, reach: Reach, wall: Callable[[], float]) -> None:
        self._reach = reach
        self._facts = facts
        self._spool = spool
        self._judge = judge
        self._wall = wall
        self._asked: dict[str, tuple[str, float]] = {}  # binding -> approval id, when
        self._unused: dict[str, str] = {}  # approval id -> claim whose call gave up before it could act

    async def settle(  # noqa: PLR0917 (one held call: what, whose, how decided, for how long, of what, who is told)
        self,
        call: Call,
        principal: Principal,
        verdict: Verdict,
        wait_s: float,
        content: bytes,
        invite: Invite | None = None,
    ) -> Verdict:
        """Turns a held call into an allowed, a denied, or a still pending one, within ``wait_s`` seconds. Facts that
        change meanwhile (a suspension, a new policy, a breaker) are decided on afresh at every change."""
        begun = time.monotonic()
        try:
            exact = digest(_exact(call, content))
        except ValueError as error:
            reason = f"The arguments cannot be bound to an approval: {error}"
            return replace(verdict, decision=_denied(verdict.decision, reason), counts=False)
        state = _Wait(begun + wait_s, invite=invite)
        try:
            while True:
                changed = self._facts.bell()  # taken before the look, so that no change falls between
                verdict = self._step(call, principal, exact, state)
                if not verdict.pending:
                    break
                left = state.until - time.monotonic() + (_CLAIM_GRACE_S if state.claimed else 0.0)
                if left <= 0:
                    break
                await _within(changed, min(left, _LOOK_EVERY_S))
        except BaseException:
            self._give_up(call, state)
            raise
        if not verdict.allowed:
            self._give_up(call, state)
        return replace(verdict, waited_us=int((time.monotonic() - begun) * 1e6))

    def _give_up(self, call: Call, state: _Wait) -> None:
        if state.claimed is not None:
            while len(self._unused) >= _UNUSED_KEPT:
                del self._unused[next(iter(self._unused))]
            self._unused[state.claimed] = call.id

    def _step(self, call: Call, principal: Principal, exact: str, state: _Wait) -> Verdict:
        """One look at the facts: decides, asks or claims, whatever is next."""
        verdict = self._judge(call, principal)
        if not verdict.pending:
            return verdict
        grounds = self._grounds(principal, verdict.decision)
        binding = _binding(principal, call.resource, exact, grounds)
        fact = self._find(call, principal, exact, grounds, state)
        if fact is None:
            if self._lapsed(state, binding):
                reason = "Nobody decided on this call in time, so it may not go on."
                decision = _denied(verdict.decision, reason)
                return replace(verdict, decision=decision, approval_id=state.asked, counts=False)
            state.asked, state.seen = None, False
            state.asked = self._ask(call, principal, verdict, exact, grounds)
            return replace(verdict, approval_id=state.asked)
        state.asked, state.seen = fact.id, True
        if fact.state == "claimed":
            state.claimed = None
            return self._claimed(call, principal, verdict, fact)
        if fact.state in ("rejected", "expired"):
            why = f": {fact.reason}" if fact.reason else "."
            reason = f"{fact.decided_by or 'The approver'} rejected this call{why}"
            if fact.state == "expired":
                reason = "Nobody decided on this call in time, so it may not go on."
            decision = _denied(verdict.decision, reason)
            return replace(verdict, decision=decision, approval_id=fact.id, counts=False)
        if fact.state == "granted" and state.claimed != fact.id:
            state.claimed = fact.id
            self._tell("approval.claimed", call, principal, verdict, {"approval_id": fact.id, "claim": call.id})
        elif state.invite is not None and fact.state == "pending" and state.invite(fact):
            state.until = 0.0
        return replace(verdict, approval_id=fact.id)

    def _claimed(self, call: Call, principal: Principal, verdict: Verdict, fact: ApprovalFact) -> Verdict:
        """The decision on a call by an approval that is its own; one for other arguments allows nothing here."""
        self._unused.pop(fact.id, None)
        if fact.edited is None:
            return replace(self._judge(call, principal, approved=True), approval_id=fact.id)
        decision = _denied(verdict.decision, "A person approved it with other arguments, which cannot be done here.")
        return replace(verdict, decision=decision, approval_id=fact.id, counts=False, edited=fact)

    def _lapsed(self, state: _Wait, binding: str) -> bool:
        """Whether the approval that was waited for is gone. One that an equal call has used up is not: it was decided
        on, and this call needs its own."""
        if not state.seen or state.asked is None or not state.asked.startswith(binding):
            return False
        snapshot = self._facts.current
        fact = snapshot.approvals.get(state.asked) if snapshot is not None else None
        return fact is None or fact.state == "expired"

    def _find(self, call: Call, principal: Principal, exact: str, grounds: str, state: _Wait) -> ApprovalFact | None:
        """The approval that covers exactly this call: one that this call may use first, then the one to wait for, then
        a recent no. The release is bound by the id, the rest by the fact's own fields as well."""
        snapshot = self._facts.current
        binding = _binding(principal, call.resource, exact, grounds)
        best: ApprovalFact | None = None
        rank = 0
        order = {"expired": 1, "rejected": 2, "pending": 3, "granted": 4, "claimed": 5}
        for fact in snapshot.approvals.values() if snapshot is not None else ():
            if not fact.id.startswith(binding) or fact.resource != call.resource or fact.digest != exact:
                continue
            if (fact.workspace, fact.agent, fact.grounds) != (principal.workspace, principal.agent, grounds):
                continue
            if fact.state == "claimed" and fact.claim not in (call.id, self._unused.get(fact.id, call.id)):
                continue
            if fact.state == "expired" and fact.id != state.asked:
                continue
            if order.get(fact.state, 0) > rank:
                best, rank = fact, order[fact.state]
        return best

    def _ask(self, call: Call, principal: Principal, verdict: Verdict, exact: str, grounds: str) -> str:
        """Asks a person, unless this process has just done so for the same call."""
        binding = _binding(principal, call.resource, exact, grounds)
        now = time.monotonic()
        for key in [key for key, (_, when) in self._asked.items() if now - when > _REQUEST_KEPT_S]:
            del self._asked[key]
        known = self._asked.get(binding)
        snapshot = self._facts.current
        if known is not None and (snapshot is None or known[0] not in snapshot.approvals):
            return known[0]
        approval_id = binding + new_id()[_BINDING:]
        self._asked[binding] = (approval_id, now)
        data = {
            "approval_id": approval_id,
            "call_id": call.id,
            "resource": call.resource,
            "digest": exact,
            "arguments": _shown(call),
            "reason": verdict.decision.reason,
            "policies": verdict.decision.policies,
            "grounds": grounds,
            "demands": demands(verdict),
            **({"on_behalf_of": principal.on_behalf_of} if principal.on_behalf_of else {}),
            **({"notes": notes} if (notes := verdict.notes) else {}),
            **verdict.known,
            **({"editable": digest(call.arguments)} if call.definition is not None and call.returned is None else {}),
            **({"justification": call.justification} if call.justification else {}),
        }
        self._tell("approval.requested", call, principal, verdict, data)
        return approval_id

    def as_changed(self, call: Call, principal: Principal, fact: ApprovalFact) -> Verdict:
        """The decision on a call with the arguments that a person gave it, which their approval answers as far as it is
        held by the policies that held it before, and no further."""
        verdict = self._judge(call, principal)
        if verdict.pending and self._grounds(principal, verdict.decision) == fact.grounds:
            verdict = self._judge(call, principal, approved=True)
        elif verdict.pending:
            held = f"With these arguments other policies hold it ({', '.join(verdict.decision.policies)})"
            reason = f"{held}, which nobody was asked about. Make the call with them to ask."
            verdict = replace(verdict, decision=_denied(verdict.decision, reason))
        return replace(verdict, approval_id=fact.id, counts=False)

    def _grounds(self, principal: Principal, decision: Decision) -> str:
        bundle = self._facts.bundles.get(principal.workspace)
        return grounds_of(decision, bundle.marks if bundle is not None else {})

    def _tell(self, kind: str, call: Call, principal: Principal, verdict: Verdict, data: JsonObject) -> None:
        time = datetime.fromtimestamp(self._wall(), UTC)
        data = {**self._reach.told(principal, verdict.agent), **data}
        if (person := call.end_user or principal.on_behalf_of) is not None:
            data["enduser.id"] = person  # whom what is asked is about
        event = event_of(call, principal, verdict, id=new_id(), type=kind, time=time, status=Status.FLAGGED, data=data)
        self._spool.append(event, urgent=True)


def _exact(call: Call, content: bytes) -> JsonObject:
    """What an approval is bound to: all of the call, and what came back where that is what is decided on."""
    out: dict[str, Json] = {}
    if content:
        out["content"] = hashlib.sha256(content).hexdigest()
    if call.returned is not None:
        out["returned"] = hashlib.sha256(msgspec.json.encode(call.returned)).hexdigest()
    return {"arguments": call.arguments, **out} if out else call.arguments


def _shown(call: Call) -> JsonObject:
    """What the person who decides is shown: all of the call, and what came back as far as it can be read."""
    if call.returned is None:
        return call.arguments
    encoded = msgspec.json.encode(call.returned)
    if len(encoded) <= _SHOWN_BYTES:
        return {"arguments": call.arguments, "returned": call.returned}
    beginning = encoded[:_SHOWN_BYTES].decode("utf-8", "ignore")
    return {"arguments": call.arguments, "returned": {"truncated": True, "bytes": len(encoded), "json": beginning}}


def _binding(principal: Principal, resource: str, exact: str, grounds: str) -> str:
    """What an approval is for; the person, the chain and the task are those that were shown to whoever decided."""
    parts = [principal.workspace, principal.agent, principal.release, resource, exact, grounds]
    if principal.on_behalf_of or principal.chain or principal.task:
        work: JsonObject = {"chain": list(principal.chain), "person": principal.on_behalf_of, "task": principal.task}
        parts.append(digest(work))
    return stable_id("approval", *parts)[:_BINDING]


def demands(verdict: Verdict) -> list[str]:
    """Whose approval the call takes, and how many people's, beside anybody's."""
    said = [one for one in verdict.decision.obligations if demand_of(one) is not None and ":" in one]
    tier = verdict.agent.risk_tier if verdict.agent is not None else 0
    return list(dict.fromkeys([*said, FOUR_EYES] if tier >= HIGHEST_TIER else said))


def _denied(held: Decision, reason: str) -> Decision:
    return Decision(Effect.DENY, reason, held.policies, (), held.policy_version)


async def _within(changed: asyncio.Future[None], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.shield(changed)  # others wait for the same future
