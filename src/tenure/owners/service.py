"""The verbs of a hand-over: offered by one side, accepted or turned down by the other, both in the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import Thing, permit
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel import values
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event, LifecycleState
from tenure.owners import store
from tenure.owners.checklist import checklist
from tenure.owners.model import (
    MAX_AT_ONCE,
    MAX_NOTE,
    MAX_OFFER_DAYS,
    OFFER_DAYS,
    Checklist,
    HandOver,
    Kind,
    Role,
    State,
)
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord, thing

_GONE = (LifecycleState.RETIRED, LifecycleState.REJECTED)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is offered. ``agents``: which ones; or ``all_of``: every one that this person answers for in that role."""

    to: str
    role: Role = Role.OWNER
    agents: Sequence[str] = ()
    all_of: str = ""
    note: str = ""
    days: int = OFFER_DAYS


# -- reading --------------------------------------------------------------------------------------------------------


def find(
    conn: Connection, actor: Actor, *, state: State | None = None, agent: str | None = None, mine: bool = False
) -> list[HandOver]:
    """Offers of the workspace, the newest first; ``mine``: those that wait for the one who asks, or that they made."""
    permit(actor, "agents:read")
    found = store.find(conn, actor.workspace, state=state, agent=agent)
    who = actor.name.lower()
    return [one for one in found if not mine or who in (f"person:{one.receiver}".lower(), one.offered_by.lower())]


def look(world: World, actor: Actor, ident: str) -> tuple[HandOver, Checklist]:
    """An offer and what comes with it now. Raises Refused (404)."""
    permit(actor, "agents:read")
    with world.read() as conn:
        offer = _the(conn, actor.workspace, ident)
        return offer, checklist(world, conn, registry.the_agent(conn, offer.workspace, offer.agent))


def _the(conn: Connection, workspace: str, ident: str) -> HandOver:
    found = store.get(conn, workspace, ident)
    if found is None:
        raise Refused("unknown_offer", f"There is no offer {ident}.", fix="See `tenure owners offers`.", status=404)
    return found


# -- offering -------------------------------------------------------------------------------------------------------


def offer(world: World, actor: Actor, wish: Wish) -> list[HandOver]:
    """Offers agents to somebody: all of them or none. Twice the same is once. Raises Refused for somebody who cannot
    answer for an agent here, and for an agent that was offered to somebody else already."""
    note = _text(wish.note, "A note")
    if not 1 <= wish.days <= MAX_OFFER_DAYS:
        raise Refused("bad_days", f"An offer is good for 1 to {MAX_OFFER_DAYS} days.", status=422)
    with world.begin() as tx:
        store.alone(tx)
        agents = _meant(tx, actor, wish)
        for agent in agents:
            permit(actor, "agents:offer", thing(agent))
        receiver = able(tx, actor.workspace, wish.to)
        return [
            offer_in(world, tx, actor.name, agent, wish.role, receiver, note=note, days=wish.days) for agent in agents
        ]


def _meant(conn: Connection, actor: Actor, wish: Wish) -> list[AgentRecord]:
    if bool(wish.agents) == bool(wish.all_of):
        raise Refused("bad_request", "Name the agents, or the person whose agents are meant.", status=422)
    if len(wish.agents) > MAX_AT_ONCE:
        raise Refused("too_many", f"At most {MAX_AT_ONCE} agents are offered at once.", status=422)
    if wish.agents:
        return [registry.the_agent(conn, actor.workspace, name) for name in dict.fromkeys(wish.agents)]
    mine = [
        agent
        for agent in registry.list_agents(conn, actor.workspace)
        if agent.state not in _GONE and getattr(agent, wish.role).lower() == wish.all_of.lower()
    ]
    if not mine:
        raise Refused(
            "no_agents",
            f"{wish.all_of} is the {wish.role} of no agent here.",
            fix="See who is: `tenure owners list`.",
            status=404,
        )
    return mine


def able(conn: Connection, workspace: str, email: str) -> str:
    """The address under which somebody can answer for an agent. Raises Refused when they cannot."""
    found = identity.find_person(conn, workspace, email)
    if found is None:
        raise Refused(
            "no_such_person",
            f"Nobody logs in here as {email}.",
            fix=f"Let them in first: `tenure people add {email} --role owner`.",
            status=404,
        )
    if values.Role.OWNER not in found.roles:
        raise Refused(
            "cannot_own",
            f"{found.email} has not the role owner, without which nobody answers for an agent.",
            fix=f"Give it to them: `tenure people add {found.email} --role owner`, with the roles that they have.",
            status=409,
        )
    return found.email


