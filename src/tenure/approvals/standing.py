"""Under which right somebody answers a held call, and the verbs of stand-ins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from tenure.approvals import standin_store
from tenure.approvals.model import Approval, Right, address, check_right
from tenure.approvals.standins import MOST, StandIn, checked
from tenure.base import events
from tenure.base.access import may, permit
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.values import Actor, Event, Status
from tenure.registry import service as registry

_ALL = 1000


def right_of(  # noqa: PLR0917 (one answer: of whom, to what, which, for whom, when)
    conn: Connection, actor: Actor, item: Approval, grant: bool, for_: str, now: datetime
) -> Right:
    """The right under which ``actor`` gives this answer: their own, else one that was handed to them; ``for_`` names
    whose it is to be. Raises Refused (403, 409) when none reaches."""
    record = registry.get_agent(conn, item.workspace, item.agent)
    owners = [one.lower() for one in (record.owner, record.sponsor)] if record is not None else []
    first: Refused | None = None
    for right in _rights(conn, actor, item, now):
        if for_ and right.holder != for_.lower():
            continue
        try:
            check_right(item, right, grant, owners)
        except Refused as refused:
            first = first or refused
        else:
            return right
    if first is None and for_:
        first = Refused(
            "no_stand_in",
            f"{for_[:254]} has not handed the answer to this call to {address(actor.name)}.",
            fix="`tenure approvals stand-in list` shows who stands in for whom.",
            status=403,
        )
    if first is None:
        permit(actor, "approvals:decide")
    assert first is not None  # noqa: S101 (whoever is permitted has a right of their own, and it did not reach)
    raise first


def check_decider(conn: Connection, actor: Actor, now: datetime) -> None:
    """Raises Refused (403) for whoever may answer no held call at all."""
    me = address(actor.name)
    if not any(
        one.stand_in == me and one.in_force(now) for one in standin_store.find(conn, actor.workspace, now, _ALL)
    ):
        permit(actor, "approvals:decide")


def _rights(conn: Connection, actor: Actor, item: Approval, now: datetime) -> Iterator[Right]:
    me = address(actor.name)
    if may(actor, "approvals:decide"):
        yield Right(me, me, frozenset(role.value for role in actor.roles))
    if not may(actor, "approvals:stand_in"):
        return
    for one in standin_store.find(conn, actor.workspace, now, _ALL):
        if one.stand_in == me and one.covers(item.agent, item.resource, now):
            holder = identity.person_actor(conn, actor.workspace, one.person)
            if holder is not None and may(holder, "approvals:decide"):
                yield Right(me, one.person, frozenset(role.value for role in holder.roles))


def answerers(conn: Connection, workspace: str, agent: str, resource: str, at: datetime | None) -> list[str]:
    """The addresses of everybody who may decide held calls, and, at a moment, of those who stand in for one of them for
    calls of this agent to this resource."""
    people = {address(one.name): one for one in identity.people_actors(conn, workspace)}
    deciders = [name for name, one in people.items() if may(one, "approvals:decide")]
    standing_in = [
        one.stand_in
        for one in (standin_store.find(conn, workspace, at, _ALL) if at is not None else ())
        if at is not None and one.person in deciders and one.stand_in in people and one.covers(agent, resource, at)
    ]
    return list(dict.fromkeys([*deciders, *standing_in]))


# -- the verbs of stand-ins
def hand_over(world: World, actor: Actor, wanted: StandIn) -> StandIn:
    """Has ``wanted.stand_in`` answer for ``actor``. Raises Refused: 403 for whoever may not decide held calls
    themselves (a stand-in hands nothing on), 422 for nobody of this workspace or a time that is none, 409 for too
    many."""
    permit(actor, "approvals:hand_over")
    now = world.clock()
    item = checked(wanted, now)
    with world.begin() as tx:
        if identity.person_actor(tx, actor.workspace, item.stand_in) is None:
            raise Refused(
                "no_such_person",
                f"There is no {item.stand_in[:254]} in this workspace.",
                fix="Add them: `tenure people add`; the role viewer is enough to stand in.",
                status=422,
            )
        if sum(one.person == item.person for one in standin_store.find(tx, actor.workspace, now, _ALL)) >= MOST:
            raise Refused("too_many", f"Nobody has more than {MOST} stand-ins.", fix="End one.", status=409)
        standin_store.insert(tx, item)
        events.append(tx, [_event(item, "approval.handed_over", actor.name, now)])
    return item


def drawn_up(  # noqa: PLR0917 (the parts of one row)
    actor: Actor,
    stand_in: str,
    agents: tuple[str, ...],
    tools: tuple[str, ...],
    begins_at: datetime,
    ends_at: datetime,
    reason: str,
    now: datetime,
) -> StandIn:
    """What ``actor`` hands over, not kept yet."""
    return StandIn(
        id=new_id(),
        workspace=actor.workspace,
        person=address(actor.name),
        stand_in=stand_in.lower(),
        agents=agents,
        tools=tools,
        begins_at=begins_at,
        ends_at=ends_at,
        reason=reason.strip(),
        made_at=now,
    )


def take_back(world: World, actor: Actor, ident: str) -> StandIn:
    """Ends one before its time: by either of the two, or by whoever manages people. Raises Refused (403, 404, 409)."""
    now = world.clock()
    with world.begin() as tx:
        item = standin_store.get(tx, actor.workspace, ident)
        if item is None:
            raise Refused(
                "unknown_stand_in",
                f"There is no stand-in {ident[:64]}.",
                fix="`tenure approvals stand-in list` shows them.",
                status=404,
            )
        if not (address(actor.name) in (item.person, item.stand_in) and may(actor, "approvals:stand_in")):
            permit(actor, "people:manage")
        if item.ends_at <= now or not standin_store.end(tx, ident, now, actor.name):
            raise Refused("stand_in_over", f"Stand-in {ident} is over already.", status=409)
        events.append(tx, [_event(item, "approval.hand_over_ended", actor.name, now)])
    return replace(item, ended_at=now, ended_by=actor.name)


def stand_ins(world: World, workspace: str, everything: bool) -> list[StandIn]:
    """Who stands in for whom, the newest first: now and from a later moment on, or all that there ever were."""
    with world.read() as conn:
        return standin_store.find(conn, workspace, None if everything else world.clock(), _ALL)


def over(conn: Connection, now: datetime) -> list[str]:
    """Those whose time is over."""
    return list(standin_store.over(conn, now))


def note_over(world: World, key: str) -> bool:
    """Notes that the time of one is over. It answers nothing from that moment on whether this has been noted or not."""
    workspace, _, ident = key.partition("/")
    now = world.clock()
    with world.begin() as tx:
        item = standin_store.get(tx, workspace, ident)
        if item is None or item.ends_at > now or not standin_store.end(tx, ident, item.ends_at, "system:approvals"):
            return False
        events.append(tx, [_event(item, "approval.hand_over_ended", "system:approvals", now)])
    return True


def _event(item: StandIn, kind: str, actor: str, now: datetime) -> Event:
    data: dict[str, Any] = {
        "stand_in": item.stand_in,
        "for": item.person,
        "agents": list(item.agents),
        "tools": list(item.tools),
        "begins_at": item.begins_at.isoformat(),
        "ends_at": item.ends_at.isoformat(),
        "reason": item.reason,
    }
    ident = stable_id(kind, item.id)
    return Event(ident, kind, now, item.workspace, actor, status=Status.FLAGGED, data=data)
