"""Stand-ins: an approver hands the answering of held calls to somebody else for a while. Pure.

A stand-in answers with the right of the person who handed it over, as that right is at the moment of the answer, and
never hands it on: what is handed over is one's own role, and a stand-in gets none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tenure.kernel.errors import Refused
from tenure.kernel.naming import uri_matches

LONGEST = timedelta(days=90)
MOST = 50
"""How many stand-ins a person can have at once."""
_MAX_PATTERNS, _MAX_PATTERN, _MAX_REASON = 50, 200, 500


@dataclass(frozen=True, slots=True)
class StandIn:
    """``stand_in`` answers for ``person`` (addresses) from ``begins_at`` until ``ends_at``. ``agents`` and ``tools``
    are patterns with ``*``; none of them means all. ``ended_at`` is when it was over before its time."""

    id: str
    workspace: str
    person: str
    stand_in: str
    agents: tuple[str, ...]
    tools: tuple[str, ...]
    begins_at: datetime
    ends_at: datetime
    reason: str
    made_at: datetime
    ended_at: datetime | None = None
    ended_by: str = ""

    def in_force(self, now: datetime) -> bool:
        """Whether it holds at ``now``."""
        return self.ended_at is None and self.begins_at <= now < self.ends_at

    def covers(self, agent: str, resource: str, now: datetime) -> bool:
        """Whether it reaches a held call of ``agent`` to ``resource`` at ``now``."""
        return self.in_force(now) and _among(self.agents, agent) and _among(self.tools, resource)


def _among(patterns: Sequence[str], name: str) -> bool:
    return not patterns or any(uri_matches(pattern, name) for pattern in patterns)


def checked(item: StandIn, now: datetime) -> StandIn:
    """The same, or Refused (422): for nobody, for ever, in the past, or in words that are none."""
    problem = ""
    if item.person == item.stand_in:
        problem = "Nobody stands in for themselves."
    elif not now < item.ends_at or item.ends_at <= item.begins_at or item.ends_at - item.begins_at > LONGEST:
        problem = f"A stand-in answers from a moment until a later one, for at most {LONGEST.days} days."
    elif not item.reason.strip() or len(item.reason) > _MAX_REASON or "\x00" in item.reason:
        problem = f"This needs a reason, of at most {_MAX_REASON} characters."
    elif any(
        len(patterns) > _MAX_PATTERNS or any(not 0 < len(one) <= _MAX_PATTERN or "\x00" in one for one in patterns)
        for patterns in (item.agents, item.tools)
    ):
        problem = f"At most {_MAX_PATTERNS} names of agents and of tools, each of at most {_MAX_PATTERN} characters."
    if problem:
        raise Refused("bad_stand_in", problem, fix="As in --until 2026-08-31 --reason 'on leave'.", status=422)
    return item
