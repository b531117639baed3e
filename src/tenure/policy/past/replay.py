"""Past calls decided again: by the policies that decided them, or by policies that do not run yet.

A recorded call names what it was decided from: the version of the policies, the digest of what was known of its agent,
its arguments, what was found in it, whether a person had approved it. Pure; who reads the record is ``service``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Call, CallKind, Decision, Effect, Origin, Principal, Risk
from tenure.policy.followed import Followed
from tenure.policy.model import DELEGATION, NOT_VIOLATIONS, ORIGIN, RISK, SET_ASIDE, Bundle, Found, decide
from tenure.sequences.model import Look, Outcome

_NO_POLICY_ASKED = (NOT_VIOLATIONS - SET_ASIDE) | {DELEGATION}
REDACTED = b"[redacted:"
EXAMPLES = 100
_CUT = {"truncated", "bytes", "json"}
"""What a gateway keeps of arguments that are too large."""


class _Decided(msgspec.Struct):
    effect: Effect
    reason: str = ""
    policies: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    policy_version: str = ""
    because: tuple[str, ...] = ()
    over: tuple[str, ...] = ()


class _Finding(msgspec.Struct):
    rule: str
    place: str


class _Attributes(msgspec.Struct):
    """The few attributes of a call's Event that a decision is made from; the others are passed over unread."""

    decision: _Decided = msgspec.field(name="tenure.decision")
    resource: str = msgspec.field(name="tenure.resource")
    kind: CallKind = msgspec.field(name="tenure.kind")
    facts: str = msgspec.field(name="tenure.facts", default="")
    confidence: int | None = msgspec.field(name="tenure.confidence", default=None)
    approval: str | None = msgspec.field(name="tenure.approval.id", default=None)
    on_behalf_of: str | None = msgspec.field(name="tenure.on_behalf_of", default=None)
    chain: tuple[str, ...] = msgspec.field(name="tenure.chain", default=())  # its last is the agent itself
    findings: tuple[_Finding, ...] = msgspec.field(name="tenure.findings", default=())
    origin: Origin | None = msgspec.field(name="tenure.origin", default=None)
    risk: Risk | None = msgspec.field(name="tenure.risk", default=None)
    justification: str = msgspec.field(name="tenure.justification", default="")
    tier: str = msgspec.field(name="tenure.tier", default="")
    task: str | None = msgspec.field(name="tenure.chain.task", default=None)
    decided_at: float = msgspec.field(name="tenure.decided_at", default=0.0)
    error: str = msgspec.field(name="error.type", default="")
    spent: tuple[int, int, int] = msgspec.field(name="tenure.spent", default=(0, 0, 0))
    gone: str = msgspec.field(name="tenure.content", default="")
    of_tool: msgspec.Raw = msgspec.field(name="gen_ai.tool.call.arguments", default=msgspec.Raw(b""))
    others: msgspec.Raw = msgspec.field(name="tenure.call.arguments", default=msgspec.Raw(b""))


class Past(msgspec.Struct, frozen=True):  # a dataclass takes several times as long to make, and there are many
    """A recorded call as ``decide`` wants it, and what was decided. ``facts`` is the digest of what was known of its
    agent, "" for a call that does not say. ``exact`` is False when something was taken out of its arguments before they
    were kept: then what a policy reads of them may differ. ``gone``: they are not kept at all, or not to their end.
    ``failed``: it was made, and did not succeed."""

    id: str
    at: datetime
    agent: str
    session: str
    call: Call
    on_behalf_of: str | None
    chain: tuple[str, ...]
    facts: str
    found: Found
    approved: bool
    decided: Decision
    exact: bool
    failed: bool = False
    task: str | None = None
    decided_at: float = 0.0
    release: str = ""
    gone: bool = False

    @property
    def moment(self) -> float:
        """When it was decided, in Unix seconds; when it began, where no policy asked for the time."""
        return self.decided_at or self.at.timestamp()

    @property
    def by_standing(self) -> bool:
        """Whether it was refused for what no policy says anything about: a tripped breaker, a dead credential, narrower
        bounds of whoever handed the work on."""
        return bool(_NO_POLICY_ASKED.intersection(self.decided.policies))


@dataclass(frozen=True, slots=True)
class Change:
    """A call that would have been decided otherwise."""

    id: str
    at: datetime
    agent: str
    resource: str
    before: Effect
    after: Effect
    policies: tuple[str, ...]
    reason: str


