"""The key that data keys are wrapped by: how it stands, a new one, and wrapping everything anew."""

from __future__ import annotations

from dataclasses import dataclass

from tenure.base import events
from tenure.base.access import Thing, permit
from tenure.base.room import World
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Status
from tenure.secrets import keys, store
from tenure.secrets.model import wipe

_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class KeyState:
    """The key that wraps now, how many versions it wraps, and how many still wait to be wrapped by it."""

    source: str
    current: str
    wrapped: int
    waiting: int


def key_state(world: World, actor: Actor) -> KeyState:
    """Which key wraps, and how far a change of it has come. Raises Refused (403), Failed when the key cannot be had."""
    permit(actor, "keys:rotate", Thing(workspace=world.config.workspace))
    known = keys.keys_of(world.config)
    current = known.current()
    with world.read() as conn:
        count = store.keks(conn)
    mine = count.pop(current, 0)
    return KeyState(known.source, current, mine, sum(count.values()))


def rotate_key(world: World, actor: Actor) -> KeyState:
    """Wraps with a new key from now on; what is wrapped by others follows (``rewrap``). Raises Refused (403, 409 for a
    key that is set elsewhere), Failed."""
    permit(actor, "keys:rotate", Thing(workspace=world.config.workspace))
    with world.begin() as tx:
        store.alone(tx)  # two that rotate at once must not write over each other
        name = keys.renew(world.config)
        event = Event(
            id=new_id(),
            type="secret.key.rotated",
            time=world.clock(),
            workspace=actor.workspace,
            actor=actor.name,
            status=Status.FLAGGED,
            data={"key": name},
        )
        events.append(tx, [event])
    return key_state(world, actor)


def rewrap(world: World) -> bool:
    """Wraps the next data keys by the current key, or drops keys that wrap nothing more; says whether it did anything.
    One transaction, and each data key is wrapped by exactly one key before it and after it: it may die anywhere."""
    known = keys.keys_of(world.config)
    with world.read() as conn:
        count = store.keks(conn)
        if not count:
            return False
        current = known.current()
        due = [row for row in store.under_other(conn, current, _AT_ONCE) if known.known(row[3])]
    if not due:
        return keys.has_old(world.config, frozenset(count)) and _forget(world)
    plain = known.unwrap([(row[3], row[4]) for row in due])
    try:
        name, wrapped = known.wrap(plain)
    finally:
        wipe(*plain)
    with world.begin() as tx:
        store.alone(tx)
        if not keys.keys_of(world.config).known(name):
            return True  # replaced and dropped meanwhile: the next step finds the newer one
        done = [store.rewrap(tx, row[:3], row[4], name, text) for row, text in zip(due, wrapped, strict=True)]
    return any(done)


def _forget(world: World) -> bool:
    with world.begin() as tx:
        store.alone(tx)  # nothing is wrapped meanwhile
        return keys.forget(world.config, frozenset(store.keks(tx)))
