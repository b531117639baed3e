"""Identity's verbs: keys, agents' tokens, people, logins, API tokens, and the first start."""

from __future__ import annotations

import platform
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from joserfc.jwk import ECKey
from sqlalchemy.engine import Connection

from tenure.base import events, files
from tenure.base.config import Config
from tenure.base.http import require
from tenure.base.room import World
from tenure.identity import store
from tenure.identity.model import (
    AUDIENCE,
    LEEWAY_S,
    MAX_TTL_S,
    AgentToken,
    Bootstrap,
    LoginLink,
    Person,
    Session,
    agent_claims,
    email_address,
    human_roles,
    secret_hash,
    sign,
    verify,
)
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import PEOPLE, Actor, Event, Principal, Role

FIRST_OPERATOR = "operator@localhost"
CODE_LIFE = timedelta(minutes=10)
SESSION_LIFE = timedelta(hours=12)
MAX_FAILURES = 10  # failed logins from one address within ATTEMPT_WINDOW
ATTEMPT_WINDOW = timedelta(minutes=10)
MAX_CODES = 30  # login links for one person within CODES_WINDOW
CODES_WINDOW = timedelta(hours=1)

PERSON_TOKEN, GATEWAY_TOKEN = "tnr_", "tng_"  # how they begin: what finds one in the wrong place knows whose it is
_SELF = "system:identity"
_EVERYBODY = sorted(PEOPLE)


# -- keys and agents' tokens ----------------------------------------------------------------------------------------


def issuer(config: Config) -> str:
    """The ``iss`` of every token of this installation."""
    return config.control_url


def public_keys(conn: Connection) -> dict[str, JsonObject]:
    """kid to public JWK of every key whose tokens are believed."""
    return store.public_keys(conn)


