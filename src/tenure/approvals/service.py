"""The verbs of approvals: ask, decide, claim, expire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from tenure.approvals import escalation, standing, store
from tenure.approvals.advice import ADVICE_LOOKS_BACK, against
from tenure.approvals.batches import Batch, batch_id, batches
from tenure.approvals.editing import changed, check_shown
from tenure.approvals.load import Load, loads
from tenure.approvals.model import (
    DEFAULT_HOLD_S,
    FACT_LIFE,
    GRANT_LIFE,
    MAX_ANSWERED,
    MAX_LOOKED_AT,
    Answered,
    Approval,
    Given,
    Right,
    State,
    address,
    check_answer,
    check_pending,
    complete,
    fact,
)
from tenure.approvals.telling import edit_of, event_of
from tenure.base import events, log
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.snapshot import ApprovalFact
from tenure.kernel.values import Actor, Event
from tenure.registry import service as registry
from tenure.registry.model import agent_fact

logger = log.get("approvals")


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


def forget_content(connection: Connection, workspace: str, idents: Sequence[str]) -> int:
    """Forgets the arguments and the justification of those of these calls that are settled; how many there were."""
    return store.forget_content(connection, workspace, idents)


def expire_content(connection: Connection, before: datetime) -> int:
    """As ``forget_content``, of all that were asked for before a time."""
    return store.expire_content(connection, before)


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
    arguments = data.get("arguments")
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
        policies=_texts(data.get("policies")),
        session=event.session,
        instance=event.instance,
        trace_id=event.trace_id,
        span_id=event.span_id,
        parent_span_id=event.parent_span_id,
        requested_at=event.time,
        expires_at=event.time + timedelta(seconds=known.hold_timeout_s if known else DEFAULT_HOLD_S),
        justification=_text(data.get("justification")),
        notes=_texts(data.get("notes")),
        grounds=_text(data.get("grounds")),
        on_behalf_of=_text(data.get("on_behalf_of")) or None,
        demands=_texts(data.get("demands")),
        chain=_texts(data.get("tenure.chain")),
        task=_text(data.get("tenure.chain.task")) or None,
    )
    before = store.rejected(connection, item, item.requested_at - ADVICE_LOOKS_BACK)
    exact = data.get("editable")
    item = replace(item, editable=isinstance(exact, str) and _is(item.arguments, exact))
    item = replace(item, against=against(data, before), invited=_may_alone(connection, item))
    store.insert(connection, escalation.taken(connection, item))


def _may_alone(conn: Connection, item: Approval) -> bool:
    """Whether the person for whom a call is made could approve it, and nobody else would be needed."""
    if not item.on_behalf_of or item.takes > 1:
        return False
    who = identity.person_actor(conn, item.workspace, address(item.on_behalf_of))
    return who is not None and may_answer(conn, who, item, item.requested_at)


def _is(arguments: JsonObject, exact: str) -> bool:
    try:
        return digest(arguments) == exact
    except ValueError:
        return False


def _text(value: Any) -> str:
    return value.replace("\x00", "") if isinstance(value, str) else ""  # PostgreSQL's text knows no NUL


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(one) for one in value) if isinstance(value, list | tuple) else ()


def decide(  # noqa: PLR0917 (one answer: who, to what, how, why, for whom)
    world: World,
    actor: Actor,
    ident: str,
    grant: bool,
    reason: str = "",
    for_: str = "",
    *,
    shown: str = "",
    arguments: JsonObject | None = None,
) -> Approval:
    """A person's answer, under their own right or one that was handed to them; ``for_`` says whose. A call that takes
    more than one person goes on waiting until all of them have approved it; one no ends it. ``arguments`` are to take
    the place of the agent's (``approvals.editing``), ``shown`` is the digest of the call that the person was shown.
    Raises Refused: 403 for whoever may not, 404, 409 when it does not wait any more or is another call than was shown,
    400 for a rejection without a reason, 422 for arguments that cannot be."""
    check_answer(actor, grant, reason)
    with world.begin() as tx:
        return _decide(tx, actor, ident, grant, reason, world.clock(), for_=for_, shown=shown, arguments=arguments)


def may_answer(conn: Connection, actor: Actor, item: Approval, now: datetime) -> bool:
    """Whether ``actor`` could approve this held call as it stands."""
    try:
        check_pending(item, now)
        check_may(conn, actor, item, True, now)
    except Refused:
        return False
    return True


def check_may(conn: Connection, actor: Actor, item: Approval, grant: bool, now: datetime) -> None:
    """Raises Refused (403, 409) when ``actor`` cannot give this answer, by whatever right."""
    standing.right_of(conn, actor, item, grant, "", now)


def refusal(world: World, actor: Actor, item: Approval) -> str:
    """Why ``actor`` could not approve this held call as it stands, in words; empty where they could, or where it does
    not wait any more."""
    now = world.clock()
    try:
        check_pending(item, now)
    except Refused:
        return ""
    try:
        check_answer(actor, True, "")
        with world.read() as conn:
            check_may(conn, actor, item, True, now)
    except Refused as refused:
        return f"{refused.message} {refused.fix}".strip()
    return ""


def answerers(conn: Connection, workspace: str, agent: str, resource: str, at: datetime | None) -> list[str]:
    """The addresses of everybody who may decide held calls, and, at a moment, of those who stand in for one of them for
    calls of this agent to this resource."""
    return standing.answerers(conn, workspace, agent, resource, at)


def _decide(  # noqa: PLR0917 (one answer: who, to what, how, why, when)
    tx: Connection,
    actor: Actor,
    ident: str,
    grant: bool,
    reason: str,
    now: datetime,
    *,
    shown: str = "",
    answer: str | None = None,
    for_: str = "",
    arguments: JsonObject | None = None,
) -> Approval:
    """``shown``: the digest of the call that the person was shown, where it may be another than the one that waits."""
    before = store.get(tx, ident, actor.workspace)
    if before is None:
        raise _unknown(ident)
    check_pending(before, now)
    check_shown(before, shown, grant and arguments is None)
    asked = before if arguments is None else changed(before, arguments, grant, reason)
    right = standing.right_of(tx, actor, asked, grant, for_, now)
    decided = _answered(asked, right, grant, reason.strip(), now)
    values: dict[str, Any] = {"expires_at": decided.expires_at}
    if asked is not before:
        values["edited"] = asked.edited
    if decided.state is not State.PENDING:
        values |= {"decided_at": now, "decided_by": actor.name, "reason": decided.reason, "answer": answer}
        values |= {"decided_for": decided.decided_for, "settled_at": decided.settled_at}
    if not store.change(tx, ident, State.PENDING, decided.state, given=(before.given, decided.given), **values):
        check_pending(store.get(tx, ident, actor.workspace) or before, now)  # PostgreSQL: another committed in between
        raise Refused(
            "answered_meanwhile",
            f"Somebody else answered approval {ident} at the same moment.",
            fix="Look at what they said, and answer again.",
            status=409,
        )
    decided = replace(decided, **values)
    told = [edit_of(before, decided, actor.name, reason.strip(), now)] if asked is not before else []
    told.append(event_of(decided, actor.name, now, stands_for=right.holder if right.stands_in else ""))
    events.append(tx, told)
    return decided


def _answered(before: Approval, right: Right, grant: bool, reason: str, now: datetime) -> Approval:
    """What an answer makes of it."""
    decided_for = f"person:{right.holder}" if right.stands_in else None
    if not grant:
        return replace(
            before, state=State.REJECTED, reason=reason, expires_at=None, settled_at=now, decided_for=decided_for
        )
    one = Given(right.by, right.holder, tuple(sorted(right.roles)), now, reason)
    given = replace(before, given=(*before.given, one))
    if not complete(given):
        return given
    return replace(given, state=State.GRANTED, reason=reason, expires_at=now + GRANT_LIFE, decided_for=decided_for)


def waiting(world: World, workspace: str, agent: str | None = None) -> list[Batch]:
    """The calls that wait for a person, alike ones together; the batch with the oldest call first."""
    now = world.clock()
    with world.read() as connection:
        found = store.pending(connection, workspace, agent, now)
    return batches(found)


def load(world: World, workspace: str, days: float, quick_s: float) -> tuple[list[Approval], list[Load]]:
    """(what waits now, the oldest first; who decided how much in the last ``days``)."""
    now = world.clock()
    with world.read() as connection:
        open_now = store.pending(connection, workspace, None, now)
        found = store.decided(connection, workspace, now - timedelta(days=days), MAX_LOOKED_AT)
    return open_now, loads(found, quick_s)


def answer(  # noqa: PLR0917 (one answer: who, to what, how, why, for whom)
    world: World, actor: Actor, chosen: Sequence[tuple[str, str]], grant: bool, reason: str, for_: str = ""
) -> list[Answered]:
    """One answer of a person for several alike calls, ``chosen`` as (approval, the digest of the call that was shown).

    Each is decided by itself, for exactly its own digest; what came of each is told, in the order of ``chosen``: one
    that ran out or was decided meanwhile is left as it is and stops none of the others. Raises Refused: 403 for whoever
    may not, 422 for none, too many, or calls that are not alike (nothing is decided then), 400 as ``decide``."""
    check_answer(actor, grant, reason)
    if not 0 < len(chosen) <= MAX_ANSWERED:
        raise Refused(
            "bad_choice", f"One answer is for 1 to {MAX_ANSWERED} calls.", fix="Choose fewer, or one.", status=422
        )
    now, ident = world.clock(), new_id()
    out = []
    with world.begin() as tx:
        standing.check_decider(tx, actor, now)
        known = {item.id: item for item in store.several(tx, [one for one, _ in chosen], actor.workspace)}
        if len({batch_id(item) for item in known.values()}) > 1:
            raise Refused(
                "not_alike",
                "These calls are not alike: one answer is for calls of one agent to one resource, held by the same "
                "policies.",
                fix="`tenure approvals batches` shows what belongs together.",
                status=422,
            )
        for one, seen in chosen:
            try:
                state = _decide(tx, actor, one, grant, reason, now, shown=seen, answer=ident, for_=for_).state
                out.append(Answered(one, state, "", ""))
            except Refused as refused:
                was = known.get(one)
                out.append(Answered(one, was.state if was else None, refused.code, refused.message))
    return out


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
    """Ends the waiting of one approval if it is over, as its ladder says or else by a denial; says whether it was."""
    now = world.clock()
    with world.begin() as tx:
        before = store.get(tx, ident)
        if before is None or before.expires_at is None or before.expires_at > now:
            return False
        over: dict[str, Any] = {"expires_at": None, "settled_at": now}
        after = State.EXPIRED
        if before.state is State.PENDING and before.escalation is not None and escalation.goes_on(tx, before):
            after = State.GRANTED
            by, ladder = before.escalation.set_by, before.escalation.ladder
            reason = f"Nobody answered in time; ladder {ladder}, set by {by}, lets it go on."
            over = {"expires_at": now + GRANT_LIFE, "decided_at": now, "decided_by": escalation.SELF, "reason": reason}
        if not store.change(tx, ident, before.state, after, **over):
            return False
        events.append(tx, [event_of(replace(before, state=after, **over), escalation.SELF, now)])
    return True
