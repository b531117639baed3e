"""Revocation at once: the verb, and what it would do."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import Thing, permit
from tenure.base.room import Ahead, World
from tenure.credentials.model import MAX_REASON, Effects, Revoked, live
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, LifecycleState
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord, thing
from tenure.revocation import service as revocation
from tenure.revocation.model import Kind, Mark
from tenure.runtime import service as runtime

_ELSEWHERE = {
    Kind.REPLACED: "An agent's credentials are replaced by `tenure rotate AGENT`.",
    Kind.TOKEN: "Send the token to `POST /oauth/revoke`.",
}


def look(world: World, conn: Connection, actor: Actor, kind: Kind, subject: str) -> Effects:
    """What revoking this would do. Raises Refused: 403 for who may not, 404 for what is not there."""
    match kind:
        case Kind.AGENT:
            return _agent(conn, actor, subject)
        case Kind.INSTANCE:
            return _instance(conn, actor, subject)
        case Kind.RELEASE:
            return _release(conn, actor, subject)
        case Kind.KEY:
            return _key(world, conn, actor, subject)
        case Kind.PERSON:
            return _person(conn, actor, subject)
        case Kind.WORKSPACE:
            return _workspace(conn, actor, subject)
        case Kind.REPLACED | Kind.TOKEN:
            raise Refused("bad_kind", f"`{kind}` is not revoked here.", fix=_ELSEWHERE[kind])


def revoke(world: World, actor: Actor, kind: Kind, subject: str, reason: str) -> Revoked:
    """Revokes, and returns when no gateway acts on older facts any more (``base.replicas``): a call that begins after
    that is refused, at every one. They hear of it before it is even written; when it cannot be, that is taken back.
    Twice the same is done twice, for there may be new credentials. Raises as ``look``, and when no reason is given."""
    why = reason.strip()
    if not why or len(why) > MAX_REASON or "\x00" in why:
        raise Refused(
            "reason_needed",
            f"This needs a reason, of at most {MAX_REASON} characters.",
            fix="Say in a sentence why; it is kept in the history and the audit.",
            status=422,
        )
    with world.read() as conn:
        seen = look(world, conn, actor, kind, subject)
        ahead = _ahead(world, conn, actor, seen)
    # Writing waits for its turn and for the disk; what must die does not. It stays ahead until facts were gathered that
    # have it.
    with world.alarm.ahead_of_time(ahead):
        with world.begin() as tx:
            effects = look(world, tx, actor, kind, subject)
            _end(world, tx, actor, effects, why)
            made = revocation.mark(world, tx, actor, kind, effects.subject, reason=why)
            events.append(tx, [_event(made, effects)])
        return Revoked(made, effects, world.replicas.settle())


def _ahead(world: World, conn: Connection, actor: Actor, effects: Effects) -> Ahead:
    """What gateways must know of a revocation that is not written yet: the same that they will have of it then."""
    match effects.kind:
        case Kind.AGENT:
            return _risen(registry.the_agent(conn, actor.workspace, effects.agent))
        case Kind.WORKSPACE:
            return _risen(*registry.list_agents(conn, actor.workspace))
        case kind:
            fact = revocation.ahead(actor.workspace, kind, effects.subject, world.clock())
            return Ahead(revoked=(fact,))


def _risen(*agents: AgentRecord) -> Ahead:
    return Ahead(epochs={f"{one.workspace}/{one.name}": one.credential_epoch + 1 for one in agents})


def _event(made: Mark, effects: Effects) -> Event:
    data = {"revocation": made.id, "kind": str(made.kind), "subject": made.subject, "reason": made.reason}
    return Event(
        id=new_id(),
        type="credentials.revoked",
        time=made.before,
        workspace=made.workspace,
        actor=made.actor,
        agent=effects.agent or None,
        data=data,
    )


def _end(world: World, tx: Connection, actor: Actor, effects: Effects, why: str) -> None:
    """What the mark alone does not do."""
    workspace, now = actor.workspace, world.clock()
    match effects.kind:
        case Kind.AGENT:
            registry.revoke_credentials(tx, actor, registry.the_agent(tx, workspace, effects.agent), now, why)
        case Kind.RELEASE:
            agent = registry.the_agent(tx, workspace, effects.agent)
            if agent.release == effects.subject:
                registry.revoke_credentials(tx, actor, agent, now, why)
        case Kind.KEY:
            identity.end_key(world, tx, actor, effects.subject)
        case Kind.PERSON:
            person = identity.need_person(tx, workspace, effects.subject)
            identity.end_person(tx, world.config, actor, person, now)
        case Kind.WORKSPACE:
            for agent in registry.list_agents(tx, workspace):
                registry.revoke_credentials(tx, actor, agent, now, why)
            identity.end_workspace(tx, world.config, actor, now)
        case _:
            pass


def _dead(agent: AgentRecord) -> str:
    if agent.state is LifecycleState.RETIRED:
        return f"Agent {agent.name} is retired: it has no credentials."
    return f"Every credential of agent {agent.name} dies; calls on their way are cut."


def _agent(conn: Connection, actor: Actor, name: str) -> Effects:
    agent = registry.the_agent(conn, actor.workspace, name)
    permit(actor, "credentials:revoke", thing(agent))
    running = live(runtime.live_count(conn, agent.workspace, agent.name))
    sentences = (
        _dead(agent),
        f"{running[:1].upper()}{running[1:]}.",
        f"It stays {agent.state}: it can be started again, with new credentials. To stop it, suspend it.",
    )
    return Effects(Kind.AGENT, name, sentences, name)


def _instance(conn: Connection, actor: Actor, ident: str) -> Effects:
    instance = runtime.find_instance(conn, actor.workspace, ident)
    permit(actor, "credentials:revoke", thing(registry.the_agent(conn, actor.workspace, instance.agent)))
    sentences = (
        f"Every credential of this instance of {instance.agent} dies for good, and it ends; others go on.",
        f"It was started {instance.started_at:%Y-%m-%d %H:%M} UTC by {instance.started_by}.",
    )
    return Effects(Kind.INSTANCE, ident, sentences, instance.agent)


def _release(conn: Connection, actor: Actor, digest: str) -> Effects:
    release = registry.get_release(conn, actor.workspace, digest)
    agent = registry.the_agent(conn, actor.workspace, release.agent)
    permit(actor, "credentials:revoke", thing(agent))
    sentences = [f"Every credential that was issued under this release of {agent.name} dies, now and for ever."]
    if agent.release == digest:
        running = live(runtime.live_count(conn, agent.workspace, agent.name))
        sentences.append(f"It is the current release: {running}, and nothing starts until another is approved.")
    return Effects(Kind.RELEASE, digest, tuple(sentences), agent.name)


def _key(world: World, conn: Connection, actor: Actor, kid: str) -> Effects:
    permit(actor, "keys:revoke", Thing(workspace=world.config.workspace))
    if kid not in identity.public_keys(conn):
        raise Refused(
            "no_such_key",
            f"No key {kid} signs or is believed.",
            fix="`tenure keys list` shows those that are.",
            status=404,
        )
    sentences = (
        "Every token that this key signed dies, of all agents of the installation; calls on their way are cut.",
        "What `tenure run` started gets new tokens by itself. Whoever holds a token of its own has to start again.",
        "The next key signs, which everybody has already. It lay beside this one: if the folder leaked, revoke it too.",
        "Cards of agents that it signed are signed anew.",
    )
    return Effects(Kind.KEY, kid, sentences)


def _person(conn: Connection, actor: Actor, email: str) -> Effects:
    permit(actor, "people:manage")
    person = identity.need_person(conn, actor.workspace, email)
    sentences = (
        f"Sessions, API tokens and login codes of {person.email} end, and tokens of agents that work for them die.",
        "They can log in again. To keep them out: `tenure people remove`.",
    )
    return Effects(Kind.PERSON, person.email, sentences)


def _workspace(conn: Connection, actor: Actor, name: str) -> Effects:
    permit(actor, "workspaces:revoke")
    if name != actor.workspace:
        raise Refused(
            "unknown_workspace",
            f"You do not work in a workspace {name}.",
            fix="Name the one that you work in; `tenure workspaces list` says which it is.",
            status=404,
        )
    agents = [one for one in registry.list_agents(conn, name) if one.state is not LifecycleState.RETIRED]
    running = sum(runtime.live_count(conn, name, one.name) for one in agents)
    sentences = (
        f"Every credential of {len(agents)} agents dies, calls on their way are cut; {live(running)}.",
        "Sessions and API tokens of everybody but yourself end, and every key of a service account.",
    )
    return Effects(Kind.WORKSPACE, name, sentences)
