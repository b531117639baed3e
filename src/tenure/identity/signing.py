"""The keys that sign agents' tokens: one signs, and the one after it is published already.

A verifier keeps the key set for a while, so a key that signs the moment it is made meets some that do not know it. So
there is always a next key, which is in the key set and at every gateway and has signed nothing. A rotation has it sign
as soon as no verifier can have an older key set, and publishes the one after it. Private halves are files of the data
folder: a control plane signs with those that it has.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from joserfc.jwk import ECKey
from sqlalchemy.engine import Connection

from tenure.base import events, files
from tenure.base.access import Thing, permit
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import endings, shared, store
from tenure.identity.model import LEEWAY_S, MAX_TTL_S, SigningKey
from tenure.kernel.errors import Failed
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event

_SELF = "system:identity"
_MARGIN_S = 0.5  # for an answer with the key set that is on its way while a key is published
_HOLD = timedelta(seconds=60)
"""So long a replaced key's private half is kept: a token whose signing began before is signed to the end."""
BELIEVED = timedelta(seconds=MAX_TTL_S + LEEWAY_S) + _HOLD
"""So long a key that signs no more is believed."""


def public_keys(conn: Connection) -> dict[str, JsonObject]:
    """kid to public JWK of every key whose tokens are believed, or soon will be."""
    return store.public_keys(conn)


def _path(config: Config, kid: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", kid):
        raise Failed("bad_key_id", "The control database names a signing key in a way that Tenure never does.")
    return config.data_dir / "keys" / f"agents-{kid}.json"


def _own(world: World, conn: Connection) -> list[SigningKey]:
    """Keys that this data folder can sign with, the next one first: another control plane on the same database has its
    own."""
    return [key for key in store.living_keys(conn) if _path(world.config, key.kid).exists()]


def list_keys(conn: Connection, actor: Actor) -> list[SigningKey]:
    """Every key of the installation that is believed, the newest first."""
    permit(actor, "credentials:read")
    return store.living_keys(conn)


def _publish(world: World, conn: Connection, actor_name: str) -> SigningKey:
    """The next key: its tokens would be believed, and there are none."""
    made, now = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True), world.clock()
    key = SigningKey(str(made.kid), now)
    files.private_folder(world.config.data_dir / "keys")
    files.create(_path(world.config, key.kid), msgspec.json.encode(made.as_dict(private=True)))
    store.add_key(conn, world.config.workspace, key, made.as_dict(private=False))
    data: JsonObject = {"kid": key.kid}
    home = world.config.workspace
    events.append(conn, [Event(id=new_id(), type="key.created", time=now, workspace=home, actor=actor_name, data=data)])
    return key


def ensure(world: World, conn: Connection, actor_name: str = _SELF) -> None:
    """One key that signs and one that comes next, in the caller's transaction. The next one signs at once where none
    does: the first start, or the end of the one that did."""
    store.alone(conn, store.key_table)
    now, own = world.clock(), _own(world, conn)
    last = next((key for key in own if key.signs_at is not None and key.retires_at is None), None)
    following = next((key for key in own if key.signs_at is None), None)
    going = next((key for key in own if _signs(key, now)), None)
    if going is None:
        first = last or following or _publish(world, conn, actor_name)
        following = None if first is following else following
        store.put_turn(conn, SigningKey(first.kid, first.created_at, now))
    elif last is None:  # what should have come after it has ended before its time
        store.put_turn(conn, SigningKey(going.kid, going.created_at, going.signs_at))
    if following is None:
        _publish(world, conn, actor_name)


def _signs(key: SigningKey, now: datetime) -> bool:
    return (
        key.signs_at is not None and key.signs_at <= now and (key.retires_at is None or now < key.retires_at - BELIEVED)
    )


def rotate_key(world: World, actor: Actor) -> SigningKey:
    """Has the next key sign, from ``signs_at`` of the answer on: now, or when it will have been in the key set for as
    long as anybody may keep an older one (TENURE_JWKS_MAX_AGE). While that is waited for, asking again changes nothing.
    Tokens of the key before are believed until the last of them has expired. The keys that gateways share are replaced
    with it.

    Every gateway has confirmed the next key before it signs, and the ones that gateways share likewise."""
    home = world.config.workspace
    permit(actor, "keys:rotate", Thing(workspace=home))
    with world.begin() as conn:
        ensure(world, conn, actor.name)
        shared.prepare(world.config)
    world.replicas.settle()
    with world.begin() as conn:
        store.alone(conn, store.key_table)
        now, own = world.clock(), _own(world, conn)
        waiting = next((key for key in own if key.signs_at is not None and key.signs_at > now), None)
        turned = waiting or _turn(world, conn, own, now)
        if waiting is None:
            _publish(world, conn, actor.name)
            data: JsonObject = {"kid": turned.kid, "signs_at": str(turned.signs_at)}
            event = Event(id=new_id(), type="key.rotated", time=now, workspace=home, actor=actor.name, data=data)
            events.append(conn, [event])
        shared.rotate(world.config, now)
    world.replicas.settle()  # the gateways sign with theirs
    return turned


