"""The runtime's verbs: start an instance with an identity, hear that it lives, end it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event
from tenure.kernel.work import OWN
from tenure.registry import service as registry
from tenure.registry.model import ACTING, thing
from tenure.revocation import service as revocation
from tenure.revocation.model import Kind
from tenure.runtime import store
from tenure.runtime.lineage import NOTHING_SAID, Wish, given, may_renew
from tenure.runtime.model import (
    LOST,
    MAX_LIVE,
    STARTS,
    End,
    Instance,
    Orders,
    Renewed,
    Started,
    environment,
    may_tend,
    must_be_confined,
    orders,
)
from tenure.runtime.terms import MUST_BE_CONFINED


def start_instance(
    world: World,
    actor: Actor,
    agent_name: str,
    *,
    ttl_s: int | None = None,
    wish: Wish = NOTHING_SAID,
    confined: bool = False,
    renewed: bool = False,
) -> Started:
    """Starts one run of an agent: an identity of its own and the wires to the gateway. ``ttl_s``: how long its token
    lives, in seconds; ``wish``: what it is for; ``confined``: the caller's word that the process will reach nothing but
    the gateway; ``renewed``: the caller fetches newer tokens, so that this one may be short. An agent may start those
    that its manifest grants, for what it works on itself. Raises Refused for an agent that may not start now, or not
    like this."""
    with world.begin() as tx:
        agent, now = registry.the_agent(tx, actor.workspace, agent_name), world.clock()
        if actor.principal is None:
            permit(actor, "agents:run", thing(agent))
        work = given(world, tx, actor, agent.name, wish)
        if agent.state not in STARTS:
            raise Refused(
                "agent_not_running",
                f"{agent.name} is {agent.state}; only an agent in staging or production starts anything.",
                fix=f"See what comes next for it: `tenure agents show {agent.name}`.",
                status=409,
            )
        if revocation.is_revoked(tx, agent.workspace, Kind.RELEASE, agent.release):
            raise Refused(
                "release_revoked",
                f"The current release of {agent.name} was revoked; nothing starts under it again.",
                fix="Apply a changed manifest, and have its release approved.",
                status=409,
            )
        if store.count_live(tx, agent.workspace, agent.name) >= MAX_LIVE:
            raise Refused(
                "too_many_instances",
                f"{agent.name} has {MAX_LIVE} live instances already.",
                fix="Wait until some have ended.",
                status=429,
            )
        if not confined and (who := must_be_confined(agent, world.config)):
            raise Refused(
                MUST_BE_CONFINED,
                f"{agent.name} may run confined to the gateway only: {who} demands it.",
                fix=f"Start it with `tenure run --agent {agent.name} --confine -- COMMAND`.",
                status=409,
            )
        ident, session = new_id(), new_id()
        token = identity.issue_agent_token(
            world,
            tx,
            workspace=agent.workspace,
            agent=agent.name,
            release=agent.release,
            instance=ident,
            session=session,
            credential_epoch=agent.credential_epoch,
            ttl_s=_ttl(world, ttl_s, renewed, work.ends_in_s),
            on_behalf_of=work.person,
            scopes=work.scopes,
            work=work.work,
            started=True,
        )
        instance = Instance(
            id=ident,
            workspace=agent.workspace,
            agent=agent.name,
            release=agent.release,
            session=session,
            credential_epoch=agent.credential_epoch,
            on_behalf_of=work.person,
            started_at=now,
            started_by=actor.name,
            heartbeat_at=now,
            expires_at=token.expires_at,
            confined=confined,
            scopes=work.scopes,
            task=work.work.task,
        )
        store.add(tx, instance)
        parent = actor.principal.instance if actor.principal is not None else None
        data: dict[str, Any] = {"expires_at": token.expires_at.isoformat(), "confined": confined, "parent": parent}
        data |= {"on_behalf_of": work.person, "chain": list(work.work.chain), "task": work.work.task}
        begun = _event("instance.started", actor.name, instance, now, data)
        if work.work.by:  # an agent started it, in a trace
            _, trace, above, _ = work.work.by.split("-")
            begun = replace(begun, trace_id=trace, parent_span_id=above)
        events.append(tx, [begun])
    config = world.config
    env = environment(instance, token.token, control_url=config.control_url, gateway_url=config.gateway_url)
    return Started(instance, token.token, now, config.gateway_url, config.control_url, env)


def _ttl(world: World, wanted: int | None, renewed: bool, most: int | None = None) -> int:
    usual = world.config.door_ttl_s if renewed else world.config.token_ttl_s
    seconds = usual if wanted is None else wanted
    return seconds if most is None else min(seconds, most)


def renew_token(world: World, actor: Actor, ident: str, ttl_s: int | None = None) -> Renewed:
    """A further token of a running instance, for ``ttl_s`` seconds, for the same work and within the same scopes as the
    first; the one before it stays good until its own end.
    Raises Refused (404) for what is none of the actor's business, 409 for an instance that must end."""
    with world.begin() as tx:
        instance, now = the_instance(tx, actor, ident), world.clock()
        may_renew(actor, instance.started_by)
        told = orders_for(tx, instance, world.config.workspace)
        if told.stop:
            raise Refused(
                "instance_must_end", f"This instance gets no further token: {told.reason}.", fix="End it.", status=409
            )
        token = identity.issue_agent_token(
            world,
            tx,
            workspace=instance.workspace,
            agent=instance.agent,
            release=instance.release,
            instance=ident,
            session=instance.session,
            credential_epoch=instance.credential_epoch,
            ttl_s=_ttl(world, ttl_s, renewed=True),
            on_behalf_of=instance.on_behalf_of,
            scopes=instance.scopes,
            work=replace(OWN, task=instance.task),  # what an agent handed on is not renewed
            started=True,
        )
        store.renewed(tx, ident, instance.credential_epoch, token.expires_at)
    return Renewed(token.token, now, token.expires_at)


