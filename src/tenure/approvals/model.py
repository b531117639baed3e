"""An approval and who may decide it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tenure.approvals.ladders import Escalation
from tenure.kernel.demands import Demand, demands_of, unmet
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.snapshot import ApprovalFact
from tenure.kernel.values import Actor

GRANT_LIFE = timedelta(minutes=15)
"""How long a granted approval waits for its call."""
FACT_LIFE = timedelta(minutes=10)
"""How long a settled approval stays in the Snapshot, so that a waiting gateway hears how it ended."""
DEFAULT_HOLD_S = 300.0
"""How long a request waits for a person when the agent's manifest is not known any more."""

PERSON = "person:"
REJECT = "reject"
MAX_ANSWERED = 500
"""How many calls one answer may be for."""

MAX_LOOKED_AT = 50_000
"""Of how many decided calls the load of people is worked out at most, the newest."""


class State(StrEnum):
    """pending -> granted | rejected | expired; granted -> claimed | expired."""

    PENDING = "pending"
    GRANTED = "granted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CLAIMED = "claimed"


@dataclass(frozen=True, slots=True)
class Given:
    """One person's approval of a call that may take more than one. ``by`` and ``holder`` are addresses: who answered,
    and under whose right; they differ when a stand-in answered. ``roles`` are those of the holder."""

    by: str
    holder: str
    roles: tuple[str, ...]
    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Right:
    """Under which somebody answers: ``by`` answers with what ``holder`` may decide; both are addresses. The two are
    one but for a stand-in."""

    by: str
    holder: str
    roles: frozenset[str] = field(default_factory=frozenset)

    @property
    def stands_in(self) -> bool:
        """Whether somebody answers for somebody else."""
        return self.by != self.holder


@dataclass(frozen=True, slots=True)
class Approval:
    """One held call. It covers exactly (workspace, agent, release, resource, digest, grounds), once: ``grounds`` are
    the policies that hold it, word for word; ``policy_version`` is the one under which it was asked for.

    ``why`` and ``policies`` say why it was held, ``notes`` what else is known of it that the person who decides should
    see, ``justification`` what the agent says that it is for, which nobody has checked; ``reason`` is the word of the
    person who decided. ``expires_at`` is when the present state runs out by itself, None for a settled one.
    ``claim`` is the id of the one Call that used it.
    ``answer`` is the same for all that were decided by one answer, None for one that was decided by itself.
    ``on_behalf_of``: for which person the call is made. ``demands``: whose approval it takes beside anybody's
    (``kernel.demands``); ``given``: the approvals so far; ``decided_for``: for whom a stand-in had the last word.
    ``escalation``: the ladder that it took when it was held, ``step`` how many of its steps were taken, ``next_at``
    when the next one is due. ``chain``: the agents that handed the work on, first the one where it began, last this
    one; ``task``: the work that the credential is for. ``against``: what speaks against approving it
    (``approvals.advice``); where anything does, Tenure recommends to reject it. ``invited``: the person for whom it is
    made could approve it alone when it was held, so that a gateway may show them its page.
    ``editable``: a gateway can make it with other arguments, and ``arguments`` are all that the agent gave; ``edited``
    are those that a person put in their place (``approvals.editing``).
    """

    id: str
    workspace: str
    agent: str
    release: str
    call_id: str
    resource: str
    digest: str
    policy_version: str
    purpose: str
    arguments: JsonObject
    why: str
    policies: tuple[str, ...]
    session: str | None
    instance: str | None
    trace_id: str | None
    span_id: str | None
    parent_span_id: str | None
    requested_at: datetime
    state: State = State.PENDING
    expires_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None
    reason: str = ""
    claim: str | None = None
    settled_at: datetime | None = None
    answer: str | None = None
    notes: tuple[str, ...] = ()
    justification: str = ""
    grounds: str = ""
    on_behalf_of: str | None = None
    demands: tuple[str, ...] = ()
    given: tuple[Given, ...] = ()
    decided_for: str | None = None
    escalation: Escalation | None = None
    step: int = 0
    next_at: datetime | None = None
    chain: tuple[str, ...] = ()
    task: str | None = None
    against: tuple[str, ...] = ()
    invited: bool = False
    editable: bool = False
    edited: JsonObject | None = None

    @property
    def now(self) -> JsonObject:
        """The arguments that the call would be made with."""
        return self.arguments if self.edited is None else self.edited

    @property
    def covers(self) -> str:
        """The digest of what an approval of it is for: of the call as the agent made it, or of changed arguments."""
        return self.digest if self.edited is None else digest(self.edited)

    @property
    def recommended(self) -> str:
        """What Tenure recommends: ``reject``, or nothing."""
        return REJECT if self.against else ""

    @property
    def overruled(self) -> bool:
        """Whether people approved it against the recommendation."""
        by_people = (self.decided_by or "").startswith(PERSON)
        return bool(self.against) and by_people and self.state not in (State.PENDING, State.REJECTED)

    @property
    def wants(self) -> tuple[Demand, ...]:
        """Whose approval it takes, and how many people's."""
        return demands_of(self.demands)

    @property
    def takes(self) -> int:
        """How many different people must approve it."""
        return max(one.people for one in self.wants)

    @property
    def missing(self) -> tuple[str, ...]:
        """Whose approval it still waits for, in words; none when it does not wait."""
        if self.state is not State.PENDING:
            return ()
        return tuple(one.words for one in unmet(self.wants, [frozenset(one.roles) for one in self.given]))


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one of several calls that a person answered at once. ``code`` and ``message`` say why it was not
    decided; both are empty when it was. ``state`` is the one that it is in, None for an approval that there is not."""

    id: str
    state: State | None
    code: str
    message: str


def fact(approval: Approval) -> ApprovalFact:
    """What a gateway needs of it."""
    return ApprovalFact(
        id=approval.id,
        workspace=approval.workspace,
        agent=approval.agent,
        resource=approval.resource,
        digest=approval.digest,
        grounds=approval.grounds,
        state=approval.state.value,
        decided_by=approval.decided_by,
        reason=approval.reason,
        claim=approval.claim,
        edited=approval.edited if approval.state in (State.GRANTED, State.CLAIMED) else None,
        person=(approval.on_behalf_of or "") if approval.invited else "",
    )


def check_answer(actor: Actor, grant: bool, reason: str) -> None:
    """Raises Refused unless ``actor`` is a person, and says why when the answer is no. Whether the person may decide
    the call in question is ``check_right``'s."""
    if not actor.is_person:
        raise Refused(
            "not_a_person",
            f"{actor.name} is not a person; a held call waits for a person's decision.",
            fix="Decide it in the console or with a person's own credential.",
            status=403,
        )
    if not grant and not reason.strip():
        raise Refused(
            "reason_required", "A rejection needs a reason: the agent is told it.", fix="Say why, in a sentence."
        )