def _turn(world: World, conn: Connection, own: list[SigningKey], now: datetime) -> SigningKey:
    """The next key's turn: when it begins, the turn of those before ends."""
    following = next((key for key in own if key.signs_at is None), None)
    if following is None:
        raise Failed("no_signing_key", "The next signing key is gone from the data folder: start the control plane.")
    lead = timedelta(seconds=world.config.jwks_max_age_s + _MARGIN_S)
    turned = SigningKey(following.kid, following.created_at, max(now, following.created_at + lead))
    store.put_turn(conn, turned)
    for key in own:
        if key.signs_at is not None and key.retires_at is None and turned.signs_at is not None:
            store.put_turn(conn, SigningKey(key.kid, key.created_at, key.signs_at, turned.signs_at + BELIEVED))
    return turned


def key_age(world: World) -> timedelta:
    """For how long the same key has been signing, or the one that gateways share if that is longer."""
    now = world.clock()
    with world.read() as conn:
        turns = [key.signs_at for key in _own(world, conn) if key.signs_at is not None]
    return max(now - max(turns, default=now), shared.age(world.config, now))


def tend_key(world: World, kid: str) -> bool:
    """Forgets the private half of a key that signs no more, and stops believing one whose last token has expired;
    whether it did either."""
    now, path = world.clock(), _path(world.config, kid)
    with world.begin() as conn:
        key = next((key for key in store.living_keys(conn) if key.kid == kid), None)
        if key is None or key.retires_at is None:
            return False
        workspace = store.retire_key(conn, kid, now)
        if workspace is not None:
            data: JsonObject = {"kid": kid}
            event = Event(id=new_id(), type="key.retired", time=now, workspace=workspace, actor=_SELF, data=data)
            events.append(conn, [event])
    done = key.retires_at - BELIEVED + _HOLD <= now and path.exists()
    if done:
        path.unlink(missing_ok=True)
    return done or workspace is not None


def end_key(world: World, conn: Connection, actor: Actor, kid: str) -> None:
    """Stops believing a signing key now, in the caller's transaction; the next one signs where this one did. Raises
    Refused (404) when none of this id is believed."""
    store.alone(conn, store.key_table)
    endings.end_key(conn, actor, world.config.workspace, kid, world.clock(), lambda name: _path(world.config, name))
    ensure(world, conn, actor.name)


def go_on(world: World) -> None:
    """After a key's end: where another control plane ended the one that signs here, the next one does, and its private
    half is forgotten. Nothing is made where this data folder had no key."""
    with world.begin() as conn:
        _go_on(world, conn)
        believed = store.public_keys(conn)
    for path in (world.config.data_dir / "keys").glob("agents-*.json"):
        if path.stem.removeprefix("agents-") not in believed:
            path.unlink(missing_ok=True)


def _go_on(world: World, conn: Connection) -> None:
    store.alone(conn, store.key_table)
    now, own = world.clock(), _own(world, conn)
    if own and not any(_signs(key, now) for key in own):
        ensure(world, conn)


def issuing_key(world: World, conn: Connection) -> JsonObject:
    """As ``signing_key``, in a transaction that may write: when the one that signed was ended, it is the next one."""
    now = world.clock()
    if not any(_signs(key, now) for key in _own(world, conn)):
        _go_on(world, conn)
    return signing_key(world, conn)


def signing_key(world: World, conn: Connection) -> JsonObject:
    """The private JWK that signs now. Raises Failed when this data folder has none."""
    now = world.clock()
    for key in store.living_keys(conn):
        if not _signs(key, now):
            continue
        try:
            private: JsonObject = msgspec.json.decode(_path(world.config, key.kid).read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError) as error:
            raise Failed(
                "signing_key_unreadable", f"The signing key {key.kid} in the data folder cannot be read."
            ) from error
        return private
    raise Failed("no_signing_key", "This data folder has no signing key: start the control plane, which makes one.")
