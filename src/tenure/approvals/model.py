"""An approval and who may decide it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tenure.base.access import permit
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import ApprovalFact
from tenure.kernel.values import Actor

GRANT_LIFE = timedelta(minutes=15)
"""How long a granted approval waits for its call."""
FACT_LIFE = timedelta(minutes=10)
"""How long a settled approval stays in the Snapshot, so that a waiting gateway hears how it ended."""
DEFAULT_HOLD_S = 300.0
"""How long a request waits for a person when the agent's manifest is not known any more."""

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
class Approval:
    """One held call. It covers exactly (workspace, agent, release, resource, digest, policy_version), once.

    ``why`` and ``policies`` say why it was held, ``notes`` what else is known of it that the person who decides should
    see, ``justification`` what the agent says that it is for, which nobody has checked; ``reason`` is the word of the
    person who decided. ``expires_at`` is when the present state runs out by itself, None for a settled one.
    ``claim`` is the id of the one Call that used it.
    ``answer`` is the same for all that were decided by one answer, None for one that was decided by itself.
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
        policy_version=approval.policy_version,
        state=approval.state.value,
        decided_by=approval.decided_by,
        reason=approval.reason,
        claim=approval.claim,
    )


def check_decider(actor: Actor, grant: bool, reason: str) -> None:
    """Raises Refused unless ``actor`` is a person who may decide, and says why when the answer is no."""
    if actor.principal is not None or not actor.name.startswith("person:"):
        raise Refused(
            "not_a_person",
            f"{actor.name} is not a person; a held call waits for a person's decision.",
            fix="Decide it in the console or with a person's own credential.",
            status=403,
        )
    permit(actor, "approvals:decide")
    if not grant and not reason.strip():
        raise Refused(
            "reason_required", "A rejection needs a reason: the agent is told it.", fix="Say why, in a sentence."
        )


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
