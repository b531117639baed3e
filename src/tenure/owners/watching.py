"""Looking after agents that nobody answers for: found, told, and suspended when the stated time is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event, LifecycleState, Role
from tenure.owners import store
from tenure.owners.model import Concern, Kind, Signs, Terms, concerns, suspends, why_suspended
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord
from tenure.runtime import service as runtime
from tenure.telemetry import service as telemetry


@dataclass(frozen=True, slots=True)
class Standing:
    """Who answers for an agent, as far as it is known. ``here``: the owner has a place in the workspace; ``left_at``:
    they had one; ``confirm_by``: when they must have said again that they answer for it."""

    here: bool
    left_at: datetime | None
    confirmed_at: datetime | None
    confirm_by: datetime | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that concerns are made of, read at once."""

    departed: Mapping[tuple[str, str], datetime]
    confirmed: Mapping[tuple[str, str, str], datetime]
    active: Mapping[tuple[str, str], datetime]
    heard: Mapping[tuple[str, str], datetime]

    @classmethod
    def read(cls, conn: Connection) -> _Seen:
        """As it is now."""
        return cls(identity.departed(conn), store.confirmations(conn), store.activity(conn), runtime.last_heard(conn))

    def signs(self, agent: AgentRecord) -> Signs:
        """Of one agent."""
        at, owner = (agent.workspace, agent.name), agent.owner.lower()
        times = [time for time in (self.active.get(at), self.heard.get(at)) if time is not None]
        left = self.departed.get((agent.workspace, owner))
        return Signs(left, self.confirmed.get((*at, owner)), max(times, default=None))


def _wanted(
    conn: Connection, terms: Terms, now: datetime
) -> dict[tuple[str, str], tuple[AgentRecord, dict[Kind, datetime]]]:
    seen = _Seen.read(conn)
    return {
        (agent.workspace, agent.name): (agent, concerns(agent, seen.signs(agent), terms, now))
        for agent in registry.list_agents(conn)
    }


def due(conn: Connection, terms: Terms, now: datetime) -> list[str]:
    """Agents of which something is new, is over, or has come to its end, as ``<workspace>/<name>``."""
    known: dict[tuple[str, str], dict[Kind, Concern]] = {}
    for concern in store.concerns(conn):
        known.setdefault((concern.workspace, concern.agent), {})[concern.kind] = concern
    found = []
    for at, (agent, wanted) in _wanted(conn, terms, now).items():
        raised = known.get(at, {})
        if wanted.keys() != raised.keys() or any(suspends(one, agent, terms, now) for one in raised.values()):
            found.append("/".join(at))
    return found


def look_after(world: World, key: str) -> bool:
    """One step for one agent: what is of concern is raised and told, what is none any more ends, and an agent whose
    time is over is suspended. Whether anything was done."""
    workspace, _, name = key.partition("/")
    terms, now = Terms.of(world.config), world.clock()
    with world.begin() as tx:
        store.alone(tx)
        agent = registry.get_agent(tx, workspace, name)
        if agent is None:
            return False
        wanted = concerns(agent, _Seen.read(tx).signs(agent), terms, now)
        raised = {one.kind: one for one in store.concerns(tx, workspace) if one.agent == name}
        over = raised.keys() - wanted.keys()
        if over:
            store.drop_concerns(tx, workspace, name, over)
            _tell(tx, "owner.concern_ended", agent, now, {"kinds": sorted(over)})
        for kind in wanted.keys() - raised.keys():
            _raise(tx, agent, kind, wanted[kind], terms, now)
        overdue = [one for kind, one in raised.items() if kind in wanted and suspends(one, agent, terms, now)]
        if overdue:
            _suspend(world, tx, agent, overdue[0], now)
    return bool(over or wanted.keys() - raised.keys() or overdue)


def _raise(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, agent: AgentRecord, kind: Kind, since: datetime, terms: Terms, now: datetime
) -> None:
    concern = Concern(agent.workspace, agent.name, kind, since, now, terms.due(kind, now), _told(tx, agent, kind))
    store.put_concern(tx, concern)
    data = {
        "kind": str(kind),
        "since": since.isoformat(),
        "due": concern.due.isoformat() if concern.due else None,
        "told": list(concern.told),
        "owner": agent.owner,
    }
    _tell(tx, "owner.concern_raised", agent, now, data)


def _told(conn: Connection, agent: AgentRecord, kind: Kind) -> tuple[str, ...]:
    """Whose business it is: the owner while they are here, the sponsor, and every operator where there is no owner to
    do something about it."""
    people = {one.email: one for one in identity.list_people(conn, agent.workspace)}
    named = [email for email in (agent.owner.lower(), agent.sponsor.lower()) if email in people]
    if kind is Kind.LEFT or agent.owner.lower() not in people:
        named += [email for email, one in people.items() if Role.OPERATOR in one.roles]
    return tuple(dict.fromkeys(named))


def _suspend(world: World, tx: Connection, agent: AgentRecord, concern: Concern, now: datetime) -> None:
    actor = Actor(agent.workspace, "system:owners", frozenset({Role.SYSTEM}))
    why = why_suspended(concern, agent)
    registry.transition_in(world, tx, actor, agent.name, to=LifecycleState.SUSPENDED, reason=why)
    store.put_concern(tx, replace(concern, suspended_at=now))


def _tell(tx: Connection, kind: str, agent: AgentRecord, now: datetime, data: JsonObject) -> None:
    event = Event(
        id=new_id(),
        type=kind,
        time=now,
        workspace=agent.workspace,
        actor="system:owners",
        agent=agent.name,
        data=data,
    )
    events.append(tx, [event])


# -- reading --------------------------------------------------------------------------------------------------------


def find(conn: Connection, actor: Actor) -> list[Concern]:
    """All that is of concern in the workspace, the most urgent first; agents that stopped answering last."""
    permit(actor, "agents:read")
    silent = [
        Concern(actor.workspace, agent, Kind.SILENT, since, since, None, ())
        for agent, since in sorted(runtime.stopped_answering(conn, actor.workspace).items())
    ]
    return [*store.concerns(conn, actor.workspace), *silent]


def standing(world: World, conn: Connection, agent: AgentRecord) -> Standing:
    """Who answers for one agent."""
    owner, terms = agent.owner.lower(), Terms.of(world.config)
    confirmed = store.confirmations(conn).get((agent.workspace, agent.name, owner))
    by = None
    if terms.confirm_every is not None:
        by = max(agent.created_at, confirmed or agent.created_at) + terms.confirm_every
    left = identity.departed(conn).get((agent.workspace, owner))
    return Standing(identity.find_person(conn, agent.workspace, owner) is not None, left, confirmed, by)


# -- activity -------------------------------------------------------------------------------------------------------


def note_activity(world: World) -> None:
    """Notes when agents last made a call, as far as the trace store knows."""
    terms = Terms.of(world.config)
    if terms.inactive_after is None:
        return
    with world.read() as conn:
        workspaces: Sequence[str] = sorted({agent.workspace for agent in registry.list_agents(conn)})
        known = store.activity(conn)
    for workspace in workspaces:
        actor = Actor(workspace, "system:owners", frozenset({Role.SYSTEM}))
        found = telemetry.stats(world, actor, terms.inactive_after + timedelta(days=1))
        with world.db.begin() as tx:  # nobody waits for this: no bell
            for one in found:
                before = known.get((workspace, one.agent))
                if one.last is not None and (before is None or before < one.last):
                    store.seen(tx, workspace, one.agent, one.last)