def offer_in(  # noqa: PLR0917 (the parts of one offer)
    world: World,
    tx: Connection,
    by: str,
    agent: AgentRecord,
    role: Role,
    receiver: str,
    *,
    note: str = "",
    days: int = OFFER_DAYS,
    declared: bool = False,
) -> HandOver:
    """One offer, in the caller's transaction, alone. Whether ``by`` may, and ``receiver`` can, the caller knows."""
    giver = getattr(agent, role)
    if agent.state in _GONE:
        raise Refused("agent_gone", f"{agent.name} is {agent.state}: nobody need answer for it.", status=409)
    if giver.lower() == receiver.lower():
        raise Refused("owns_already", f"{receiver} is the {role} of {agent.name} already.", status=409)
    waiting = store.open_offer(tx, agent.workspace, agent.name, role)
    if waiting is not None and waiting.receiver == receiver:
        return waiting
    if waiting is not None:
        raise Refused(
            "offered_already",
            f"{agent.name} was offered to {waiting.receiver}, who has not answered.",
            fix=f"Take that back first: `tenure owners withdraw {waiting.id} --reason WHY`.",
            status=409,
        )
    now = world.clock()
    expires = now + timedelta(days=days)
    made = HandOver(new_id(), agent.workspace, agent.name, role, giver, receiver, note, by, now, expires, declared)
    store.save(tx, made)
    _tell(tx, "handover.offered", by, made, now, {"expires_at": expires.isoformat(), "declared": declared})
    return made


# -- answering ------------------------------------------------------------------------------------------------------


def accept(world: World, actor: Actor, ident: str, seen: str, note: str = "") -> HandOver:
    """Takes on what one was offered. ``seen``: the digest of the checklist that the receiver looked at. From then on
    they answer for the agent. Raises Refused when it has changed since, and when the offer is over."""
    answer = _text(note, "A note")
    with world.begin() as tx:
        store.alone(tx)
        given = _open(tx, actor, ident, "agents:accept", world.clock())
        agent = registry.the_agent(tx, given.workspace, given.agent)
        if getattr(agent, given.role) != given.giver:
            raise Refused(
                "superseded",
                f"{given.giver} is not the {given.role} of {given.agent} any more.",
                fix="Ask who is now to offer it anew.",
                status=409,
            )
        able(tx, given.workspace, given.receiver)
        listed = checklist(world, tx, agent)
        if listed.digest != seen:
            raise Refused(
                "checklist_changed",
                f"What comes with {given.agent} is not what you looked at.",
                fix="Look at it again, and accept what it is now.",
                status=409,
                details={"checklist": listed.digest},
            )
        told: JsonObject = {**listed.declared, "now": listed.now}
        done = _answered(tx, actor, replace(given, checklist=told), State.ACCEPTED, answer, world.clock())
        why = f"handed over by {given.giver}" + (f": {given.note}" if given.note else "")
        _installed(tx, actor, agent, given.role, given.receiver, world.clock(), why)
    return done


def _installed(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, actor: Actor, agent: AgentRecord, role: Role, email: str, now: datetime, why: str
) -> AgentRecord:
    """Somebody answers for an agent from now on, knows it, and whatever was of concern about who did is none any
    more."""
    changed = registry.change_owner(tx, actor, agent, str(role), email, now, why)
    store.confirm(tx, agent.workspace, agent.name, email, now)
    if role is Role.OWNER:
        store.drop_concerns(tx, agent.workspace, agent.name, (Kind.LEFT, Kind.UNCONFIRMED))
    return changed


def decline(world: World, actor: Actor, ident: str, reason: str) -> HandOver:
    """Turns down what one was offered, with a reason. Everything stays as it was."""
    why = _text(reason, "A reason", needed=True)
    with world.begin() as tx:
        store.alone(tx)
        given = _open(tx, actor, ident, "agents:decline", world.clock())
        return _answered(tx, actor, given, State.DECLINED, why, world.clock())


def withdraw(world: World, actor: Actor, ident: str, reason: str) -> HandOver:
    """Takes an offer back, as whoever may make it."""
    why = _text(reason, "A reason", needed=True)
    with world.begin() as tx:
        store.alone(tx)
        given = _the(tx, actor.workspace, ident)
        permit(actor, "agents:offer", thing(registry.the_agent(tx, given.workspace, given.agent)))
        _check_open(given, world.clock())
        return _answered(tx, actor, given, State.WITHDRAWN, why, world.clock())


