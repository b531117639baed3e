"""The verbs of notifications: who is told of what; one attempt; look, test, send again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from tenure.approvals import service as approvals
from tenure.base import events, log
from tenure.base.access import permit
from tenure.base.config import words_of
from tenure.base.faults import nearest
from tenure.base.room import World
from tenure.base.sealing import wipe
from tenure.identity import service as identity
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.values import Actor, Event, Status
from tenure.notify import answering, sending, store
from tenure.notify.digest import BUNDLED, parts_of, whole, window_of, with_one_more
from tenure.notify.model import (
    APPROVERS,
    ASKED,
    KEPT,
    MAX_DESTINATIONS,
    MAX_WAITING,
    OWNERS,
    PAUSE,
    SLACK,
    TEAMS,
    Delivery,
    Destination,
    Kind,
    Message,
    Outcome,
    Standing,
    State,
    checked,
    mail_place,
    next_attempt,
    signature,
    signing_key,
    text_of,
    wire,
)
from tenure.notify.words import TOPICS, line, message_of, topic_of
from tenure.registry import service as registry
from tenure.secrets import service as secrets

logger = log.get("notify")
_SELF = "system:notify"


# -- destinations ---------------------------------------------------------------------------------------------------


def find(world: World, actor: Actor) -> list[Standing]:
    """The destinations of the workspace by name, and how each fares."""
    permit(actor, "notify:read")
    with world.read() as conn:
        counts = store.counts(conn, actor.workspace)
        out = []
        for one in store.destinations(conn, actor.workspace):
            sent = store.last(conn, actor.workspace, one.name, State.SENT)
            dead = store.last(conn, actor.workspace, one.name, State.DEAD)
            tried = store.last(conn, actor.workspace, one.name, State.WAITING)
            failed = max((item for item in (dead, tried) if item), key=lambda item: str(item.last_at), default=None)
            newer = failed is not None and (sent is None or str(failed.last_at) > str(sent.last_at))
            out.append(
                Standing(
                    one,
                    counts.get((one.name, State.WAITING.value), 0),
                    counts.get((one.name, State.DEAD.value), 0),
                    sent.last_at if sent else None,
                    failed.problem if failed is not None and newer else "",
                )
            )
    return out


def put(world: World, actor: Actor, wanted: Destination) -> Destination:
    """Sets who is told of what, in place of a destination of that name. Its secret is opened once, to see that it is
    what it should be. Raises Refused (403, 404 for a secret that is not there, 422)."""
    permit(actor, "notify:manage")
    private = words_of(world.config.notify_private)
    kept = checked(replace(wanted, workspace=actor.workspace, set_at=world.clock(), set_by=actor.name), private, TOPICS)
    _try_secret(world, kept, private)
    with world.begin() as tx:
        there = store.destinations(tx, actor.workspace)
        if len(there) >= MAX_DESTINATIONS and all(one.name != kept.name for one in there):
            text = f"A workspace has at most {MAX_DESTINATIONS} destinations."
            raise Refused("too_many", text, fix="Remove one that nobody needs.", status=409)
        if kept.person and identity.person_actor(tx, actor.workspace, kept.person) is None:
            text = f"There is no {kept.person} in this workspace."
            raise Refused("no_such_person", text, fix="Add them: `tenure people add`.", status=422)
        store.save(tx, kept)
        told = {"name": kept.name, "kind": kept.kind.value, "topics": list(kept.topics), "answers": kept.answers}
        events.append(tx, [_event("notify.put", actor.name, kept.workspace, kept.set_at or world.clock(), told)])
    return kept


def remove(world: World, actor: Actor, name: str) -> None:
    """Tells a destination nothing any more; what waits for it is dropped. Raises Refused (403, 404)."""
    permit(actor, "notify:manage")
    with world.begin() as tx:
        _the(tx, actor.workspace, name)
        store.remove(tx, actor.workspace, name)
        events.append(tx, [_event("notify.removed", actor.name, actor.workspace, world.clock(), {"name": name})])


def _the(conn: Connection, workspace: str, name: str) -> Destination:
    found = store.destinations(conn, workspace, name)
    if not found:
        hint = nearest(name, [one.name for one in store.destinations(conn, workspace)])
        raise Refused(
            "unknown_destination",
            f"There is no destination {name[:63]!r} in workspace {workspace}.",
            fix=hint[:1].upper() + hint[1:] if hint else "Add it: `tenure notify add`.",
            status=404,
        )
    return found[0]


def _event(kind: str, who: str, workspace: str, now: datetime, data: dict[str, Any]) -> Event:
    return Event(new_id(), kind, now, workspace, who, status=Status.FLAGGED, data=data)


# -- what happened --------------------------------------------------------------------------------------------------


def hear(conn: Connection, event: Event) -> None:
    """Notes what must be told of an Event, for each destination that wants it. The same Event twice is told once."""
    if event.type in ("person.credentials_ended", "person.removed"):
        store.drop_links(conn, event.workspace, str(event.data.get("email", "")))
        return
    topic = topic_of(event)
    wanted = [] if topic is None else store.destinations(conn, event.workspace)
    for one in wanted:
        if topic is not None and one.wants(topic, event.agent):
            message = message_of(event, topic)
            for address in _addresses(conn, one, event.agent, event):
                ident = stable_id("notify", event.id, one.name, address)
                if topic in BUNDLED and one.bundle_s:
                    _bundle(conn, one, address, message, ident, event.time)
                else:
                    _note(conn, one, address, message, ident, event.time)


def _addresses(conn: Connection, one: Destination, agent: str | None, event: Event | None = None) -> list[str]:
    """To whom a message goes: the addresses of mail as they are now, else the one of the person, or nobody's. Of a
    held call (``event``) those hear as well who stand in for an approver."""
    if one.kind is not Kind.EMAIL:
        return [one.person]
    found: list[str] = []
    for to in one.to:
        if to == APPROVERS:
            resource, at = ("", None) if event is None else (str(event.data.get("resource", "")), event.time)
            found += approvals.answerers(conn, one.workspace, agent or "", resource, at)
        elif to == ASKED:
            found += _asked(conn, one.workspace, event)
        elif to == OWNERS:
            record = registry.get_agent(conn, one.workspace, agent) if agent else None
            found += [record.owner, record.sponsor] if record else []
        else:
            found.append(to)
    return list(dict.fromkeys(address.lower() for address in found if "@" in address))


def _asked(conn: Connection, workspace: str, event: Event | None) -> list[str]:
    """Whom a step of a ladder asks: addresses, and everybody who has a role of those that it names."""
    ask = event.data.get("ask") if event is not None else None
    names = [str(one) for one in ask] if isinstance(ask, list | tuple) else []
    people = identity.people_actors(conn, workspace)
    of_role = [who.name.removeprefix("person:") for who in people if not who.roles.isdisjoint(names)]
    return [*(name for name in names if "@" in name), *of_role]


def _note(  # noqa: PLR0917 (the parts of one row)
    conn: Connection, one: Destination, address: str, message: Message, ident: str, now: datetime
) -> Delivery:
    full = store.waiting(conn, one.workspace, one.name) >= MAX_WAITING
    body = {"lines": list(message.lines), "path": message.path, "data": dict(message.facts)}
    item = Delivery(
        id=f"msg_{ident}",
        workspace=one.workspace,
        destination=one.name,
        address=address,
        topic=message.topic,
        type=message.type,
        agent=message.agent,
        approval=message.approval,
        digest=message.digest,
        title=message.title,
        body=body,
        created_at=now,
        state=State.DEAD if full else State.WAITING,
        next_at=None if full else now,
        problem=f"{MAX_WAITING} messages wait for this destination already" if full else "",
    )
    store.add(conn, item)
    return item


def _bundle(  # noqa: PLR0917 (the parts of one row)
    conn: Connection, one: Destination, address: str, message: Message, ident: str, now: datetime
) -> None:
    """Notes a message of which many can come at once: alone when none like it went out shortly before, else together
    with the others of the same window."""
    if store.delivery(conn, f"msg_{ident}") is not None:
        return
    last = store.newest_window(conn, one.workspace, one.name, address, message.topic)
    if last is None or last.window is None or last.window <= now:
        item = _note(conn, one, address, message, ident, now)
        store.change(conn, item.id, [State.WAITING], window=window_of(now, one.bundle_s))
    elif not (last.open and store.extend(conn, last.id, with_one_more(last.body, message, ident))):
        bundle = replace(message, approval="", digest="", type="notify.digest")
        item = _note(conn, one, address, bundle, ident, now)
        body = with_one_more({**item.body, "items": []}, message, ident)
        later: dict[str, Any] = {"next_at": last.window, "window": window_of(last.window, one.bundle_s)}
        store.change(conn, item.id, [State.WAITING], open=True, body=json.dumps(body), **later)


# -- attempts -------------------------------------------------------------------------------------------------------


def due(conn: Connection, now: datetime, shard: int = 0, shards: int = 1) -> Sequence[str]:
    """Deliveries to try now, one for each destination; of so many shards the one of this number."""
    return [ident for ident in store.due(conn, now) if int(ident[-4:], 16) % shards == shard]


def attempt(world: World, ident: str) -> bool:
    """Tries one delivery that is due; says whether it did. A process that is killed between the sending and the note of
    it sends once more, under the same id."""
    now = world.clock()
    with world.read() as conn:
        item = store.delivery(conn, ident)
        there = store.destinations(conn, item.workspace, item.destination) if item else []
    if item is None or item.state is not State.WAITING or not there or item.next_at is None or item.next_at > now:
        return False
    if item.open:  # whoever comes from now on begins another one
        with world.begin() as tx:
            store.close(tx, ident)
            item = store.delivery(tx, ident) or item
    _try(world, there[0], item)
    return True


def _try(world: World, one: Destination, item: Delivery) -> Delivery:
    if item.approval and one.kind is not Kind.WEBHOOK and not answering.waits(world, item):
        return _settle(world, item, State.STALE, "the call did not wait any more")
    if "items" in item.body and not _live(world, one, item):
        return _settle(world, item, State.STALE, "none of the calls waited any more")
    try:
        outcome = _send(world, one, item)
    except Refused as error:
        outcome = Outcome(False, error.message)
    except Failed as error:
        outcome = Outcome(False, error.message)
    if outcome.sent:
        return _settle(world, item, State.SENT, "")
    now = world.clock()
    later = None if outcome.final else next_attempt(item.attempts + 1, item.id, now)
    if later is None:
        logger.warning("a notification is given up", destination=one.name, delivery=item.id, problem=outcome.problem)
        return _settle(world, item, State.DEAD, outcome.problem)
    with world.begin() as tx:
        values: dict[str, Any] = {"attempts": item.attempts + 1, "last_at": now, "next_at": later}
        store.change(tx, item.id, [State.WAITING], problem=outcome.problem, **values)
        store.quiet(tx, one.workspace, one.name, now + PAUSE)
    return replace(item, problem=outcome.problem, **values)


def _live(world: World, one: Destination, item: Delivery) -> list[Delivery]:
    """The messages of a digest that are still worth telling."""
    everything = one.kind is Kind.WEBHOOK
    return [part for part in parts_of(item) if everything or not part.approval or answering.waits(world, part)]


def _settle(world: World, item: Delivery, state: State, problem: str) -> Delivery:
    now = world.clock()
    values: dict[str, Any] = {"attempts": item.attempts + 1, "last_at": now, "next_at": None, "problem": problem}
    with world.begin() as tx:
        store.change(tx, item.id, [State.WAITING], state=state.value, **values)
        if state is State.DEAD:
            told = {"destination": item.destination, "delivery": item.id, "topic": item.topic, "problem": problem}
            events.append(tx, [_event("notify.failed", _SELF, item.workspace, now, told)])
    return replace(item, state=state, **values)


def _send(world: World, one: Destination, item: Delivery) -> Outcome:
    private = words_of(world.config.notify_private)
    if "items" in item.body:
        by_link = one.answers and one.kind is not Kind.WEBHOOK
        item = whole(
            item,
            _live(world, one, item),
            lambda part: answering.link_for(world, part, item.address) if by_link and part.approval else "",
        )
    page = f"{answering.base_url(world)}{item.body['path']}"
    item = replace(item, body={**item.body, "data": {**item.body["data"], "title": item.title, "url": page}})
    if one.kind is Kind.WEBHOOK:
        body, at = wire(item), int(world.clock().timestamp())
        opened = secrets.plain(world, one.workspace, one.secret, one.url)
        keys = [signing_key(value.decode()) for value in opened]
        wipe(*opened)
        signed = {
            "webhook-id": item.id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(keys, item.id, at, body),
        }
        return sending.post(one.url, signed, body, private)
    person = item.address if one.answers and item.approval else ""
    text = text_of(item, answering.link_for(world, item, person) if person else "")
    if one.kind is Kind.EMAIL:
        password = _text(world, one, mail_place(one.url)) if one.secret else ""
        return sending.mail(one, item.address, password, item.title, text, private)
    address = _chat_address(world, one)
    if one.kind is Kind.SLACK:
        return sending.slack(address, item.title, text, private)
    return sending.teams(address, item.title, text, private)


def _text(world: World, one: Destination, url: str) -> str:
    opened = secrets.plain(world, one.workspace, one.secret, url)
    try:
        return opened[0].decode()
    finally:
        wipe(*opened)


def _chat_address(world: World, one: Destination) -> str:
    """The address that a chat gave, if the secret's bounds let it go there."""
    return _text(world, one, "")


