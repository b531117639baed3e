"""The verbs of exports: where traces go, and one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.config import words_of
from tenure.base.room import World
from tenure.base.scan.kept import kept
from tenure.base.sealing import wipe
from tenure.exports import sending, store
from tenure.exports.model import BATCH, MAX_DESTINATIONS, Destination, Outcome, checked, headers_of, pause, resource_of
from tenure.exports.spans import request_of
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Status
from tenure.secrets import service as secrets
from tenure.telemetry import service as telemetry

_SELF = "system:exports"


@dataclass(frozen=True, slots=True)
class Standing:
    """A destination and how many Events of the log are before it, those of other workspaces among them."""

    destination: Destination
    waiting: int


def find(world: World, actor: Actor) -> list[Standing]:
    """The destinations of the workspace by name, and how each fares."""
    permit(actor, "exports:read")
    with world.read() as conn:
        newest = events.head(conn)
        return [Standing(one, max(0, newest - one.cursor)) for one in store.destinations(conn, actor.workspace)]


def put(world: World, actor: Actor, wanted: Destination, *, whole: bool = False) -> Destination:
    """Sends traces on from now (or, ``whole``, all that are kept), in place of a destination of that name, which goes
    on from where it is unless ``whole``. Raises Refused (403, 404 for a secret that is not there, 422)."""
    permit(actor, "exports:manage")
    item = checked(replace(wanted, workspace=actor.workspace, set_at=world.clock(), set_by=actor.name))
    _key(world, item)
    with world.begin() as tx:
        there = {one.name: one for one in store.destinations(tx, actor.workspace)}
        if len(there) >= MAX_DESTINATIONS and item.name not in there:
            text = f"A workspace has at most {MAX_DESTINATIONS} destinations."
            raise Refused("too_many", text, fix="Remove one that nobody needs.", status=409)
        before = there.get(item.name)
        cursor = 0 if whole else before.cursor if before else events.head(tx)
        item = replace(item, cursor=cursor)
        store.save(tx, item)
        told = {"name": item.name, "kind": item.kind.value, "content": item.content}
        events.append(tx, [_event("export.put", actor.name, item.workspace, world.clock(), told)])
    return item


def remove(world: World, actor: Actor, name: str) -> None:
    """Sends nothing there any more. Raises Refused (403, 404)."""
    permit(actor, "exports:manage")
    with world.begin() as tx:
        if not store.destinations(tx, actor.workspace, name):
            text = f"There is no export {name[:63]!r} in workspace {actor.workspace}."
            raise Refused("unknown_export", text, fix="`tenure exports list` shows what there is.", status=404)
        store.remove(tx, actor.workspace, name)
        events.append(tx, [_event("export.removed", actor.name, actor.workspace, world.clock(), {"name": name})])


def _event(kind: str, who: str, workspace: str, now: datetime, data: dict[str, Any]) -> Event:
    return Event(new_id(), kind, now, workspace, who, status=Status.FLAGGED, data=data)


def _key(world: World, item: Destination) -> str:
    if not item.secret:
        return ""
    found = secrets.plain(world, item.workspace, item.secret, item.url)
    try:
        return found[0].decode()
    except UnicodeDecodeError:
        raise Refused("bad_secret", "The key is no text.", fix="Rotate the secret.", status=422) from None
    finally:
        wipe(*found)


# -- on their way ---------------------------------------------------------------------------------------------------


def due(connection: Connection, now: datetime) -> list[str]:
    """The destinations that a batch waits for."""
    return store.due(connection, events.head(connection), now)


def send(world: World, key: str) -> bool:
    """Sends the next batch of a destination: redacted as the settings are now, noted once the peer has it. Killed in
    between, it is sent again, under the same ids."""
    workspace, _, name = key.partition("/")
    with world.read() as conn:
        found = store.destinations(conn, workspace, name)
        newest = events.head(conn)
    if not found:
        return False
    item = found[0]
    reader = Actor(workspace, _SELF)
    try:
        batch = telemetry.list_events(world, reader, after=item.cursor, limit=BATCH)
    except Failed:
        return False  # the trace store is shut or full: it says so itself
    upto = batch[-1].seq if len(batch) == BATCH else max(newest, *(logged.seq for logged in batch), 0)
    told = [kept(logged.event, world.config.redacted) for logged in batch]
    request = request_of(told, resource_of(item), content=item.content)
    count = sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
    outcome = _sent(world, item, bytes(request.SerializeToString())) if count else Outcome(True)
    now = world.clock()
    values: dict[str, Any] = {"tries": item.tries + 1, "problem": outcome.problem}
    if outcome.done:
        values |= {"cursor": upto, "tries": 0, "next_at": None}
        if count:
            where = "dropped" if outcome.dropped else "sent"
            values |= {where: getattr(item, where) + count, "last_at": now}
    else:
        values["next_at"] = now + pause(item.tries, outcome.after)
    with world.db.begin() as tx:  # no news to anybody
        store.change(tx, item, **values)
    return outcome.done


def _sent(world: World, item: Destination, body: bytes) -> Outcome:
    try:
        key = _key(world, item)
    except (Refused, Failed) as error:
        return Outcome(False, error.message)
    return sending.post(item.url, headers_of(item, key), body, words_of(world.config.export_private))
