"""Rotation: credentials replaced by new ones while the old ones are still good, on demand and on schedule."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.values import PEOPLE, Actor, Event, Role
from tenure.registry import service as registry
from tenure.registry.model import ACTING, AgentRecord, thing
from tenure.revocation import service as revocation
from tenure.revocation.model import Kind, Mark

MAX_OVERLAP_S = 86_400


def rotate_agent(world: World, actor: Actor, name: str, *, overlap_s: int | None = None, reason: str = "") -> Mark:
    """Has everything of an agent fetch new credentials now. The old ones are good for ``overlap_s`` seconds more (None:
    TENURE_OVERLAP); what was begun with one goes on. What holds a token of its own and cannot renew it ends then."""
    seconds = world.config.overlap_s if overlap_s is None else overlap_s
    if not 1 <= seconds <= MAX_OVERLAP_S:
        raise Refused("bad_overlap", f"{seconds} seconds is no overlap.", fix=f"Give 1 to {MAX_OVERLAP_S}.", status=422)
    with world.begin() as tx:
        agent = registry.the_agent(tx, actor.workspace, name)
        permit(actor, "credentials:rotate", thing(agent))
        after = timedelta(seconds=seconds)
        made = revocation.mark(world, tx, actor, Kind.REPLACED, name, reason=reason or "rotated", after=after)
        data = {"kind": "agent", "subject": name, "good_until": made.since.isoformat()}
        events.append(tx, [_event("credentials.rotated", new_id(), made, data)])
    return made


def is_told(conn: Connection, mark: Mark) -> bool:
    """Whether the end of a mark's overlap is in the log."""
    return events.holds(conn, stable_id("replaced", mark.id))


def end_overlap(world: World, mark: Mark) -> bool:
    """Tells that replaced credentials are dead from now on, which has the facts built anew; False when it was told."""
    data = {"kind": "agent", "subject": mark.subject}
    with world.begin() as tx:
        return bool(events.append(tx, [_event("credentials.replaced", stable_id("replaced", mark.id), mark, data)]))


def keys_due(world: World) -> bool:
    """Whether the signing keys are old enough to be replaced."""
    hours = world.config.rotate_keys_h
    return bool(hours) and identity.key_age(world) >= timedelta(hours=hours)


def rotate_due_keys(world: World) -> bool:
    """Replaces the signing keys when they are old enough; whether it did."""
    if not keys_due(world):
        return False
    home = world.config.workspace
    identity.rotate_key(world, Actor(home, "system:credentials", frozenset({Role.SYSTEM, *PEOPLE})))
    return True


def agents_due(world: World) -> list[AgentRecord]:
    """The agents whose last turn was long enough ago for other credentials."""
    hours, now = world.config.rotate_agents_h, world.clock()
    if not hours:
        return []
    with world.read() as conn:
        agents = [one for one in registry.list_agents(conn) if one.state in ACTING]
        return [
            one
            for one in agents
            if now - max(one.state_since, revocation.replaced_at(conn, one.workspace, one.name) or one.state_since)
            >= timedelta(hours=hours)
        ]


def rotate_due_agents(world: World) -> bool:
    """Replaces the credentials of those; whether there were any."""
    due = agents_due(world)
    for one in due:
        actor = Actor(one.workspace, "system:credentials", frozenset({Role.SYSTEM, *PEOPLE}))
        rotate_agent(world, actor, one.name, reason="on schedule")
    return bool(due)


def _event(kind: str, ident: str, mark: Mark, data: dict[str, str]) -> Event:
    return Event(
        id=ident,
        type=kind,
        time=mark.before if kind == "credentials.rotated" else mark.since,
        workspace=mark.workspace,
        actor=mark.actor,
        agent=mark.subject,
        data=data,
    )
