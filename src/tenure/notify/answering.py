"""Answers by link: a link is one person's, for one held call as it is, once, for a while; and the person must still be
one who may decide when it is used."""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from tenure.approvals import service as approvals
from tenure.approvals.model import Approval, State, check_answer, check_pending
from tenure.base import events
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Status
from tenure.notify import store
from tenure.notify.model import LINK_LIFE, Delivery, Link, check_link, link_hash

_PREFIX = "tna_"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a link is about, and whose it is."""

    approval: Approval
    person: str
    expires_at: datetime


def link_for(world: World, delivery: Delivery, person: str) -> str:
    """A new link for a message about a held call, empty when the person may not decide it or it waits no more. Nobody
    but the message ever has it: only its hash is kept."""
    now = world.clock()
    try:
        held = approvals.get(world, delivery.workspace, delivery.approval)
    except Refused:
        return ""
    with world.read() as conn:
        actor = identity.person_actor(conn, delivery.workspace, person)
        if actor is None or not approvals.may_answer(conn, actor, held, now):
            return ""
    token = _PREFIX + randomness.token_urlsafe(32)
    until = min(now + LINK_LIFE, held.expires_at or now + LINK_LIFE)
    link = Link(link_hash(token), delivery.workspace, held.id, held.covers, person, delivery.id, until)
    with world.begin() as tx:
        store.add_link(tx, link)
    return f"{base_url(world)}/answer?link={token}"


def base_url(world: World) -> str:
    """Where people reach the console."""
    return world.config.public_url.rstrip("/") or world.config.control_url


def waits(world: World, delivery: Delivery) -> bool:
    """Whether the held call that a message is about still waits; True while it is not known here yet."""
    try:
        held = approvals.get(world, delivery.workspace, delivery.approval)
    except Refused:
        return True
    over = held.expires_at is not None and held.expires_at <= world.clock()
    return held.state is State.PENDING and not over


def look(world: World, token: str) -> Shown:
    """What a link is about; looking uses nothing up. Raises Refused: 410 for a spent link, 403 for a person who may not
    decide any more, 409 when the call does not wait any more."""
    _, shown = _open(world, token)
    return shown


def answer(world: World, token: str, grant: bool, reason: str) -> Approval:
    """Decides as the person whose link it is. Raises Refused as ``look``, and 400 for a rejection without a reason."""
    link, shown = _open(world, token)
    now = world.clock()
    with world.begin() as tx:
        actor = _person(tx, link)
        check_answer(actor, grant, reason)
        approvals.check_may(tx, actor, shown.approval, grant, now)
        if not store.use_link(tx, link.hash, now):
            check_link(None, now)
        events.append(tx, [_told(link, shown.approval, grant, now)])
    return approvals.decide(world, actor, link.approval, grant, reason, shown=link.digest)


def _open(world: World, token: str) -> tuple[Link, Shown]:
    now = world.clock()
    with world.read() as conn:
        link = check_link(store.link(conn, link_hash(token)) if token.startswith(_PREFIX) else None, now)
        actor = _person(conn, link)
    held = approvals.get(world, link.workspace, link.approval)
    if held.covers != link.digest:
        check_link(None, now)
    check_pending(held, now)
    with world.read() as conn:
        approvals.check_may(conn, actor, held, True, now)
    return link, Shown(held, link.person, link.expires_at)


def _person(conn: Connection, link: Link) -> Actor:
    actor = identity.person_actor(conn, link.workspace, link.person)
    if actor is None:
        raise Refused("not_permitted", "Whoever this link was for has no place here any more.", status=403)
    return actor


def _told(link: Link, held: Approval, grant: bool, now: datetime) -> Event:
    data: dict[str, Any] = {"approval_id": held.id, "decision": "approve" if grant else "reject", "digest": held.digest}
    return Event(
        id=new_id(),
        type="notify.answered",
        time=now,
        workspace=link.workspace,
        actor=f"person:{link.person}",
        agent=held.agent,
        trace_id=held.trace_id,
        status=Status.FLAGGED,
        data=data | {"delivery": link.delivery},
    )
