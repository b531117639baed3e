"""The verbs of prepared calls: keep, decide, claim, settle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from tenure.base import events, log
from tenure.base.access import permit
from tenure.base.room import World
from tenure.drafts import store
from tenure.drafts.model import (
    CLAIM_LIFE,
    MAX_ARGUMENTS,
    MAX_REASON,
    RELEASE_LIFE,
    Choice,
    Draft,
    State,
    check_executable,
    check_open,
    check_person,
    draft_of,
    fact,
)
from tenure.kernel.drafts import DraftFact
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject, digest
from tenure.kernel.values import Actor, Event, Principal, Status
from tenure.registry import service as registry
from tenure.registry.model import agent_fact, thing

logger = log.get("drafts")
MAX_OPEN = 1000
"""How many prepared calls of one agent wait at once; what comes on top is not kept."""
_TOLD = {Choice.EXECUTE: "draft.released", Choice.DISCARD: "draft.discarded", Choice.ELSEWHERE: "draft.elsewhere"}
_AFTER = {Choice.EXECUTE: State.RELEASED, Choice.DISCARD: State.DISCARDED, Choice.ELSEWHERE: State.ELSEWHERE}


def facts(connection: Connection) -> dict[str, DraftFact]:
    """What gateways need to know, by id: prepared calls that they are to make."""
    return {
        item.id: fact(item, msgspec.convert(item.principal, Principal, strict=False))
        for item in store.released(connection)
    }


# --- what gateways tell -----------------------------------------------------------------------------------------------


def take(connection: Connection, news: Sequence[Event]) -> None:
    """Keeps what was prepared, gives what was released to the first gateway that asks, notes what came of it."""
    for event in news:
        if event.type == "draft.claimed":
            _claim(connection, event)
        elif (ident := event.data.get("tenure.draft.id")) is not None:
            _settle(connection, event, str(ident))
        elif event.type == "call.refused" and "tenure.draft" in event.data:
            _keep(connection, event)


def _keep(connection: Connection, event: Event) -> None:
    item = draft_of(event)
    if item is None:
        logger.warning("a prepared call cannot be read", event_id=event.id)
    elif not store.again(connection, item):
        if store.waiting(connection, item.workspace, item.agent) >= MAX_OPEN:
            logger.warning("too many prepared calls of one agent wait", workspace=item.workspace, agent=item.agent)
        else:
            store.insert(connection, item)


def _claim(connection: Connection, event: Event) -> None:
    ident, claim = event.data.get("draft"), event.data.get("claim")
    found = store.get(connection, str(ident), event.workspace)
    if found is not None and isinstance(claim, str) and 0 < len(claim) <= 64:
        store.change(connection, found.id, State.RELEASED, State.CLAIMED, claim=claim)


def _settle(connection: Connection, event: Event, ident: str) -> None:
    """Notes what came of a call that was made in the agent's place."""
    found = store.get(connection, ident, event.workspace)
    if found is None or found.agent != event.agent:
        logger.warning("a call is told of as a draft's that there is not", event_id=event.id, draft=ident)
        return
    data = event.data
    decision = data.get("tenure.decision")
    after = State.REFUSED
    outcome: dict[str, Any] = {"reason": decision.get("reason", "") if isinstance(decision, dict) else ""}
    if event.type == "call.completed":
        after = State.FAILED if data.get("error.type") else State.DONE
        outcome = {"result": data.get("gen_ai.tool.call.result"), "error": data.get("error.type") or ""}
    for before in (State.CLAIMED, State.UNKNOWN):
        if store.change(connection, ident, before, after, outcome=outcome, event=event.id):
            return


# --- what people do ---------------------------------------------------------------------------------------------------


def find(
    world: World,
    actor: Actor,
    *,
    state: State | None = None,
    agent: str | None = None,
    work: str | None = None,
    limit: int = 200,
) -> list[Draft]:
    """Prepared calls, newest first; ``work``: of one task or session."""
    permit(actor, "drafts:read")
    with world.read() as connection:
        return store.find(connection, actor.workspace, state, agent, work, limit)


def get(world: World, actor: Actor, ident: str) -> Draft:
    """One. Raises Refused 404."""
    permit(actor, "drafts:read")
    with world.read() as connection:
        return _the(connection, actor, ident)


def _the(connection: Connection, actor: Actor, ident: str) -> Draft:
    found = store.get(connection, ident, actor.workspace)
    if found is None:
        raise Refused(
            "unknown_draft", f"There is no draft {ident}.", fix="`tenure drafts list` lists them.", status=404
        )
    return found


