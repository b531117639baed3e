"""How much each person decides, and how long they can have looked. Pure.

Several calls decided by one answer count as one look. How long somebody looked is not known; what is known is the most
that it can have been: from when the call was there, or from the same person's answer before, whichever came last. Many
approvals after a look too short to read anything are the sign of a rubber stamp (R065).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """One call that a person decided. ``answer`` is the same for all that were decided by one answer."""

    by: str
    requested_at: datetime
    decided_at: datetime
    approved: bool
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """One person's share. ``calls`` were decided by ``answers``; ``wait_p50_s`` and ``wait_p90_s`` is how long they
    waited, ``look_p50_s`` the most that the person can have looked at half of the answers. ``quick``: the share of the
    approving answers that were given within the time that was asked about."""

    by: str
    calls: int
    approved: int
    answers: int
    wait_p50_s: float
    wait_p90_s: float
    look_p50_s: float
    quick: float


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of ``values`` that at least ``part`` of them do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-part * len(ordered) // 1) - 1)] if ordered else 0.0


def loads(decided: Iterable[Decided], quick_s: float) -> list[Load]:
    """One for each person, who decided most first. ``quick_s``: an approval within so many seconds is quick."""
    by: dict[str, list[Decided]] = {}
    for one in sorted(decided, key=lambda item: item.decided_at):
        by.setdefault(one.by, []).append(one)
    found = [_load(person, mine, quick_s) for person, mine in by.items()]
    return sorted(found, key=lambda load: (-load.calls, load.by))


def _load(person: str, mine: Sequence[Decided], quick_s: float) -> Load:
    answers: dict[str, list[Decided]] = {}
    for number, one in enumerate(mine):
        answers.setdefault(one.answer or f"alone {number}", []).append(one)
    looks: list[float] = []
    quick = approving = 0
    before: datetime | None = None
    for calls in answers.values():
        at, there = calls[0].decided_at, min(call.requested_at for call in calls)
        look = (at - (there if before is None or before < there else before)).total_seconds()
        looks.append(max(look, 0.0))
        if calls[0].approved:
            approving += 1
            quick += look < quick_s
        before = at
    waits = [(one.decided_at - one.requested_at).total_seconds() for one in mine]
    return Load(
        by=person,
        calls=len(mine),
        approved=sum(one.approved for one in mine),
        answers=len(answers),
        wait_p50_s=percentile(waits, 0.5),
        wait_p90_s=percentile(waits, 0.9),
        look_p50_s=percentile(looks, 0.5),
        quick=quick / approving if approving else 0.0,
    )
