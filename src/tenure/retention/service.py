"""The verbs of retention: erase what was said about somebody, and let go what is older than its period."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.approvals import service as approvals
from tenure.base import events as log
from tenure.base import subjects
from tenure.base.access import Thing, permit
from tenure.base.room import World
from tenure.corrections import service as corrections
from tenure.drafts import service as drafts
from tenure.graph import service as graph
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Status
from tenure.registry import service as registry
from tenure.retention import store
from tenure.retention.model import MAX_REASON, MAX_SUBJECT, Erasure, Periods, periods_of
from tenure.telemetry import service as telemetry

MAX_LISTED = 200
"""The most erasures or subjects that are listed."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody about whom content is kept: how many Events, and since when."""

    subject: str
    events: int
    oldest: datetime | None


def periods(world: World) -> Periods:
    """How long content is kept."""
    return periods_of(world.config.keep_content, world.config.keep_records, world.config.content_share)


def find(world: World, actor: Actor) -> list[Erasure]:
    """The newest erasures of the workspace. Raises Refused (403)."""
    permit(actor, "content:read", Thing())
    with world.read() as connection:
        return store.find(connection, actor.workspace, MAX_LISTED)


def subjects_like(world: World, actor: Actor, like: str) -> list[Subject]:
    """Whom content is kept about, by name, those that have ``like`` in it. Raises Refused (403)."""
    permit(actor, "content:erase", Thing())
    with world.read() as connection:
        named = subjects.subjects(connection, actor.workspace, like, MAX_LISTED)
    counts = telemetry.content_under(world, [number for number, _ in named])
    return [Subject(name, *counts.get(number, (0, None))) for number, name in named]


def erase(world: World, actor: Actor, subject: str, reason: str) -> Erasure:
    """Asks for all content about a subject (``person:...`` or ``agent:...``) to be erased that was recorded until now;
    it is done within seconds, as soon as every reader of the Event log has passed it. Raises Refused."""
    permit(actor, "content:erase", Thing())
    why = reason.strip()
    kind, _, name = subject.partition(":")
    if kind not in ("person", "agent") or not name or len(subject) > MAX_SUBJECT:
        text = f"{subject[:100]!r} names nobody."
        raise Refused("bad_subject", text, fix="Write person:NAME or agent:NAME.", status=422)
    if not why or len(why) > MAX_REASON:
        text = f"An erasure needs a reason of at most {MAX_REASON} characters."
        raise Refused("bad_reason", text, fix="Say why; it is kept in the audit.", status=422)
    asked = Erasure(new_id(), actor.workspace, subject, actor.name, world.clock(), why)
    with world.begin() as tx:
        store.add(tx, asked, log.head(tx))
    return asked


def step(world: World, ident: str) -> bool:
    """Does one erasure, once every reader has passed what was recorded until it was asked for. What is written first is
    what may be written twice; the key, the name and the word that it is done go in one transaction."""
    with world.read() as connection:
        found = store.one(connection, ident)
        if found is None:
            return False
        asked, upto = found
        passed = min([telemetry.kept_upto(world), *(log.cursor(connection, name) for name in world.consumers)])
        if passed < upto:
            return False
        number = subjects.number_of(connection, asked.workspace, asked.subject)
        about = [*drafts.settled(connection, asked.workspace), *corrections.about(connection, asked.workspace)]
    held = telemetry.held_under(world, number) if number is not None else []
    told = telemetry.told_under(world, number, about) if number is not None else []
    scrubbed = telemetry.scrub(world, asked.workspace, asked.subject, upto)
    with world.begin() as tx:
        if store.one(tx, ident) is None:
            return False
        subjects.destroy(tx, asked.workspace, asked.subject, asked.asked_at)
        count = approvals.forget_content(tx, asked.workspace, held)
        drafts.forget_content(tx, asked.workspace, told)
        corrections.forget_content(tx, asked.workspace, [*held, *told])
        kind, _, name = asked.subject.partition(":")
        if kind == "person":
            graph.forget_person(tx, asked.workspace, name)
        store.done(tx, ident, world.clock(), scrubbed, count)
        log.append(tx, [_erased(world, asked, scrubbed, count)])
    return True


def _erased(world: World, asked: Erasure, events: int, count: int) -> Event:
    kind = asked.subject.partition(":")[0]
    return Event(
        id=new_id(),
        type="content.erased",
        time=world.clock(),
        workspace=asked.workspace,
        actor=asked.asked_by,
        status=Status.FLAGGED,
        data={"erasure": asked.id, "of": kind, "reason": asked.reason, "events": events, "approvals": count},
    )


def let_go(world: World) -> bool:
    """Forgets the next pieces of what is older than its period, and whether there was any."""
    held, now = periods(world), world.clock()
    with world.read() as connection:
        kept = _days(connection, held)
    with world.begin() as tx:
        done = approvals.expire_content(tx, now - timedelta(days=held.usual))
    for days, agents in kept.items():
        done += telemetry.expire(world, now - timedelta(days=days), agents)
    others = [agent for agents in kept.values() for agent in agents]
    done += telemetry.expire_others(world, now - timedelta(days=held.usual), others)
    done += telemetry.thin(world, now, held.share)
    done += telemetry.drop(world, now - timedelta(days=held.records))
    return done > 0


def _days(connection: Connection, held: Periods) -> dict[int, Collection[str]]:
    """Agents as ``<workspace>/<name>`` by the days that their content is kept, where those are not the usual ones."""
    found: dict[int, list[str]] = {}
    for name, fact in registry.agent_facts(connection).items():
        days = held.of(fact.data_classes)
        if days != held.usual:
            found.setdefault(days, []).append(name)
    return dict(found)
