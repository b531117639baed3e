"""Scopes: what may be done for somebody, as patterns, and how they narrow. Pure.

A scope is ``KIND:PATTERN``: ``tool:crm/*``, ``model:gpt-*``, ``agent:billing``, ``data:public``; in a pattern each
``*`` stands for any run of characters. A bound is a set of scopes of which one must cover what is attempted; several
bounds must all cover it. So an intersection is kept as it is meant, as a conjunction of bounds: to add one never
widens, in whatever order they came, and nothing needs to be multiplied out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tenure.kernel.errors import Refused
from tenure.kernel.naming import uri_matches
from tenure.kernel.values import CallKind

KINDS = {
    "tool": "Tools, resources and prompts, as `tool:SERVER/NAME`",
    "model": "Models, by the provider's name",
    "agent": "Other agents, by name",
    "data": "Classes of data: an agent that declares a class works within a bound only if it covers that class",
}
Bound = tuple[str, ...]
NOTHING: Bound = ()
"""A bound that covers nothing at all."""

MAX_SCOPES = 100
_SCOPE = re.compile(r"(tool|model|agent|data):[\x21\x23-\x5b\x5d-\x7e]{1,200}")  # what RFC 6749 lets a scope hold
_KIND_OF = {CallKind.TOOL: "tool", CallKind.LLM: "model", CallKind.AGENT: "agent", CallKind.MEMORY: "data"}


def bound(scopes: Iterable[str]) -> Bound:
    """``scopes`` in order and once each. Raises Refused (422) for what is no scope, and for more than 100."""
    found = tuple(sorted(set(scopes)))
    wrong = [scope for scope in found if not _SCOPE.fullmatch(scope)]
    if wrong or len(found) > MAX_SCOPES:
        raise Refused(
            "bad_scope",
            f"{wrong[0]!r} is no scope." if wrong else f"More than {MAX_SCOPES} scopes were given.",
            fix="Write scopes as tool:crm/*, model:gpt-*, agent:billing or data:public.",
            status=422,
        )
    return found


def covers(scopes: Sequence[str], name: str) -> bool:
    """Whether one of ``scopes`` covers ``name``: ``KIND:RESOURCE``, or a scope, of which then all is covered."""
    return any(uri_matches(pattern, name) for pattern in scopes)


def key_of(kind: CallKind, resource: str) -> str:
    """What a call is to a bound."""
    return f"{_KIND_OF[kind]}:{resource}"


def within(bounds: Iterable[Sequence[str]], kind: CallKind, resource: str) -> bool:
    """Whether every one of ``bounds`` covers a call."""
    key = key_of(kind, resource)
    return all(covers(one, key) for one in bounds)


def uncovered(bounds: Iterable[Sequence[str]], kind: CallKind, resource: str, data_classes: Sequence[str]) -> str:
    """What of a call some bound does not cover: the call itself or a class of data that its agent handles, as a scope
    that would cover it. Empty when all is covered.

    A class that is not covered refuses everything, since nobody can tell which calls of the agent carry it."""
    names = (key_of(kind, resource), *(f"data:{name}" for name in data_classes))
    every = tuple(bounds)
    return next((name for name in names if not all(covers(one, name) for one in every)), "")


def joined(*several: Iterable[Bound]) -> tuple[Bound, ...]:
    """The bounds of all of them, once each: the intersection of what each of them allows."""
    return tuple(dict.fromkeys(one for bounds in several for one in bounds))


def widening(wanted: Bound, bounds: Iterable[Sequence[str]]) -> str:
    """The first of the scopes ``wanted`` that reaches beyond ``bounds``; empty when none does."""
    every = tuple(bounds)
    return next((scope for scope in wanted if not all(covers(one, scope) for one in every)), "")
