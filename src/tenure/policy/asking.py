"""Cedar is asked: one call, the rules in its scope, and the three-way rule over what they answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cedarpy
import msgspec

from tenure.kernel.values import Autonomy, Decision, Effect
from tenure.policy.cedar import Rule
from tenure.policy.endings import PRECEDENT
from tenure.policy.oversight import overseen
from tenure.policy.scopes import Uid
from tenure.policy.slices import BAG_REFS, Slice, uid_json
from tenure.policy.system import APPROVE, DEFAULT_DENY, JUSTIFICATION, POLICY_ERROR

HOW = (
    "Say what the call is for and send it again: as the argument `_reason` of the tool (MCP; or `tenure/reason` in "
    "_meta), as `reason` in /v1/decide, or in the header x-tenure-reason. It is kept and shown to people."
)
"""How an agent says what a call is for, on each wire."""


def deny(rule: str, reason: str, version: str) -> Decision:
    """The denial by one of the rules that no policy file can override."""
    return Decision(Effect.DENY, reason, (rule,), (), version)


def unjustified(decision: Decision) -> Decision:
    """The denial of a call for the one reason that the agent did not say what it is for; it tells how to say it."""
    return replace(decision, reason=f"{decision.reason} {HOW}", policies=(*decision.policies, JUSTIFICATION))


@dataclass(frozen=True, slots=True)
class Question:
    """One Call as Cedar is asked about it, but for the approval. ``gives``: the paths of all its arguments, where there
    is a precedent to know them. ``four_eyes``: of an agent whose held calls take two people, whatever holds them."""

    agent: str
    action: str
    resource: Uid
    part: Slice
    entities: Any
    attempt: Mapping[str, Any]
    gives: tuple[str, ...] = ()
    four_eyes: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said: the rules that determined it, what went wrong, and the rules that would have determined it
    otherwise had these not gone before them (``layers``)."""

    allowed: bool
    rules: tuple[Rule, ...]
    errors: tuple[str, ...]
    over: tuple[Rule, ...] = ()


def ask(question: Question, version: str, approved: bool, level: Autonomy) -> Decision:
    """The three-way rule (R078): really allowed is allow; allowed only with an approval is hold; else deny. Of that and
    of the ``level`` the stricter."""
    by_level = frozenset({APPROVE} if level is Autonomy.APPROVE and not approved else ())
    real = settled(question, approved)
    twin = real
    asks = bool(by_level) or not real.allowed
    if asks and not (real.errors or approved) and "approved" in question.part.reads.facts:
        twin = _foreseen(question.part, real) or settled(question, True)
    if errors := real.errors or twin.errors:
        return deny(POLICY_ERROR, f"A policy failed while it was asked, so the call is refused: {errors[0]}", version)
    if real.allowed and twin.allowed and not (by_level and _precedents(question, by_level)):
        return overseen(
            _decision(Effect.ALLOW, real.rules, "Permitted by", version, real.over), level, approved=approved
        )
    if twin.allowed:  # where no forbid speaks, it is a permit that wants the approval
        held = () if real.allowed else real.rules or twin.rules
        if precedents := _precedents(question, by_level.union(rule.id for rule in held)):
            found = _decision(
                Effect.ALLOW, (*precedents, *twin.rules), "As a person approved before:", version, twin.over
            )
            return overseen(found, level, approved=True)
        waits = _decision(Effect.HOLD, held, "Needs a person's approval:", version, real.over)
        return overseen(waits, level, approved=approved)
    if twin.rules:  # what would still forbid it when approved, not what an approval could lift
        return _decision(Effect.DENY, twin.rules, "Forbidden by", version, twin.over)
    what = question.resource[1]
    return deny(DEFAULT_DENY, f"No policy permits agent {question.agent} to call {what}.", version)