def address(name: str) -> str:
    """The address of a person by an actor's name, in the one way that two of them are compared."""
    return name.removeprefix(PERSON).lower()


def check_right(approval: Approval, right: Right, grant: bool, owners: Sequence[str]) -> None:
    """Raises Refused (403, 409) when this right does not reach this answer. ``owners``: who answers for the agent.

    A no takes the right to decide and nothing more: one is enough. A yes must be one that is still missing. Where more
    than one person is asked, each counts once, by whatever right and in whoever's place, and so does whoever they
    stand in for; the call is never approved by the person for whom it is made, and no stand-in answers for an agent
    that is their own."""
    if not grant:
        return
    said = {name for one in approval.given for name in (one.by, one.holder)}
    if said & {right.by, right.holder}:
        who = right.by if right.by in said else right.holder
        raise Refused(
            "already_answered",
            f"{who} has a part in the approval that was given; this call takes {approval.takes} different people.",
            fix="Somebody else has to look at it.",
            status=409,
        )
    if approval.takes > 1:
        asked_for = address(approval.on_behalf_of or "")
        if asked_for in (right.by, right.holder):
            raise Refused(
                "own_call", f"The call is made for {asked_for}, who cannot approve it.", fix="Ask others.", status=403
            )
        if right.stands_in and right.by in owners:
            raise Refused(
                "own_agent",
                f"{right.by} answers for agent {approval.agent}, so they stand in for nobody here.",
                fix="Ask somebody who has nothing to do with the agent.",
                status=403,
            )
    missing = unmet(approval.wants, [frozenset(one.roles) for one in approval.given])
    if not any(not one.role or one.role in right.roles for one in missing):
        raise Refused(
            "other_role",
            f"This call waits for {' and '.join(one.words for one in missing)}.",
            fix="Ask somebody who has that role.",
            status=403,
        )


def complete(approval: Approval) -> bool:
    """Whether everybody whose approval it takes has given it."""
    return not unmet(approval.wants, [frozenset(one.roles) for one in approval.given])


def given_of(value: Mapping[str, object]) -> Given:
    """One approval as it is kept."""
    roles = value["roles"]
    return Given(
        by=str(value["by"]),
        holder=str(value["holder"]),
        roles=tuple(str(role) for role in roles) if isinstance(roles, list) else (),
        at=datetime.fromisoformat(str(value["at"])),
        reason=str(value["reason"]),
    )


def as_kept(given: Given) -> dict[str, object]:
    """One approval as it is kept and told."""
    return {
        "by": given.by,
        "holder": given.holder,
        "roles": list(given.roles),
        "at": given.at.isoformat(),
        "reason": given.reason,
    }


def check_pending(approval: Approval, now: datetime) -> None:
    """Raises Refused 409 unless it still waits for a decision at ``now``."""
    over = approval.state is State.PENDING and approval.expires_at is not None and approval.expires_at <= now
    if approval.state is State.PENDING and not over:
        return
    state = State.EXPIRED if over else approval.state
    by = f" by {approval.decided_by}" if approval.decided_by else ""
    raise Refused(
        "approval_not_pending",
        f"Approval {approval.id} does not wait any more: it is {state}{by}.",
        fix="The agent asks again when it still wants the call.",
        status=409,
    )