def decide(  # noqa: PLR0917 (one answer: who, to what, how, why)
    world: World,
    actor: Actor,
    ident: str,
    choice: Choice,
    shown: str,
    reason: str = "",
    arguments: JsonObject | None = None,
) -> Draft:
    """A person's answer to the call whose digest was ``shown``: make it, with other ``arguments`` if given; throw it
    away; or it was done by other means. It is made once, by one gateway, if policy lets it pass then. Raises Refused:
    403 for whoever may not, 404, 409 when it does not wait any more, 422 for what cannot be made from here or lacks a
    reason."""
    check_person(actor)
    now, said = world.clock(), reason.strip()
    if len(said) > MAX_REASON or (not said and (choice is not Choice.EXECUTE or arguments is not None)):
        raise Refused("reason_required", "This needs a reason; it is kept.", fix="Say why, in a sentence.", status=422)
    if arguments is not None:
        _check_arguments(choice, arguments)
    with world.begin() as tx:
        before = _the(tx, actor, ident)
        record = registry.get_agent(tx, actor.workspace, before.agent)
        permit(actor, "drafts:decide", thing(record)) if record is not None else permit(actor, "drafts:decide")
        check_open(before, shown)
        if choice is Choice.EXECUTE:
            servers = agent_fact(record).servers if record is not None else ()
            own = {server.name for server in servers if server.in_process}
            check_executable(before, arguments, in_process=before.resource.partition("/")[0] in own)
        values: dict[str, Any] = {"decided_by": actor.name, "decided_at": now, "reason": said, "edited": arguments}
        if not store.change(tx, ident, State.OPEN, _AFTER[choice], **values):
            check_open(_the(tx, actor, ident), shown)
        after = replace(before, state=_AFTER[choice], **values)
        events.append(tx, [_event(after, _TOLD[choice], actor.name, now)])
    return after


def _check_arguments(choice: Choice, arguments: JsonObject) -> None:
    if choice is not Choice.EXECUTE:
        raise Refused("bad_choice", "Arguments are given to make a call with.", fix="Leave them out.", status=422)
    try:
        digest(arguments)
    except ValueError as error:
        raise Refused("bad_arguments", f"These arguments cannot be bound to a call: {error}", status=422) from None
    if len(msgspec.json.encode(arguments)) > MAX_ARGUMENTS:
        raise Refused("bad_arguments", f"Arguments are at most {MAX_ARGUMENTS >> 10} KiB.", status=422)


def overdue(connection: Connection, now: datetime) -> list[str]:
    """Those that no gateway took in time, or whose gateway is silent, as ``workspace/id``."""
    late = store.overdue(connection, now - RELEASE_LIFE, now - CLAIM_LIFE)
    return [f"{row.workspace}/{row.id}" for row in late]


def give_up(world: World, key: str) -> bool:
    """Takes back what no gateway took, and says of what one took that nothing is known; says whether it did."""
    workspace, _, ident = key.partition("/")
    now = world.clock()
    with world.begin() as tx:
        found = store.get(tx, ident, workspace)
        if found is None or found.decided_at is None:
            return False
        if found.state is State.RELEASED and found.decided_at <= now - RELEASE_LIFE:
            if not store.change(tx, ident, State.RELEASED, State.OPEN):
                return False
            events.append(tx, [_event(found, "draft.returned", "system:drafts", now)])
            return True
        if found.state is not State.CLAIMED or found.decided_at > now - CLAIM_LIFE:
            return False
        return store.change(tx, ident, State.CLAIMED, State.UNKNOWN)


def _event(item: Draft, kind: str, actor: str, now: datetime) -> Event:
    """The Event of a decision, in the trace of the prepared call, with what the call was and is."""
    data: dict[str, Any] = {
        "draft": item.id,
        "kind": item.kind,
        "resource": item.resource,
        "digest": item.digest,
        "reason": item.reason,
        "arguments": item.arguments,
    }
    if item.edited is not None:
        data["edited"] = item.edited
    if person := item.principal.get("on_behalf_of"):
        data["enduser.id"] = person  # whom what was prepared is about
    return Event(
        id=new_id(),
        type=kind,
        time=now,
        workspace=item.workspace,
        actor=actor,
        agent=item.agent,
        release=item.release or None,
        session=item.session,
        trace_id=item.trace_id,
        span_id=item.span_id,
        status=Status.FLAGGED,
        policy_version=item.policy_version or None,
        data=data,
    )


def settled(connection: Connection, workspace: str) -> list[str]:
    """The ids (those of the Events that told of them) of prepared calls that nobody waits for and that still tell what
    was prepared."""
    return store.settled(connection, workspace)


def forget_content(connection: Connection, workspace: str, idents: Sequence[str]) -> int:
    """Forgets the arguments, the outcome and the person of those that nobody waits for; how many there were."""
    return store.forget_content(connection, workspace, idents)
