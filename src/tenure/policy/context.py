"""What policies see of a call beside its arguments: the context, and the key under which a decision on it is kept.

A fact that no policy in scope reads is not found out, costs nothing and does not split the memo. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tenure.base.scan.texts import look, words
from tenure.kernel.json import Json
from tenure.kernel.values import UNSEEN, UNWEIGHED, Call, LifecycleState, Principal, tier_of
from tenure.policy.arguments import unrepresentable
from tenure.policy.facts import moment
from tenure.policy.slices import Slice

SPENT = frozenset({"spent_calls", "spent_tokens", "spent_usd"})
"""Percent of the fullest limit on a call."""
_MEMO_TEXT = 256  # a longer argument is not kept in a key


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a call that is decided on again: what it held is not kept, what was found in it is. Classes and
    rules, in what went out and in what came back."""

    findings: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the facts of a call are found out from. ``at``: the moment, in Unix seconds, of the clock in ``zone``."""

    call: Call
    principal: Principal
    autonomy: str
    state: LifecycleState
    found: Found | None
    at: float
    zone: str


def attempt_of(seen: Seen, part: Slice) -> dict[str, Any]:
    """The context but for ``approved`` and the arguments: exactly the facts that policies of the slice read, so that
    no other splits the memo or costs anything. A fact that the call does not have is left out. Raises ValueError where
    a fact that is read cannot be known."""
    return {name: value for name in part.facts if (value := FACTS[name](seen)) is not None}


FACTS: Mapping[str, Callable[[Seen], Any]] = {
    "autonomy": lambda seen: seen.autonomy,
    "tier": lambda seen: seen.call.tier or tier_of(seen.principal),
    "session": lambda seen: seen.principal.session,
    "task": lambda seen: seen.principal.task or "",
    "release": lambda seen: seen.principal.release,
    "environment": lambda seen: "staging" if seen.state is LifecycleState.STAGING else "production",
    "on_behalf_of": lambda seen: seen.principal.on_behalf_of,
    "chain": lambda seen: seen.principal.chain,
    "chain_depth": lambda seen: len(seen.principal.chain),
    "hour": lambda seen: moment(seen.at, seen.zone)["hour"],
    "weekday": lambda seen: moment(seen.at, seen.zone)["weekday"],
    "date": lambda seen: moment(seen.at, seen.zone)["date"],
    "confidence": lambda seen: seen.call.confidence,
    "justified": lambda seen: bool(seen.call.justification),
    "unrepresentable": lambda seen: unrepresentable(seen.call.arguments),
    "findings": lambda seen: (
        seen.found.findings if seen.found is not None else _found([seen.call.arguments, seen.call.content])
    ),
    "returned": lambda seen: (
        seen.found.returned
        if seen.found is not None
        else ()
        if seen.call.returned is None
        else _found(seen.call.returned)
    ),
    "spent_calls": lambda seen: seen.call.spent[0],
    "spent_tokens": lambda seen: seen.call.spent[1],
    "spent_usd": lambda seen: seen.call.spent[2],
    "tainted": lambda seen: (seen.call.origin or UNSEEN).tainted,
    "provenance": lambda seen: (seen.call.origin or UNSEEN).provenance,
    "arguments_from_untrusted": lambda seen: (seen.call.origin or UNSEEN).derived,
    "untrusted_arguments": lambda seen: (seen.call.origin or UNSEEN).arguments,
    "risk": lambda seen: (seen.call.risk or UNWEIGHED).score,
    "uncertainty": lambda seen: (seen.call.risk or UNWEIGHED).uncertainty,
}
"""How each fact of ``facts.CONTEXT`` is found out, but for ``approved`` and the arguments."""


def _found(value: Json) -> tuple[str, ...]:
    return tuple(sorted(words(look(value))))


def memo_key(place: Any, approved: bool, attempt: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Exactly the facts that the slice reads, or None for a text too long to keep, or for no scalar. The agent's
    own facts are not in it: a changed AgentFact starts with an empty memo."""
    for value in given.values():
        if isinstance(value, dict | list | tuple) or (isinstance(value, str) and len(value) > _MEMO_TEXT):
            return None
    # 1, 1.0 and True are equal to Python and not to Cedar, so the type is part of the key.
    values = tuple((path, type(value).__name__, value) for path, value in given.items())
    return place, approved, tuple(attempt.items()), values
