"""Whose turn it is to sign, whose is next, and when: what a person looks at before they rotate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.engine import Connection

from tenure.base.room import World
from tenure.identity import signing
from tenure.identity.model import SigningKey
from tenure.kernel.values import Actor

State = Literal["next", "waiting", "signing", "believed"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A key, and what it does now: it comes ``next``, or is ``waiting`` for a moment that is set, or is ``signing``, or
    is ``believed`` yet. ``signs_until``: when its successor signs; None while that is not set."""

    key: SigningKey
    state: State
    signs_until: datetime | None


@dataclass(frozen=True, slots=True)
class Turns:
    """Every key, the newest first. ``rotates_at``: when the next rotation on schedule is due; None where there is no
    schedule. ``rotation``: what one that is asked for now will do, in sentences."""

    keys: tuple[Turn, ...]
    rotates_at: datetime | None
    rotation: tuple[str, ...]


def turns(world: World, conn: Connection, actor: Actor) -> Turns:
    """How the signing keys stand. Raises Refused for who may not see it."""
    now = world.clock()
    found = tuple(_turn(key, now) for key in signing.list_keys(conn, actor))
    hours = world.config.rotate_keys_h
    due = now - signing.key_age(world) + timedelta(hours=hours) if hours else None
    return Turns(found, due, _rotation(found, world.config.jwks_max_age_s))


def _turn(key: SigningKey, now: datetime) -> Turn:
    until = key.retires_at - signing.BELIEVED if key.retires_at is not None else None
    state: State = "signing"
    if key.signs_at is None:
        state = "next"
    elif key.signs_at > now:
        state = "waiting"
    elif until is not None and until <= now:
        state = "believed"
    return Turn(key, state, until)


def _rotation(keys: tuple[Turn, ...], wait_s: int) -> tuple[str, ...]:
    waiting = next((one.key for one in keys if one.state == "waiting"), None)
    if waiting is not None:
        since = f"{waiting.signs_at:%Y-%m-%d %H:%M:%S}"
        return (f"Nothing changes yet: key {waiting.kid} signs from {since} UTC on, when everybody has it.",)
    following = next((one.key.kid for one in keys if one.state == "next"), None)
    first = f"Key {following} signs" if following else "The next key signs"
    return (
        f"{first} agents' tokens, at once or when it has been in the key set for {wait_s} seconds.",
        "Tokens of the key before are believed for another day, so no call fails and nothing has to be restarted.",
        "The keys that gateways share are replaced with it, and the key after the next one is published.",
    )
