"""The key that data keys are wrapped by: how it stands, a new one, and wrapping everything anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events, keys, subjects
from tenure.base.access import Thing, permit
from tenure.base.room import World
from tenure.base.sealing import wipe
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Status
from tenure.secrets import store

_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class KeyState:
    """The key that wraps now, how many data keys it wraps (of secrets, and of subjects that content is kept about), and
    how many still wait to be wrapped by it."""

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
        count = _wrapped(conn)
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


def waits(world: World) -> bool:
    """Whether ``rewrap`` would find anything to do. Raises Failed when the key cannot be had."""
    due, forgettable = _waiting(world, keys.keys_of(world.config))
    return bool(due) or forgettable


def rewrap(world: World) -> bool:
    """Wraps the next data keys by the current key, or drops keys that wrap nothing more; says whether it did anything.
    One transaction, and each data key is wrapped by exactly one key before it and after it: it may die anywhere."""
    known = keys.keys_of(world.config)
    due, forgettable = _waiting(world, known)
    if not due:
        return forgettable and _forget(world)
    plain = known.unwrap([(kek, text) for _, _, kek, text in due])
    try:
        name, wrapped = known.wrap(plain)
    finally:
        wipe(*plain)
    with world.begin() as tx:
        store.alone(tx)
        if not keys.keys_of(world.config).known(name):
            return True  # replaced and dropped meanwhile: the next step finds the newer one
        done = [put(tx, at, before, name, text) for (put, at, _, before), text in zip(due, wrapped, strict=True)]
    return any(done)


_Due = tuple[Callable[..., bool], Any, str, str]
"""What puts another wrapping of a data key in place, where that is, the key that wraps it, and how it is wrapped."""


def _waiting(world: World, known: keys.Keys) -> tuple[list[_Due], bool]:
    """What the current key is to wrap next, and whether there are keys that wrap nothing more."""
    with world.read() as conn:
        count = _wrapped(conn)
        if not count:
            return [], False
        current = known.current()
        due = [one for one in _due(conn, current) if known.known(one[2])]
    return due, keys.has_old(world.config, frozenset(count))


def _due(conn: Connection, current: str) -> list[_Due]:
    secrets = [(store.rewrap, tuple(at), kek, text) for *at, kek, text in store.under_other(conn, current, _AT_ONCE)]
    content = [(subjects.rewrap, at, kek, text) for at, kek, text in subjects.under_other(conn, current, _AT_ONCE)]
    return [*secrets, *content]


def _wrapped(conn: Connection) -> Counter[str]:
    return Counter(store.keks(conn)) + Counter(subjects.keks(conn))


def _forget(world: World) -> bool:
    with world.begin() as tx:
        store.alone(tx)  # nothing is wrapped meanwhile
        subjects.alone(tx)
        return keys.forget(world.config, frozenset(_wrapped(tx)))
