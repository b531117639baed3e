"""What policies see of a call beside its arguments: the context, and the key under which a decision on it is kept.

Facts that no policy in scope reads keep a constant, so that they cost nothing and do not split the memo. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenure.base.scan.texts import look, words
from tenure.kernel.json import Json
from tenure.kernel.values import UNSEEN, UNWEIGHED, Call, Origin, Principal
from tenure.policy.arguments import unrepresentable
from tenure.policy.cedar import ORIGIN, RISK, Slice

SPENT = frozenset(_SPENT := ("spent_calls", "spent_tokens", "spent_usd"))
"""Percent of the fullest limit on a call."""
_MEMO_TEXT = 256  # a longer argument is not kept in a key


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a call that is decided on again: what it held is not kept, what was found in it is. Classes and
    rules, in what went out and in what came back."""

    findings: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()


def attempt_of(call: Call, principal: Principal, part: Slice, autonomy: str, found: Found | None) -> dict[str, Any]:
    """The context but for ``approved`` and the bags. Facts that no policy of the slice reads keep a constant, so that
    they do not split the memo."""
    reads = part.reads.facts
    attempt: dict[str, Any] = {
        "autonomy": autonomy,
        "session": principal.session if "session" in reads else "",
        "chain": principal.chain if "chain" in reads else (),
        "unrepresentable": "unrepresentable" in reads and unrepresentable(call.arguments),
        "findings": _found([call.arguments, call.content]) if "findings" in reads and found is None else (),
        "returned": _found(call.returned) if "returned" in reads and call.returned is not None else (),
        "tainted": False,
        "provenance": (),
        "arguments_from_untrusted": False,
        "untrusted_arguments": (),
        "risk": 0,
        "uncertainty": 0,
        "justified": "justified" in reads and bool(call.justification),
    }
    attempt |= {name: percent if name in reads else 0 for name, percent in zip(_SPENT, call.spent, strict=True)}
    if not reads.isdisjoint(ORIGIN):
        attempt |= _origin(call.origin or UNSEEN, reads)
    if not reads.isdisjoint(RISK):
        risk = call.risk or UNWEIGHED
        attempt["risk"] = risk.score if "risk" in reads else 0
        attempt["uncertainty"] = risk.uncertainty if "uncertainty" in reads else 0
    if found is not None:
        attempt["findings"] = found.findings if "findings" in reads else ()
        attempt["returned"] = found.returned if "returned" in reads else ()
    if principal.on_behalf_of is not None and "on_behalf_of" in reads:
        attempt["on_behalf_of"] = principal.on_behalf_of
    if call.confidence is not None and "confidence" in reads:
        attempt["confidence"] = call.confidence
    return attempt


def _origin(origin: Origin, reads: frozenset[str]) -> dict[str, Any]:
    return {
        "tainted": "tainted" in reads and origin.tainted,
        "provenance": origin.provenance if "provenance" in reads else (),
        "arguments_from_untrusted": "arguments_from_untrusted" in reads and origin.derived,
        "untrusted_arguments": origin.arguments if "untrusted_arguments" in reads else (),
    }


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
