"""Flows: offers that a manifest declares are made, and those that are over end; agents that nobody answers for are
looked after; and when agents were last at work is noted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base.room import Flow, World
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.values import LifecycleState
from tenure.owners import service, store, watching
from tenure.owners.model import HandOver, Kind, Role, State, Terms
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord

_GONE = (LifecycleState.RETIRED, LifecycleState.REJECTED)


def _declared(conn: Connection) -> Iterator[tuple[AgentRecord, Role, str]]:
    """Who is declared to answer for an agent, and was not offered it since."""
    for agent in registry.waiting_for_owners(conn):
        for role in Role:
            to: str | None = getattr(agent, f"pending_{role}")
            since = agent.pending_since
            if to is None or since is None or agent.state in _GONE:
                continue
            waiting = store.open_offer(conn, agent.workspace, agent.name, role)
            if waiting is None and not store.offered_since(conn, agent, role, to, since):
                yield agent, role, to


def find_declared(conn: Connection, _now: datetime) -> Sequence[str]:
    """Agents of which somebody else is declared to be owner or sponsor, as ``<workspace>/<name>/<role>``. Somebody who
    cannot answer for an agent is offered none until they can."""
    found = []
    for agent, role, to in _declared(conn):
        try:
            service.able(conn, agent.workspace, to)
        except Refused:
            continue
        found.append(f"{agent.workspace}/{agent.name}/{role}")
    return found


def offer_declared(world: World, key: str) -> bool:
    """Makes the offer that a manifest declares."""
    workspace, name, role = key.split("/")
    with world.begin() as tx:
        store.alone(tx)
        for agent, wanted, to in _declared(tx):
            if (agent.workspace, agent.name, str(wanted)) == (workspace, name, role):
                receiver = service.able(tx, workspace, to)
                by = agent.pending_by or "system:owners"
                service.offer_in(world, tx, by, agent, wanted, receiver, note="Declared in its manifest", declared=True)
                return True
    return False


def _over(conn: Connection, now: datetime) -> Iterator[tuple[HandOver, State, str]]:
    for given in store.every_open(conn):
        agent = registry.get_agent(conn, given.workspace, given.agent)
        if now >= given.expires_at:
            yield given, State.EXPIRED, "nobody answered in time"
        elif agent is None or agent.state in _GONE:
            yield given, State.WITHDRAWN, "the agent's working life is over"
        elif getattr(agent, given.role) != given.giver:
            yield given, State.WITHDRAWN, f"{given.giver} is not its {given.role} any more"
        elif given.declared and (getattr(agent, f"pending_{given.role}") or "").lower() != given.receiver.lower():
            yield given, State.WITHDRAWN, "its manifest does not declare it any more"


def find_over(conn: Connection, now: datetime) -> Sequence[str]:
    """Offers that nobody can accept any more, as ``<workspace>/<id>``."""
    return [f"{given.workspace}/{given.id}" for given, _, _ in _over(conn, now)]


def end(world: World, key: str) -> bool:
    """Ends one."""
    with world.read() as conn:
        found = [one for one in _over(conn, world.clock()) if f"{one[0].workspace}/{one[0].id}" == key]
    return bool(found) and service.lapse(world, *found[0])


def find_left(conn: Connection, _now: datetime) -> Sequence[str]:
    """Agents whose owner has left and of which nobody was told, as ``<workspace>/<name>``."""
    departed = identity.departed(conn)
    if not departed:
        return []
    told = {(one.workspace, one.agent) for one in store.concerns(conn) if one.kind is Kind.LEFT}
    return [
        f"{workspace}/{name}"
        for workspace, name, owner in registry.owners(conn)
        if (workspace, owner.lower()) in departed and (workspace, name) not in told
    ]


def find_all(_conn: Connection, _now: datetime) -> Sequence[str]:
    """Everything that may be due by the settings' own times."""
    return ["all"]


def look_after_all(world: World, _key: str) -> bool:
    """Looks after every agent of which something is new, over or due; whether there was one."""
    done = [watching.look_after(world, key) for key in _due(world)]
    return any(done)


def any_due(world: World, _key: str) -> bool:
    """Whether there is one."""
    return bool(_due(world))


def _due(world: World) -> list[str]:
    with world.read() as conn:
        return watching.due(conn, Terms.of(world.config), world.clock())


def note_activity(world: World, _key: str) -> bool:
    """Notes when agents were last at work. Never the beginning of a further step."""
    watching.note_activity(world)
    return False


DECLARED = Flow("owners.declared", find_declared, offer_declared, every=1.0)
OFFERS = Flow("owners.offers", find_over, end, every=1.0)
LEFT = Flow("owners.left", find_left, watching.look_after, every=2.0)
LOOK = Flow("owners.look", find_all, look_after_all, every=60.0, calls_for=any_due)
ACTIVITY = Flow("owners.activity", find_all, note_activity, every=3600.0)