def _open(tx: Connection, actor: Actor, ident: str, action: str, now: datetime) -> HandOver:
    given = _the(tx, actor.workspace, ident)
    permit(actor, action, Thing(owners=(given.receiver,), agent=given.agent))
    _check_open(given, now)
    return given


def _check_open(given: HandOver, now: datetime) -> None:
    if given.state is not State.OPEN or now >= given.expires_at:
        state = State.EXPIRED if given.state is State.OPEN else given.state
        raise Refused("not_open", f"This offer of {given.agent} is {state}.", fix="Have it offered anew.", status=409)


def _answered(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, actor: Actor, given: HandOver, state: State, answer: str, now: datetime
) -> HandOver:
    done = replace(given, state=state, answered_by=actor.name, answered_at=now, answer=answer)
    store.save(tx, done)
    _tell(tx, f"handover.{state}", actor.name, done, now, {"reason": answer})
    return done


# -- without an offer -----------------------------------------------------------------------------------------------


def take(world: World, actor: Actor, name: str, reason: str) -> AgentRecord:
    """Takes over an agent whose owner has left, as its sponsor or an operator, for oneself. Raises Refused while its
    owner is here: they offer it."""
    why, email = _text(reason, "A reason", needed=True), _own_address(actor)
    with world.begin() as tx:
        store.alone(tx)
        agent = registry.the_agent(tx, actor.workspace, name)
        permit(actor, "agents:take", thing(agent))
        if (agent.workspace, agent.owner.lower()) not in identity.departed(tx):
            raise Refused(
                "has_an_owner",
                f"{agent.owner}, who answers for {name}, has not left.",
                fix=f"Have it offered to you: `tenure owners offer {name} --to {email}`.",
                status=409,
            )
        able(tx, agent.workspace, email)
        waiting = store.open_offer(tx, agent.workspace, agent.name, Role.OWNER)
        if waiting is not None:
            _answered(tx, actor, waiting, State.WITHDRAWN, f"{email} took it over", world.clock())
        return _installed(tx, actor, agent, Role.OWNER, email, world.clock(), f"taken over: {why}")


def confirm(world: World, actor: Actor, name: str) -> datetime:
    """Notes that who asks answers for an agent, and that it is needed. A sponsor's word says the latter only. Returns
    when."""
    email = _own_address(actor)
    with world.begin() as tx:
        agent, now = registry.the_agent(tx, actor.workspace, name), world.clock()
        permit(actor, "agents:confirm", thing(agent))
        store.confirm(tx, agent.workspace, agent.name, email, now)
        store.seen(tx, agent.workspace, agent.name, now)
        over = (Kind.UNCONFIRMED, Kind.INACTIVE) if email == agent.owner.lower() else (Kind.INACTIVE,)
        store.drop_concerns(tx, agent.workspace, agent.name, over)
        data = {"email": email}
        events.append(tx, [_event("owner.confirmed", actor.name, agent.workspace, agent.name, now, data)])
    return now


def _own_address(actor: Actor) -> str:
    kind, _, email = actor.name.partition(":")
    if kind != "person":
        raise Refused("not_a_person", "Only a person answers for an agent.", fix="Log in as a person.", status=403)
    return email


def _text(text: str, what: str, *, needed: bool = False) -> str:
    found = text.strip()
    if (needed and not found) or len(found) > MAX_NOTE or "\x00" in found:
        problem = "is needed" if not found else f"has at most {MAX_NOTE} characters"
        raise Refused("reason_needed", f"{what} {problem}.", fix="Say in a sentence why; it is kept.", status=422)
    return found


def _tell(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, kind: str, by: str, given: HandOver, now: datetime, more: JsonObject
) -> None:
    data = {"handover": given.id, "role": str(given.role), "from": given.giver, "to": given.receiver, **more}
    events.append(tx, [_event(kind, by, given.workspace, given.agent, now, data)])


def _event(  # noqa: PLR0917 (the parts of one fact)
    kind: str, by: str, workspace: str, agent: str, now: datetime, data: JsonObject
) -> Event:
    return Event(id=new_id(), type=kind, time=now, workspace=workspace, actor=by, agent=agent, data=data)


def lapse(world: World, given: HandOver, state: State, why: str) -> bool:
    """Ends an offer that nobody can accept any more, by the clock or because what it speaks of has changed; whether it
    was open."""
    with world.begin() as tx:
        store.alone(tx)
        found = store.get(tx, given.workspace, given.id)
        if found is None or found.state is not State.OPEN:
            return False
        _answered(tx, Actor(given.workspace, "system:owners", frozenset()), found, state, why, world.clock())
    return True
