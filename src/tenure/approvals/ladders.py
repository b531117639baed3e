"""Escalation ladders: whom a held call is shown to next when nobody answers, and what holds at its deadline. Pure.

A ladder is a setting of the workspace beside its policies. What it is for a call is written down with the call when it
is held, so that a change of the ladder changes nothing that is under way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tenure.identity.model import email_address
from tenure.kernel.demands import DECIDERS
from tenure.kernel.errors import Refused
from tenure.kernel.naming import uri_matches

MOST = 100
"""How many ladders a workspace may have."""
LONGEST_S = 7 * 86_400
MOST_STEPS = 10
LOW_TIER = 2
"""The highest risk tier of an agent whose calls may go on at a deadline with nobody's word."""
_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_MAX_LIST, _MAX_WORD, _MAX_REASON = 50, 200, 500


class AtDeadline(StrEnum):
    """What becomes of a call that nobody has answered."""

    DENY = "deny"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Step:
    """So many seconds after the call was held, these are asked: roles, or addresses of people."""

    after_s: int
    ask: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ladder:
    """``agents``, ``tools`` (patterns with ``*``) and ``policies`` (ids) say which held calls it is for; none of them
    means all. A held call takes the first ladder, by name, that is for it."""

    workspace: str
    name: str
    agents: tuple[str, ...]
    tools: tuple[str, ...]
    policies: tuple[str, ...]
    steps: tuple[Step, ...]
    deadline_s: int
    at_deadline: AtDeadline
    reason: str
    set_at: datetime
    set_by: str

    def is_for(self, agent: str, resource: str, policies: Collection[str]) -> bool:
        """Whether a held call takes it."""
        return (
            _among(self.agents, agent)
            and _among(self.tools, resource)
            and (not self.policies or any(name in self.policies for name in policies))
        )

    def taken(self, policies: Collection[str]) -> Escalation:
        """What it is for a call that these policies hold. A default that lets it go on is for calls that nothing else
        holds than the policies it names."""
        lets = self.at_deadline is AtDeadline.ALLOW and set(policies) <= set(self.policies)
        default = AtDeadline.ALLOW if lets else AtDeadline.DENY
        return Escalation(self.name, self.steps, self.deadline_s, default, self.set_by)


@dataclass(frozen=True, slots=True)
class Escalation:
    """A ladder as one call took it."""

    ladder: str
    steps: tuple[Step, ...]
    deadline_s: int
    at_deadline: AtDeadline
    set_by: str


def _among(patterns: Sequence[str], name: str) -> bool:
    return not patterns or any(uri_matches(pattern, name) for pattern in patterns)


def checked(item: Ladder) -> Ladder:
    """The same, or Refused (422) for one that cannot be."""
    after = [step.after_s for step in item.steps]
    lists = (item.agents, item.tools, item.policies)
    problem = ""
    if not re.fullmatch(_NAME, item.name):
        problem = "A name is lower-case letters, digits and inner hyphens."
    elif not 0 < len(after) <= MOST_STEPS or after != sorted(set(after)) or after[0] < 0:
        problem = f"A ladder has 1 to {MOST_STEPS} steps, each later than the one before."
    elif not after[-1] < item.deadline_s <= LONGEST_S:
        problem = f"The deadline is after the last step, and at most {LONGEST_S // 86_400} days."
    elif any(not step.ask or len(step.ask) > _MAX_LIST for step in item.steps):
        problem = "Every step asks somebody: approver, operator, or addresses."
    elif any(
        len(one) > _MAX_LIST or any(not 0 < len(word) <= _MAX_WORD or "\x00" in word for word in one) for one in lists
    ):
        problem = f"At most {_MAX_LIST} names each, of at most {_MAX_WORD} characters."
    elif not item.reason.strip() or len(item.reason) > _MAX_REASON or "\x00" in item.reason:
        problem = f"This needs a reason, of at most {_MAX_REASON} characters."
    elif item.at_deadline is AtDeadline.ALLOW:
        problem = _too_wide(item)
    if problem:
        raise Refused("bad_ladder", problem, fix="docs/approvals.md shows one.", status=422)
    for step in item.steps:
        for one in step.ask:
            if one not in DECIDERS:
                email_address(one)
    return item


def _too_wide(item: Ladder) -> str:
    """Why calls that nobody answered may not go on by this ladder."""
    if not item.tools or any("*" in tool for tool in item.tools):
        return "What goes on with nobody's word is named tool by tool: those whose effects can be undone."
    if not item.policies or any(name.startswith("system/") for name in item.policies):
        return "What goes on with nobody's word is held by policies that are named, and by no rule of the system."
    return ""


def as_kept(escalation: Escalation) -> dict[str, Any]:
    """As a column keeps it."""
    return {
        "ladder": escalation.ladder,
        "steps": [[step.after_s, list(step.ask)] for step in escalation.steps],
        "deadline_s": escalation.deadline_s,
        "at_deadline": escalation.at_deadline.value,
        "set_by": escalation.set_by,
    }


def read(kept: Mapping[str, Any]) -> Escalation:
    """Out of a column."""
    steps = tuple(Step(int(after), tuple(ask)) for after, ask in kept["steps"])
    return Escalation(kept["ladder"], steps, int(kept["deadline_s"]), AtDeadline(kept["at_deadline"]), kept["set_by"])
