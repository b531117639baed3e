"""Policies that end by themselves, and precedents: policies that were made from a person's approval.

``@expires("2026-12-21T12:00:00Z")`` on a permit: from that moment on it is as if it were not there, at every gateway,
by its clock. Only a permit may end by itself, so an ending lets less through and never more.

``@obligation("precedent")`` on a permit stands for the approval of a person: a call that would be held goes on when a
precedent permits it. It permits nothing by itself. ``@lifts("ID ID")`` names the policies that held the approved call:
a call that any other policy holds as well waits for a person all the same. ``@arguments("PATH PATH")`` names all the
arguments that it knows: a call that gives any other was not looked at by anybody.

Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cedarpy import pst

if TYPE_CHECKING:
    from tenure.policy.cedar import Rule

PRECEDENT = "precedent"
NEVER = float("inf")


def end_of(annotations: Mapping[str, str]) -> float | None:
    """The moment of ``@expires`` in Unix seconds; None without one, or for one that is no moment with its zone."""
    try:
        at = datetime.fromisoformat(annotations.get("expires") or "")
    except ValueError:
        return None
    return None if at.tzinfo is None else at.timestamp()


def lifts(annotations: Mapping[str, str]) -> frozenset[str]:
    """The ids of ``@lifts``."""
    return frozenset((annotations.get("lifts") or "").split())


def known(annotations: Mapping[str, str]) -> frozenset[str]:
    """The paths of ``@arguments``."""
    return frozenset((annotations.get("arguments") or "").split())


def problems_of(rule: Rule) -> list[str]:
    """What is wrong with how a policy ends, or with a precedent."""
    found = []
    annotations, permit = rule.node.annotations, str(rule.node.effect) == "permit"
    if "expires" in annotations and rule.ends == NEVER:
        found.append(f'@expires("{annotations["expires"]}") is no moment; write it as 2026-12-21T12:00:00Z')
    if "expires" in annotations and not permit:
        found.append("@expires is for permits: what ends by itself must never let more through")
    if rule.obligation != PRECEDENT:
        alien = sorted({"lifts", "arguments"} & set(annotations))
        return [*found, *(f"@{name} is for precedents" for name in alien)]
    if (
        not permit
        or not isinstance(rule.node.principal, pst.ScopeEq)
        or not isinstance(rule.node.resource, pst.ScopeEq)
    ):
        found.append("a precedent is a permit for one agent and one resource: principal == ..., resource == ...")
    if not {"expires", "arguments"} <= set(annotations) or not rule.lifts:
        found.append("a precedent says when it ends (@expires), what it lifts (@lifts) and all it knows (@arguments)")
    if "approved" in rule.reads.facts:
        found.append("a precedent stands for the approval, so it cannot ask for it: it reads context.approved")
    return found


def ends_of(rules: Sequence[Rule]) -> tuple[float, ...]:
    """The moments at which one of ``rules`` ends, each once, the first first."""
    return tuple(sorted({rule.ends for rule in rules if rule.ends != NEVER}))


def passed(ends: Sequence[float], at: float) -> int:
    """How many of ``ends`` are over at ``at``."""
    return bisect_right(ends, at)