def _try_secret(world: World, one: Destination, private: frozenset[str]) -> None:
    """Raises Refused unless the secret can be opened for where this goes, and is what it should be."""
    if one.kind is Kind.WEBHOOK:
        signing_key(_text(world, one, one.url))
    elif one.kind is Kind.EMAIL and one.secret:
        _text(world, one, mail_place(one.url))
    elif one.kind is Kind.SLACK:
        sending.checked_chat(_chat_address(world, one), SLACK, private)
    elif one.kind is Kind.TEAMS:
        sending.checked_chat(_chat_address(world, one), TEAMS, private)


# -- people look, try and send again --------------------------------------------------------------------------------


def deliveries(
    world: World, actor: Actor, destination: str | None = None, state: State | None = None, limit: int = 100
) -> list[Delivery]:
    """What was told, newest first."""
    permit(actor, "notify:read")
    with world.read() as conn:
        return store.deliveries(conn, actor.workspace, destination, state, limit)


def try_out(world: World, actor: Actor, name: str) -> list[Delivery]:
    """Sends a test to each address of a destination, now, and returns what became of it. Raises Refused (403, 404)."""
    permit(actor, "notify:manage")
    now = world.clock()
    data = {"workspace": actor.workspace, "topic": "test", "actor": actor.name}
    message = Message("test", "notify.test", "A test of Tenure", (f"Asked for by {line(actor.name)}",), data, "/notify")
    with world.begin() as tx:
        one = _the(tx, actor.workspace, name)
        noted = [_note(tx, one, to, message, new_id(), now) for to in _addresses(tx, one, None)]
        for item in noted:  # it is tried here: nobody else may begin with it meanwhile
            store.change(tx, item.id, [State.WAITING], next_at=None)
        told = {"name": name, "deliveries": [item.id for item in noted]}
        events.append(tx, [_event("notify.tested", actor.name, actor.workspace, now, told)])
    return [_try(world, one, item) for item in noted if item.state is State.WAITING]