def _key_path(config: Config, kid: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", kid):
        raise Failed("bad_key_id", "The control database names a signing key in a way that Tenure never does.")
    return config.data_dir / "keys" / f"agents-{kid}.json"


def _new_key(world: World, conn: Connection, actor_name: str) -> str:
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    public, private = key.as_dict(private=False), key.as_dict(private=True)
    files.private_folder(world.config.data_dir / "keys")
    files.create(_key_path(world.config, str(public["kid"])), msgspec.json.encode(private))
    now = world.clock()
    store.add_key(conn, world.config.workspace, public, now)
    event = Event(
        id=new_id(),
        type="key.created",
        time=now,
        workspace=world.config.workspace,
        actor=actor_name,
        data={"kid": public["kid"]},
    )
    events.append(conn, [event])
    return str(public["kid"])


def _own_kids(world: World, conn: Connection) -> list[str]:
    """Keys that this data folder can sign with: another control plane on the same database has its own."""
    return [kid for kid in store.signing_kids(conn) if _key_path(world.config, kid).exists()]


def rotate_key(world: World, actor: Actor) -> str:
    """Signs with a new key from now on; returns its kid. Tokens of the old key are believed until the last of them has
    expired, then ``flow`` stops believing it."""
    require(actor, Role.OPERATOR)
    with world.begin() as conn:
        store.alone(conn, store.key_table)
        old = _own_kids(world, conn)
        kid = _new_key(world, conn, actor.name)
        store.schedule_retirement(conn, old, world.clock() + timedelta(seconds=MAX_TTL_S + LEEWAY_S))
    for name in old:
        _key_path(world.config, name).unlink(missing_ok=True)
    return kid


def retire_key(world: World, kid: str) -> bool:
    """Stops believing a key whose time is over; whether it did."""
    with world.begin() as conn:
        now = world.clock()
        workspace = store.retire_key(conn, kid, now)
        if workspace is None:
            return False
        event = Event(id=new_id(), type="key.retired", time=now, workspace=workspace, actor=_SELF, data={"kid": kid})
        events.append(conn, [event])
    return True


def issue_agent_token(
    world: World,
    conn: Connection,
    *,
    workspace: str,
    agent: str,
    release: str,
    instance: str,
    session: str,
    credential_epoch: int,
    ttl_s: int,
    on_behalf_of: str | None = None,
) -> AgentToken:
    """Signs a token for one instance of an agent, in the caller's transaction. The token itself is kept nowhere.

    Raises Refused when ``ttl_s`` is not between 1 and 86400 seconds, Failed when this data folder has no signing key.
    """
    if not 1 <= ttl_s <= MAX_TTL_S:
        raise Refused(
            "bad_token_lifetime",
            f"A token cannot live for {ttl_s} seconds.",
            fix=f"Choose from 1 to {MAX_TTL_S} seconds (TENURE_TOKEN_TTL).",
            status=422,
        )
    private = _signing_key(world, conn)
    now = world.clock()
    expires = now + timedelta(seconds=ttl_s)
    principal = Principal(
        workspace=workspace,
        agent=agent,
        release=release,
        instance=instance,
        session=session,
        credential_epoch=credential_epoch,
        on_behalf_of=on_behalf_of,
        expires_at=expires.timestamp(),
    )
    jti = new_id()
    claims = agent_claims(principal, issuer=issuer(world.config), audience=AUDIENCE, issued_at=now.timestamp(), jti=jti)
    token = sign(claims, private)
    # What is signed must also be believed, whatever names the caller was given.
    verify(token, {private["kid"]: private}, issuer(world.config), AUDIENCE, now.timestamp())
    event = Event(
        id=new_id(),
        type="token.issued",
        time=now,
        workspace=workspace,
        actor=_SELF,
        agent=agent,
        release=release,
        instance=instance,
        session=session,
        data={
            "jti": jti,
            "kid": private["kid"],
            "expires_at": expires.isoformat(),
            "epoch": credential_epoch,
            "on_behalf_of": on_behalf_of,
        },
    )
    events.append(conn, [event])
    return AgentToken(token, expires)


def _signing_key(world: World, conn: Connection) -> JsonObject:
    for kid in store.signing_kids(conn):
        try:
            key: JsonObject = msgspec.json.decode(_key_path(world.config, kid).read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError) as error:
            raise Failed(
                "signing_key_unreadable", f"The signing key {kid} in the data folder cannot be read."
            ) from error
        return key
    raise Failed("no_signing_key", "This data folder has no signing key: start the control plane, which makes one.")


# -- who asks -------------------------------------------------------------------------------------------------------


def authenticate(world: World, authorization: str | None, cookie: str | None) -> Actor | None:
    """Who sends this ``Authorization`` header or, when there is none, this session cookie; None for a stranger.

    An agent's token is checked for signature and time; whether its epoch is still the agent's is for those who know the
    agent. Raises Refused (401) with the reason for an agent's token that is dead.
    """
    now = world.clock()
    if authorization is None:
        if not cookie:
            return None
        with world.read() as conn:
            return store.actor_of_session(conn, secret_hash(cookie), now)
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return None
    with world.read() as conn:
        if token.startswith((PERSON_TOKEN, GATEWAY_TOKEN)):
            return store.actor_of_token(conn, secret_hash(token), now)
        keys = store.public_keys(conn)
    if token.count(".") != 2:
        return None
    principal = verify(token, keys, issuer(world.config), AUDIENCE, now.timestamp())
    return Actor(principal.workspace, f"agent:{principal.agent}", frozenset(), principal)


# -- people ---------------------------------------------------------------------------------------------------------


def list_people(conn: Connection, workspace: str) -> list[Person]:
    """Everybody of a workspace, in the order they came."""
    return store.people(conn, workspace)


def add_person(world: World, actor: Actor, email: str, roles: Sequence[str]) -> Person:
    """Lets somebody in, or gives somebody other roles. Twice the same changes nothing. Operators only; the last
    operator cannot give the role up."""
    require(actor, Role.OPERATOR)
    address, wanted = email_address(email), human_roles(list(roles))
    with world.begin() as conn:
        store.alone(conn, store.person_table)
        now = world.clock()
        known = store.person(conn, actor.workspace, address)
        if known is not None and known.roles == wanted:
            return known
        operators = [p.email for p in store.people(conn, actor.workspace) if Role.OPERATOR in p.roles]
        if operators == [address] and Role.OPERATOR not in wanted:
            raise Refused(
                "last_operator",
                f"{address} is the only operator.",
                fix="Make somebody else an operator first.",
                status=409,
            )
        person = Person(actor.workspace, address, wanted, known.created_at if known else now)
        store.put_person(conn, person)
        _tell_person(conn, person, actor.name, now, new=known is None)
    return person


def _tell_person(conn: Connection, person: Person, by: str, now: datetime, *, new: bool) -> None:
    data = {"email": person.email, "roles": sorted(person.roles)}
    ident, workspace = new_id(), person.workspace
    event = (
        Event(id=ident, type="person.created", time=now, workspace=workspace, actor=by, data=data)
        if new
        else Event(id=ident, type="person.changed", time=now, workspace=workspace, actor=by, data=data)
    )
    events.append(conn, [event])


def need_person(conn: Connection, workspace: str, email: str) -> Person:
    """The person with this address. Raises Refused when there is none."""
    person = store.person(conn, workspace, email_address(email))
    if person is None:
        raise Refused("no_such_person", f"There is no {email}.", fix="Add them: `tenure people add`.", status=404)
    return person


# -- logging in -----------------------------------------------------------------------------------------------------


def _new_code(world: World, conn: Connection, person: Person) -> LoginLink:
    now = world.clock()
    code = secrets.token_urlsafe(24)
    store.add_code(conn, secret_hash(code), person, now, now + CODE_LIFE)
    return LoginLink(person.email, code, f"{world.config.control_url}/login?code={code}", now + CODE_LIFE)


def login_link(world: World, actor: Actor, email: str) -> LoginLink:
    """A one-time login link, good for 10 minutes. Operators may make one for anybody, others for themselves."""
    address = email_address(email)
    if actor.name != f"person:{address}":
        require(actor, Role.OPERATOR)
    with world.begin() as conn:
        person = need_person(conn, actor.workspace, address)
        if store.codes_since(conn, actor.workspace, address, world.clock() - CODES_WINDOW) >= MAX_CODES:
            raise Refused(
                "too_many_links",
                f"{address} was given {MAX_CODES} login links within an hour.",
                fix="Use one of them, or wait.",
                status=429,
            )
        link = _new_code(world, conn, person)
        event = Event(
            id=new_id(),
            type="login_link.created",
            time=world.clock(),
            workspace=actor.workspace,
            actor=actor.name,
            data={"email": address},
        )
        events.append(conn, [event])
        return link


def login(world: World, code: str, source: str) -> Session:
    """Trades a one-time code for a session of 12 hours. ``source`` is the address the request came from.

    Raises Refused: bad_code (401) for one that is unknown, used or expired, too_many_attempts (429) after 10 of those
    from one address within 10 minutes. A right code is taken all the same: it has 192 bits, so guessing is no way
    to it, and an address may be shared.
    """
    workspace, place = world.config.workspace, source[:64]
    with world.begin() as conn:
        now = world.clock()
        person = store.claim_code(conn, secret_hash(code), now)
        tries = store.failures(conn, workspace, place, now - ATTEMPT_WINDOW)
        if person is None and tries < MAX_FAILURES:
            store.add_failure(conn, workspace, place, now, ATTEMPT_WINDOW)  # committed: the refusal comes after
        elif person is not None:
            token = secrets.token_urlsafe(32)
            store.add_session(conn, secret_hash(token), person, now, now + SESSION_LIFE)
            event = Event(
                id=new_id(),
                type="person.logged_in",
                time=now,
                workspace=person.workspace,
                actor=f"person:{person.email}",
                data={"email": person.email},
            )
            events.append(conn, [event])
    if person is None and tries >= MAX_FAILURES:
        raise Refused(
            "too_many_attempts",
            "Too many wrong login codes came from your address.",
            fix=f"Wait {int(ATTEMPT_WINDOW.total_seconds() // 60)} minutes, or use a right one.",
            status=429,
        )
    if person is None:
        raise Refused(
            "bad_code",
            "This login code is unknown, used, or older than 10 minutes.",
            fix="Get a new one with `tenure login-link`.",
            status=401,
        )
    return Session(token, person.actor, now + SESSION_LIFE)


def logout(world: World, cookie: str | None) -> None:
    """Ends the session of this cookie, if it is one."""
    if cookie:
        with world.begin() as conn:
            store.drop_session(conn, secret_hash(cookie))


# -- the first start, and every later one ---------------------------------------------------------------------------


def bootstrap(world: World) -> Bootstrap:
    """Makes what is missing: a signing key, ``gateway.token``, ``operator.token``, the first operator; and a fresh
    login code. Any number may run at once. A token file that somebody removed is replaced, and its old token dies."""
    config, now = world.config, world.clock()
    files.private_folder(config.data_dir)
    with world.begin() as conn:
        store.alone(conn, store.key_table)  # held to the end: two that start at once make one of everything
        if not _own_kids(world, conn):
            _new_key(world, conn, _SELF)
        operators = [p for p in store.people(conn, config.workspace) if Role.OPERATOR in p.roles]
        if operators:
            operator = operators[0]
        else:
            operator = Person(config.workspace, FIRST_OPERATOR, frozenset(_EVERYBODY), now)
            store.put_person(conn, operator)
            _tell_person(conn, operator, _SELF, now, new=True)
        _token_file(world, conn, "gateway.token", GATEWAY_TOKEN, None)
        _token_file(world, conn, "operator.token", PERSON_TOKEN, operator.email)
        return Bootstrap(operator.email, _new_code(world, conn, operator).code)


def _token_file(world: World, conn: Connection, name: str, prefix: str, email: str | None) -> None:
    path = world.config.data_dir / name
    # Named for the folder too: another control plane on the same database has token files of its own.
    label = f"{name}@{stable_id(platform.node(), str(world.config.data_dir.resolve()))}"
    if files.create(path, f"{prefix}{secrets.token_urlsafe(32)}\n".encode()):
        store.drop_tokens_named(conn, world.config.workspace, label)
    try:
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed("token_file_unreadable", f"{path} cannot be read.") from error
    if not re.fullmatch(prefix + r"[A-Za-z0-9_-]{43}", secret):
        raise Refused("bad_token_file", f"{path} holds no token of Tenure's.", fix="Remove it and start again.")
    store.add_token(
        conn,
        id=new_id(),
        hashed=secret_hash(secret),
        workspace=world.config.workspace,
        email=email,
        name=label,
        now=world.clock(),
        expires_at=None,
    )
