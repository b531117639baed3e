"""Hand-overs and concerns. Values and pure rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tenure.base.config import Config
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.values import LifecycleState
from tenure.registry.model import ACTING, AgentRecord

S = LifecycleState

OFFER_DAYS = 14
"""For how long an offer is good when nobody says otherwise."""
MAX_OFFER_DAYS = 90
MAX_NOTE = 2_000
MAX_AT_ONCE = 500
"""Agents that one request offers."""


class Role(StrEnum):
    """As what somebody answers for an agent."""

    OWNER = "owner"
    SPONSOR = "sponsor"


class State(StrEnum):
    """Where an offer stands. All but ``open`` are for good."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class HandOver:
    """An offer of an agent. ``giver``: who answers for it until it is accepted; ``checklist``: what was handed over, as
    it was when it was answered; ``declared``: a manifest said it, no verb did."""

    id: str
    workspace: str
    agent: str
    role: Role
    giver: str
    receiver: str
    note: str
    offered_by: str
    offered_at: datetime
    expires_at: datetime
    declared: bool
    state: State = State.OPEN
    answered_by: str | None = None
    answered_at: datetime | None = None
    answer: str = ""
    checklist: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Checklist:
    """What comes with an agent. ``declared`` is what the receiver accepts, named by ``digest``; ``now`` changes from
    minute to minute and is for looking."""

    declared: JsonObject
    now: JsonObject

    @property
    def digest(self) -> str:
        """Of ``declared``: who accepts names it, so that nobody accepts other than they saw."""
        return digest(self.declared)


class Kind(StrEnum):
    """Why it is a concern who answers for an agent."""

    LEFT = "left"
    UNCONFIRMED = "unconfirmed"
    INACTIVE = "inactive"
    SILENT = "silent"


WORDS: Mapping[Kind, str] = {
    Kind.LEFT: "its owner has left",
    Kind.UNCONFIRMED: "its owner has not confirmed that they answer for it",
    Kind.INACTIVE: "it has done nothing for long",
    Kind.SILENT: "it stopped answering",
}


@dataclass(frozen=True, slots=True)
class Concern:
    """A reason to look after an agent. ``since``: when it came to be so; ``raised_at``: when it was found; ``due``:
    when the agent is suspended for it, None for never; ``told``: whose business it is."""

    workspace: str
    agent: str
    kind: Kind
    since: datetime
    raised_at: datetime
    due: datetime | None
    told: tuple[str, ...]
    suspended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What is stated of time; None where nothing is."""

    orphan_grace: timedelta
    confirm_every: timedelta | None
    inactive_after: timedelta | None
    grace: timedelta

    @classmethod
    def of(cls, config: Config) -> Terms:
        """As the settings have them."""
        return cls(
            timedelta(hours=config.orphan_grace_h),
            timedelta(days=config.confirm_days) if config.confirm_days else None,
            timedelta(days=config.inactive_days) if config.inactive_days else None,
            timedelta(days=config.owner_grace_days),
        )

    def due(self, kind: Kind, found: datetime) -> datetime:
        """When an agent is suspended for what was found."""
        return found + (self.orphan_grace if kind is Kind.LEFT else self.grace)


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of an agent and its owner. ``left_at``: when the owner lost their place; ``confirmed_at``: when
    they last said that they answer for it; ``active_at``: when it last did something."""

    left_at: datetime | None
    confirmed_at: datetime | None
    active_at: datetime | None


def concerns(agent: AgentRecord, signs: Signs, terms: Terms, now: datetime) -> dict[Kind, datetime]:
    """What is of concern about an agent now, and since when."""
    found: dict[Kind, datetime] = {}
    if agent.state in (S.REJECTED, S.RETIRED):
        return found
    if signs.left_at is not None:
        found[Kind.LEFT] = signs.left_at
    if terms.confirm_every is not None and agent.state is not S.REQUESTED and signs.left_at is None:
        until = max(agent.created_at, signs.confirmed_at or agent.created_at) + terms.confirm_every
        if now >= until:
            found[Kind.UNCONFIRMED] = until
    if terms.inactive_after is not None and agent.state in (S.STAGING, S.PRODUCTION):
        last = max(agent.state_since, signs.active_at or agent.state_since)
        if now - last >= terms.inactive_after:
            found[Kind.INACTIVE] = last
    return found


def suspends(concern: Concern, agent: AgentRecord, terms: Terms, now: datetime) -> bool:
    """Whether the stated time is over. One that a person let go on afterwards has that time once more."""
    if concern.due is None or agent.state not in ACTING:
        return False
    due = concern.due
    if concern.suspended_at is not None:
        due = max(due, terms.due(concern.kind, agent.state_since))
    return now >= due


def why_suspended(concern: Concern, agent: AgentRecord) -> str:
    """The reason, for the agent's history."""
    day = f"{concern.since:%Y-%m-%d}"
    words = {
        Kind.LEFT: f"{agent.owner} left on {day}, and nobody took it over in the time there was",
        Kind.UNCONFIRMED: f"{agent.owner} did not confirm by {day} or after it that they answer for it",
        Kind.INACTIVE: f"it has done nothing since {day}, and nobody said that it is needed",
    }
    return f"{words[concern.kind]} (until {concern.due:%Y-%m-%d %H:%M} UTC)"
