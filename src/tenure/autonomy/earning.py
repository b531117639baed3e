"""Earned autonomy (R064): what is on record of an agent's use of a tool under one release, what that proves, and how a
relaxed level comes and goes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import exp, lgamma, log, log1p

from tenure.kernel.values import Autonomy

LEAST_CALLS = 30
"""Calls on record before anything is proposed."""
LEAST_BOUND = 0.9
"""The share of good calls that must be proved, at ``CONFIDENCE``. 30 of 30 prove 0.905."""
CONFIDENCE = 0.95
TOLERATED = 0
"""Bad outcomes after a person accepted; one more, and the declared level is in force again."""
HIGHEST_TIER = 3
"""Agents of a higher risk tier earn nothing: their declared levels stay."""
NEXT = {Autonomy.APPROVE: Autonomy.NOTIFY, Autonomy.NOTIFY: Autonomy.AUTONOMOUS}
"""One step at most from what the manifest declares; what only people do is never earned."""
_HALVINGS = 60


class Outcome(StrEnum):
    """What came of one call, or of asking for it."""

    GOOD = "good"
    FAILED = "failed"
    OVERRIDDEN = "overridden"


class State(StrEnum):
    """``watched``: evidence is gathered; ``proposed``: it is enough, and a person is asked; ``accepted``: a person
    relaxed the level; ``declined``: a person said no, for this release."""

    WATCHED = "watched"
    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Record:
    """What one agent did with one tool under one release. ``bad_since``: failures and overrides since a person
    accepted. ``by`` and ``reason``: who brought it to its present state, and why."""

    workspace: str
    agent: str
    resource: str
    release: str
    declared: Autonomy
    good: int = 0
    failed: int = 0
    overridden: int = 0
    bad_since: int = 0
    state: State = State.WATCHED
    since: datetime | None = None
    by: str = ""
    reason: str = ""

    @property
    def calls(self) -> int:
        """All on record."""
        return self.good + self.failed + self.overridden

    @property
    def bound(self) -> float:
        """The share of good calls that is proved."""
        return lower_bound(self.good, self.calls)

    @property
    def level(self) -> Autonomy:
        """The level that a person can relax it to."""
        return NEXT.get(self.declared, self.declared)

    @property
    def enough(self) -> bool:
        """Whether the evidence is enough to ask a person."""
        if self.declared not in NEXT or self.calls < LEAST_CALLS or self.good < LEAST_BOUND * self.calls:
            return False
        return _at_least(self.good, self.calls, LEAST_BOUND) <= 1 - CONFIDENCE  # the same as bound >= LEAST_BOUND


def lower_bound(good: int, calls: int, confidence: float = CONFIDENCE) -> float:
    """The one-sided lower bound of Clopper and Pearson ("The use of confidence or fiducial limits illustrated in the
    case of the binomial", Biometrika 26, 1934) for a share of which ``good`` of ``calls`` were seen: the greatest p
    under which so many good ones or more have a probability of at most 1 - ``confidence``. 0 without calls."""
    if good <= 0 or calls <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_least(good, calls, middle) <= 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def _at_least(good: int, calls: int, share: float) -> float:
    """The probability of ``good`` or more of ``calls`` when each is good with probability ``share``."""
    if share <= 0.0 or share >= 1.0:
        return share
    head, right, wrong = lgamma(calls + 1), log(share), log1p(-share)
    logs = (
        head - lgamma(seen + 1) - lgamma(calls - seen + 1) + seen * right + (calls - seen) * wrong
        for seen in range(good, calls + 1)
    )
    return min(1.0, sum(map(exp, logs)))


def counted(record: Record, outcome: Outcome, now: datetime, tier: int) -> tuple[Record, str]:
    """The record with one outcome more, and what that came to: ``fell_back``, ``proposed``, ``withdrawn`` or nothing.
    An outcome never relaxes anything."""
    bad = outcome is not Outcome.GOOD
    after = replace(
        record,
        good=record.good + (outcome is Outcome.GOOD),
        failed=record.failed + (outcome is Outcome.FAILED),
        overridden=record.overridden + (outcome is Outcome.OVERRIDDEN),
        bad_since=record.bad_since + (bad and record.state is State.ACCEPTED),
    )
    if after.state is State.ACCEPTED and after.bad_since > TOLERATED:
        word = "failed" if outcome is Outcome.FAILED else "was overridden by a person"
        return fallen(after, f"a call {word}", now), "fell_back"
    if after.state is State.PROPOSED and not after.enough:
        return replace(after, state=State.WATCHED, since=now, by="", reason="the evidence turned"), "withdrawn"
    if after.state is State.WATCHED and after.enough and tier <= HIGHEST_TIER:
        return replace(after, state=State.PROPOSED, since=now, by="", reason=""), "proposed"
    return after, ""


def fallen(record: Record, why: str, now: datetime) -> Record:
    """Back to the declared level, with nothing on record: what follows has to prove it anew."""
    return replace(
        record, good=0, failed=0, overridden=0, bad_since=0, state=State.WATCHED, since=now, by="", reason=why
    )


def relaxed(record: Record, declared: Autonomy, release: str) -> Autonomy:
    """The level in force instead of ``declared``: another one only while a person has accepted it for this very release
    and this very declaration."""
    holds = record.state is State.ACCEPTED and (record.release, record.declared) == (release, declared)
    return record.level if holds else declared