def the_instance(conn: Connection, actor: Actor, ident: str) -> Instance:
    """An instance that ``actor`` may speak for. Raises Refused (404), also for one that is none of its business."""
    found = store.get(conn, ident)
    if found is None or not may_tend(actor, found):
        raise Refused(
            "unknown_instance",
            f"There is no instance {ident} that {actor.name} may speak for.",
            fix="Whoever started it may, and an operator.",
            status=404,
        )
    return found


def find_instance(conn: Connection, workspace: str, ident: str) -> Instance:
    """An instance of a workspace. Raises Refused (404)."""
    found = store.get(conn, ident)
    if found is None or found.workspace != workspace:
        raise Refused(
            "unknown_instance", f"There is no instance {ident}.", fix="See `tenure instances AGENT`.", status=404
        )
    return found


def orders_for(conn: Connection, instance: Instance, home: str) -> Orders:
    """Whether it must end now, or fetch a newer token. ``home``: the installation's own workspace."""
    current = store.get(conn, instance.id) or instance
    if revocation.is_revoked(conn, current.workspace, Kind.INSTANCE, current.id):
        return Orders(True, "this instance was revoked")
    told = orders(registry.get_agent(conn, instance.workspace, instance.agent), current)
    before = revocation.renew_before(conn, current.workspace, current.agent, home)
    return told if before is None else replace(told, renew=before.timestamp())


def heartbeat(world: World, actor: Actor, ident: str) -> Orders:
    """Notes that an instance lives, and answers whether it must end. One that was taken for lost is live again."""
    with world.db.begin() as tx:  # no bell: nobody waits for a heartbeat
        instance = the_instance(tx, actor, ident)
        if instance.end is not End.EXITED:
            now = world.clock()
            store.heard(tx, ident, now)
            if instance.end is End.LOST:
                events.append(tx, [_event("instance.returned", actor.name, instance, now, {})])
        return orders_for(tx, instance, world.config.workspace)


def end_instance(world: World, actor: Actor, ident: str, exit_code: int | None) -> Instance:
    """Notes that an instance has exited. Twice the same changes nothing."""
    with world.begin() as tx:
        instance = the_instance(tx, actor, ident)
        if instance.end is not End.EXITED:
            _end(tx, actor.name, instance, world.clock(), End.EXITED, exit_code)
        return store.get(tx, ident) or instance


def lose_instance(world: World, ident: str) -> bool:
    """Gives up an instance that was silent for too long; whether it did."""
    with world.begin() as tx:
        instance, now = store.get(tx, ident), world.clock()
        if instance is None or instance.ended_at is not None or instance.heartbeat_at >= now - LOST:
            return False
        _end(tx, "system:runtime", instance, now, End.LOST, None)
    return True


def instances(conn: Connection, workspace: str, agent: str, *, live: bool = False) -> list[Instance]:
    """An agent's newest instances. Raises Refused (404) when there is no such agent."""
    registry.the_agent(conn, workspace, agent)
    return store.of_agent(conn, workspace, agent, live=live)


def tasks(conn: Connection, workspace: str, since: datetime) -> dict[str, str]:
    """The task that each session was started for, of instances that have one and started since a time."""
    return store.tasks(conn, workspace, since)


def live_count(conn: Connection, workspace: str, agent: str) -> int:
    """How many instances of an agent live."""
    return store.count_live(conn, workspace, agent)


def last_heard(conn: Connection) -> dict[tuple[str, str], datetime]:
    """When an instance of an agent was last heard of, by workspace and agent."""
    return store.last_heard(conn)


def stopped_answering(conn: Connection, workspace: str) -> dict[str, datetime]:
    """Agents that may act, of which nothing lives, and whose last instance did not end but fell silent; since when."""
    acting = {agent.name for agent in registry.list_agents(conn, workspace, tuple(ACTING))}
    return {name: since for name, since in store.lost_last(conn, workspace).items() if name in acting}


def silent(conn: Connection, now: datetime) -> list[str]:
    """Live instances that were silent for too long."""
    return store.silent(conn, now - LOST)


def _end(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, who: str, instance: Instance, now: datetime, end: End, exit_code: int | None
) -> None:
    store.ended(tx, instance.id, now, end, exit_code)
    data = {"end": str(end), "exit_code": exit_code}
    events.append(tx, [_event("instance.ended", who, instance, now, data)])


def _event(kind: str, who: str, instance: Instance, now: datetime, data: JsonObject) -> Event:
    return Event(
        id=new_id(),
        type=kind,
        time=now,
        workspace=instance.workspace,
        actor=who,
        agent=instance.agent,
        release=instance.release,
        instance=instance.id,
        session=instance.session,
        data=data,
    )