def again(world: World, actor: Actor, ident: str) -> Delivery:
    """Sends a delivery again that is dead, or that arrived: under its own id, so that a receiver who has it knows.
    Raises Refused (403, 404, 409 for one that waits)."""
    permit(actor, "notify:manage")
    now = world.clock()
    with world.begin() as tx:
        item = store.delivery(tx, ident, actor.workspace)
        if item is None:
            text = f"There is no delivery {ident[:64]}."
            raise Refused("unknown_delivery", text, fix="`tenure notify log` lists them.", status=404)
        _the(tx, actor.workspace, item.destination)
        values: dict[str, Any] = {"attempts": 0, "next_at": now, "problem": ""}
        if not store.change(tx, ident, [State.DEAD, State.SENT], state=State.WAITING.value, **values):
            text = f"It is {item.state}: " + (
                "it is on its way already." if item.state is State.WAITING else "too late."
            )
            raise Refused("not_settled", text, status=409)
        store.quiet(tx, item.workspace, item.destination, None)
        told = {"destination": item.destination, "delivery": ident}
        events.append(tx, [_event("notify.replayed", actor.name, actor.workspace, now, told)])
    return replace(item, state=State.WAITING, **values)


# -- what is over ---------------------------------------------------------------------------------------------------


def outdated(conn: Connection, now: datetime) -> Sequence[str]:
    """One word when something can be forgotten."""
    return ("old",) if store.has_old(conn, now - KEPT, now) else ()


def forget(world: World, _key: str) -> bool:
    """Forgets deliveries after 30 days, and links that answer no more."""
    with world.db.begin() as conn:
        return store.forget(conn, world.clock() - KEPT, world.clock()) > 0