@dataclass(slots=True)
class Replay:
    """What came of deciding past calls again. ``changes`` are the first ``EXAMPLES``; ``counts`` has all, by (before,
    after, agent). Not decided again: ``skipped`` were refused for other reasons than policies, of ``unknown`` it is not
    kept what was known of the agent. ``inexact`` were decided from arguments out of which something was taken, or as if
    nothing were known of where they came from or how risky they looked, because it was not asked then."""

    calls: int = 0
    skipped: int = 0
    unknown: int = 0
    inexact: int = 0
    counts: Counter[tuple[Effect, Effect, str]] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many calls would have been decided otherwise."""
        return sum(self.counts.values())


_attributes = msgspec.json.Decoder(_Attributes)


def read_past(  # noqa: PLR0917 (the parts of a recorded call)
    ident: str, at: datetime, agent: str, session: str, data: str, release: str = ""
) -> Past | None:
    """A recorded call; None for one whose attributes are not those of a decided call (an imported one)."""
    try:
        seen = _attributes.decode(data)
        raw = bytes(seen.of_tool if seen.kind is CallKind.TOOL else seen.others)
        arguments = msgspec.json.decode(raw) if raw else None
    except msgspec.MsgspecError:
        return None
    was = seen.decision
    cut = isinstance(arguments, dict) and arguments.get("truncated") is True and arguments.keys() == _CUT
    gone = bool(seen.gone) or cut or not isinstance(arguments, dict)
    return Past(
        id=ident,
        at=at,
        agent=agent,
        session=session,
        call=Call(
            ident,
            seen.kind,
            seen.resource,
            arguments if isinstance(arguments, dict) and not gone else {},
            spent=seen.spent,
            confidence=seen.confidence,
            origin=seen.origin,
            risk=seen.risk,
            justification=seen.justification,
            tier=seen.tier,
        ),
        on_behalf_of=seen.on_behalf_of,
        chain=seen.chain[:-1],
        facts=seen.facts,
        found=_found(seen.findings) if seen.findings else _NOTHING,
        approved=seen.approval is not None and was.effect is Effect.ALLOW,
        decided=Decision(
            was.effect, was.reason, was.policies, was.obligations, was.policy_version, was.because, was.over
        ),
        failed=bool(seen.error),
        exact=not gone and REDACTED not in raw,
        gone=gone,
        task=seen.task,
        decided_at=seen.decided_at,
        release=release,
    )


_NOTHING = Found()
_WENT_OUT = frozenset({"prompt", "arguments"})
_CAME_BACK = frozenset({"answer", "result"})


def _found(findings: Iterable[_Finding]) -> Found:
    out: set[str] = set()
    back: set[str] = set()
    for finding in findings:
        words = (finding.rule, finding.rule.partition("/")[0])
        if finding.place in _WENT_OUT:
            out.update(words)
        elif finding.place in _CAME_BACK:
            back.update(words)
    return Found(tuple(sorted(out)), tuple(sorted(back)))


def principal_of(past: Past, agent: AgentFact) -> Principal:
    """Who made the call, as far as decisions look at it."""
    return Principal(
        workspace=agent.workspace,
        agent=agent.name,
        release=past.release or agent.release,
        instance="",
        session=past.session,
        credential_epoch=agent.credential_epoch,
        on_behalf_of=past.on_behalf_of,
        chain=past.chain,
        task=past.task,
    )


def decide_again(past: Past, agent: AgentFact, bundle: Bundle) -> Decision:
    """The decision of ``bundle`` on a past call."""
    return decide(
        past.call,
        principal_of(past, agent),
        agent,
        None,
        bundle,
        approved=past.approved,
        breaker_tripped=False,
        found=past.found,
        at=past.moment,
    )


def after_all(followed: Followed, past: Past, agent: AgentFact, decision: Decision) -> Decision:
    """The decision after what was before the call, which is then a part of that: calls are taken in their order, each
    as over when the next begins. One that was not made, or would not have been, is none."""
    principal, at = principal_of(past, agent), past.at.timestamp()
    look, back = Look(past.call, frozenset(past.found.findings)), frozenset(past.found.returned)
    decision = followed.decide(past.call, principal, decision, at, approved=past.approved, look=look)
    if decision.effect is past.decided.effect is Effect.ALLOW:
        outcome = Outcome(failed=past.failed, returned=lambda: back)
        followed.tell(past.call, principal, at, at, outcome, look)
    return decision


def replay(pasts: Iterable[Past | None], known: Callable[[str], AgentFact | None], bundle: Bundle) -> Replay:
    """Decides each of ``pasts`` by ``bundle`` and compares the effects. ``known`` gives what was known of an agent, by
    digest."""
    out, followed = Replay(), Followed(bundle)
    origin_asked, risk_asked = (not facts.isdisjoint(bundle.reads) for facts in (ORIGIN, RISK))
    for past in pasts:
        if past is None:
            continue
        out.calls += 1
        if past.by_standing:
            out.skipped += 1
            continue
        agent = known(past.facts)
        if agent is None:
            out.unknown += 1
            continue
        unasked = (past.call.origin is None and origin_asked) or (past.call.risk is None and risk_asked)
        out.inexact += not past.exact or unasked
        decision = decide_again(past, agent, bundle)
        if bundle.sequences is not None:
            decision = after_all(followed, past, agent, decision)
        before, after = past.decided.effect, decision.effect
        if before is after:
            continue
        out.counts[before, after, past.agent] += 1
        if len(out.changes) < EXAMPLES:
            out.changes.append(_change(past, before, decision))
    return out


def _change(past: Past, before: Effect, decision: Decision) -> Change:
    return Change(
        past.id, past.at, past.agent, past.call.resource, before, decision.effect, decision.policies, decision.reason
    )


def as_counts(found: Replay) -> list[dict[str, Any]]:
    """The counts as rows, the most frequent first."""
    return [
        {"before": before, "after": after, "agent": agent, "calls": calls}
        for (before, after, agent), calls in found.counts.most_common()
    ]