def _foreseen(part: Slice, real: Answer) -> Answer | None:
    """What is answered when the call is approved, where that follows from the answer without an approval; else None.

    Permits of such a slice do not look at the approval, and of its forbids those that do are all gone with it. So where
    nothing forbids nothing changes, and what else forbids goes on forbidding. Whether a permit holds below a forbid
    that goes is not known, nor which one below another layer: then it is asked."""
    if not part.foreseen or (real.allowed and real.over):
        return None
    if real.allowed or not real.rules:
        return real
    left = tuple(rule for rule in real.rules if not rule.lifted)
    return Answer(False, left, ()) if left and part.permits is None else None


def _precedents(question: Question, names: frozenset[str]) -> tuple[Rule, ...]:
    """The precedents that stand for the approval of a call that ``names`` hold: each lifts all of them, and knows
    every argument of the call. What takes two people's word is not lifted by a rule made of somebody's."""
    rules = question.part.rules
    if question.part.precedents is None or question.four_eyes:
        return ()
    if any(rules[name].takes > 1 for name in names if name in rules):
        return ()
    found = answer(question, False, question.part.precedents)
    return tuple(rule for rule in found.rules if names <= rule.lifts and rule.knows.issuperset(question.gives))


def settled(question: Question, approved: bool) -> Answer:
    """What the policies say when each goes before those that say less exactly whom and what they are about. Cedar lets
    every forbid go before every permit, so it is asked a second time, for the permits alone, where one of them may go
    before what forbids."""
    first = answer(question, approved, question.part.policies)
    if first.allowed or first.errors or not first.rules or question.part.permits is None:
        return first
    top = max(rule.layer for rule in first.rules)
    permits = answer(question, approved, question.part.permits)
    stronger = tuple(rule for rule in permits.rules if rule.layer > top)
    if not stronger or permits.errors:
        return first
    if any(rule.final for rule in first.rules):
        return Answer(False, first.rules, (), stronger)
    return Answer(True, permits.rules, (), first.rules)


def answer(question: Question, approved: bool, policies: Any) -> Answer:
    """One question to ``policies``, which hold rules of the question's slice.

    Cedar is not given the schema again: policies were checked against it when they were loaded and entities when they
    were made, and the context is made here. To check each question costs as much as to answer it."""
    part = question.part
    context = {**question.attempt, **{bag: BAG_REFS[bag] for bag in part.bags}}
    if "approved" in part.reads.facts:
        context["approved"] = approved
    request = {
        "principal": uid_json("Agent", question.agent),
        "action": uid_json("Action", question.action),
        "resource": uid_json(*question.resource),
        "context": msgspec.json.encode(context).decode(),
    }
    result = cedarpy.is_authorized(request, policies, question.entities)
    errors = tuple(result.diagnostics.errors)
    if result.decision is cedarpy.Decision.NoDecision and not errors:
        errors = ("no decision",)
    reasons = set(result.diagnostics.reasons)
    rules = tuple(rule for ident, rule in part.rules.items() if ident in reasons)
    return Answer(result.allowed and not errors, rules, errors)


def _decision(effect: Effect, rules: Sequence[Rule], verb: str, version: str, over: Sequence[Rule] = ()) -> Decision:
    ids = tuple(rule.id for rule in rules)
    generated = f"{verb} {'policy' if len(ids) == 1 else 'policies'} {', '.join(ids)}."
    reason = next((rule.reason for rule in rules if rule.reason), generated)
    if over:
        why = "is final and" if effect is not Effect.ALLOW else "says more exactly whom or what it is about and"
        reason = f"{reason} It {why} goes before {', '.join(rule.id for rule in over)}."
    held = effect is Effect.HOLD
    duties = dict.fromkeys(
        rule.obligation
        for rule in rules
        if rule.obligation not in ("", "approve", PRECEDENT) and (held or not rule.takes)
    )
    if held:
        duties["approve"] = None
    return Decision(effect, reason, ids, tuple(duties), version, over=tuple(rule.id for rule in over))
