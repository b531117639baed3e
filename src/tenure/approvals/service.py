"""The verbs of approvals: ask, decide, claim, expire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from tenure.approvals import store
from tenure.approvals.model import (
    DEFAULT_HOLD_S,
    FACT_LIFE,
    GRANT_LIFE,
    Approval,
    State,
    check_decider,
    check_pending,
    fact,
)
from tenure.base import events, log
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import stable_id
from tenure.kernel.snapshot import ApprovalFact
from tenure.kernel.values import Actor, Event, Status
from tenure.registry import service as registry
from tenure.registry.model import agent_fact

logger = log.get("approvals")

_DONE = {State.GRANTED: "approval.granted", State.REJECTED: "approval.rejected", State.EXPIRED: "approval.expired"}


def facts(connection: Connection, now: datetime) -> dict[str, ApprovalFact]:
    """What gateways need to know, by id: pending, granted and unclaimed, and how others ended in the last minutes."""
    return {item.id: fact(item) for item in store.alive(connection, now, now - FACT_LIFE)}


def find(
    world: World, workspace: str, *, state: State | None = None, agent: str | None = None, limit: int = 200
) -> list[Approval]:
    """Approvals, newest first."""
    with world.read() as connection:
        return store.find(connection, workspace, state, agent, limit)


def get(world: World, workspace: str, ident: str) -> Approval:
    """One approval. Raises Refused 404."""
    with world.read() as connection:
        found = store.get(connection, ident, workspace)
    if found is None:
        raise _unknown(ident)
    return found


def _unknown(ident: str) -> Refused:
    return Refused(
        "unknown_approval",
        f"There is no approval {ident}.",
        fix="`tenure approvals list --state all` lists them.",
        status=404,
    )


def request(connection: Connection, event: Event) -> None:
    """Notes a held call (``approval.requested``). The same id twice is the same request. An Event that does not say
    what is asked cannot be shown to anybody: it is logged and passed over, and the call stays held."""
    data = event.data
    ident, resource, digest = _text(data.get("approval_id")), _text(data.get("resource")), _text(data.get("digest"))
    if not (event.agent and 0 < len(ident) <= 64 and resource and digest):
        logger.warning("an approval was asked for without id, agent, resource or digest", event_id=event.id)
        return
    record = registry.get_agent(connection, event.workspace, event.agent)
    known = agent_fact(record) if record else None
    arguments, policies = data.get("arguments"), data.get("policies")
    item = Approval(
        id=ident,
        workspace=event.workspace,
        agent=event.agent,
        release=event.release or "",
        call_id=_text(data.get("call_id")),
        resource=resource,
        digest=digest,
        policy_version=event.policy_version or "",
        purpose=known.purpose if known else "",
        arguments=arguments if isinstance(arguments, Mapping) else {},
        why=_text(data.get("reason")),
        policies=tuple(_text(name) for name in policies) if isinstance(policies, list | tuple) else (),
        session=event.session,
        instance=event.instance,
        trace_id=event.trace_id,
        span_id=event.span_id,
        parent_span_id=event.parent_span_id,
        requested_at=event.time,
        expires_at=event.time + timedelta(seconds=known.hold_timeout_s if known else DEFAULT_HOLD_S),
    )
    store.insert(connection, item)


def _text(value: Any) -> str:
    return value.replace("\x00", "") if isinstance(value, str) else ""  # PostgreSQL's text knows no NUL


def decide(world: World, actor: Actor, ident: str, grant: bool, reason: str = "") -> Approval:
    """A person's answer. Raises Refused: 403 for whoever may not, 404, 409 when it does not wait any more, 400 for a
    rejection without a reason."""
    check_decider(actor, grant, reason)
    now = world.clock()
    after = State.GRANTED if grant else State.REJECTED
    with world.begin() as tx:
        before = store.get(tx, ident, actor.workspace)
        if before is None:
            raise _unknown(ident)
        check_pending(before, now)
        values: dict[str, Any] = {
            "decided_at": now,
            "decided_by": actor.name,
            "reason": reason.strip(),
            "expires_at": now + GRANT_LIFE if grant else None,
            "settled_at": None if grant else now,
        }
        if not store.change(tx, ident, State.PENDING, after, **values):
            current = store.get(tx, ident, actor.workspace)  # PostgreSQL: another decision committed in between
            check_pending(current or before, now)
        decided = replace(before, state=after, **values)
        events.append(tx, [_event(decided, actor.name, now)])
    return decided


def claim(connection: Connection, event: Event) -> None:
    """Gives a granted approval to the one call that a gateway names (``approval.claimed``). First wins; one that has
    run out when the gateway asked is not given. A gateway acts only when the fact names its own call."""
    ident, call = _text(event.data.get("approval_id")), _text(event.data.get("claim"))
    found = store.get(connection, ident, event.workspace)
    if found is None or not call or found.agent != event.agent:
        logger.warning("an approval was claimed that this agent does not have", event_id=event.id, approval=ident)
        return
    if found.expires_at is not None and found.expires_at <= event.time:
        return
    store.change(connection, ident, State.GRANTED, State.CLAIMED, claim=call, expires_at=None, settled_at=event.time)


def overdue(connection: Connection, now: datetime) -> list[str]:
    """Approvals whose waiting is over: pending past the agent's hold time, granted and unclaimed past GRANT_LIFE."""
    return store.overdue(connection, now)


def expire(world: World, ident: str) -> bool:
    """Ends the waiting of one approval if it is over; says whether it was."""
    now = world.clock()
    with world.begin() as tx:
        before = store.get(tx, ident)
        if before is None or before.expires_at is None or before.expires_at > now:
            return False
        if not store.change(tx, ident, before.state, State.EXPIRED, expires_at=None, settled_at=now):
            return False
        expired = replace(before, state=State.EXPIRED, expires_at=None, settled_at=now)
        events.append(tx, [_event(expired, "system:approvals", now)])
    return True


def _event(item: Approval, actor: str, now: datetime) -> Event:
    """The Event of a decision or expiry, in the trace of the held call."""
    return Event(
        id=stable_id("approval", item.id, item.state.value),
        type=_DONE[item.state],
        time=now,
        workspace=item.workspace,
        actor=actor,
        agent=item.agent,
        release=item.release or None,
        instance=item.instance,
        session=item.session,
        trace_id=item.trace_id,
        span_id=item.span_id,
        parent_span_id=item.parent_span_id,
        status=Status.FLAGGED,
        policy_version=item.policy_version or None,
        data={
            "approval_id": item.id,
            "call_id": item.call_id,
            "resource": item.resource,
            "digest": item.digest,
            "policies": list(item.policies),
            "reason": item.reason,
        },
    )
