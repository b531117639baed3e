"""Connectors: upstreams at which each person lets agents in themselves, with OAuth 2.1 (authorization code, PKCE)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets as randomness
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.engine import Connection

from tenure.base import log
from tenure.base.access import permit
from tenure.base.bounds import read_bounds
from tenure.base.room import World
from tenure.base.sealing import wipe
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Actor
from tenure.secrets import connector_store as places
from tenure.secrets import endings, sealing, store
from tenure.secrets.endings import Outcome
from tenure.secrets.model import Connector, Held, check_name, check_value
from tenure.secrets.upstream import ask, is_safe, tell

LIFE = timedelta(minutes=10)
_OVERLAP = timedelta(minutes=1)
_PERSON = "person:"
_SELF = "system:secrets"
_log = log.get("secrets")


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and what it must bring back as a cookie."""

    url: str
    binding: str


def find(world: World, actor: Actor) -> list[tuple[Connector, Held | None]]:
    """The connectors of the workspace, each with how the asking person stands there."""
    with world.read() as conn:
        found = places.connectors(conn, actor.workspace)
        mine = {one.connector: one for one in places.held(conn, actor.workspace, _email(actor))}
    return [(one, mine.get(one.name)) for one in found]


def put(world: World, actor: Actor, connector: Connector) -> Connector:
    """Keeps how people let agents in at an upstream, in place of what was kept. Raises Refused (403, 422)."""
    permit(actor, "secrets:manage")
    check_name(connector.name)
    for url in (connector.authorize_url, connector.token_url):
        if not is_safe(url):
            raise Refused("insecure_address", f"{url[:200]} is not an https address.", status=422)
    bounds = read_bounds(connector.hosts)
    kept = replace(connector, workspace=actor.workspace, hosts=bounds.hosts, set_at=world.clock(), set_by=actor.name)
    with world.begin() as tx:
        if connector.client_secret and not store.find(tx, actor.workspace, connector.client_secret):
            text = f"There is no secret {connector.client_secret}, the client's."
            raise Refused("unknown_secret", text, fix="Keep it first: tenure secrets put", status=422)
        places.put_connector(tx, kept)
        tell(tx, kept.workspace, actor.name, world.clock(), "connector.put", {"connector": kept.name})
    return kept


def remove(world: World, actor: Actor, name: str) -> None:
    """Forgets a connector and every token that was got by it, which the upstream is asked to revoke soon after. Raises
    Refused (403, 404)."""
    permit(actor, "secrets:manage")
    with world.begin() as tx:
        connector = _the_connector(tx, actor.workspace, name)
        for one in places.held(tx, actor.workspace, connector=name):
            endings.keep(world, tx, connector, one, world.clock())
            _drop(tx, one)
        places.remove_connector(tx, actor.workspace, name)
        tell(tx, actor.workspace, actor.name, world.clock(), "connector.removed", {"connector": name})


def begin(world: World, actor: Actor, name: str) -> Begun:
    """The beginning of a person's consent at an upstream. Raises Refused (403 for who is no person, 404)."""
    permit(actor, "connectors:use")
    state, verifier, binding = (randomness.token_urlsafe(32) for _ in range(3))
    with world.begin() as tx:
        connector = _the_connector(tx, actor.workspace, name)
        places.drop_begun(tx, world.clock())
        begun = places.BegunAt(_hash(state), actor.workspace, name, _email(actor), _hash(binding), verifier)
        places.add_begun(tx, begun, world.clock() + LIFE)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": connector.client_id,
        "redirect_uri": redirect_uri(world, name),
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    if connector.scopes:
        query["scope"] = " ".join(connector.scopes)
    place = connector.authorize_url
    return Begun(f"{place}{'&' if '?' in place else '?'}{urlencode(query)}", binding)


def redirect_uri(world: World, name: str) -> str:
    """Where the upstream sends the browser back to."""
    return f"{world.config.public_url.rstrip('/') or world.config.control_url}/connectors/{name}/back"


def finish(world: World, actor: Actor, name: str, *, code: str, state: str, binding: str) -> Held:
    """Takes what the upstream sent a browser back with: from now on agents that work for this person are let in there.
    Raises Refused for a state that was not given to this person and browser, is used up or too old, and for a code
    that the upstream does not take."""
    permit(actor, "connectors:use")
    now = world.clock()
    with world.begin() as tx:
        begun = places.take_begun(tx, _hash(state), now)
        connector = _the_connector(tx, actor.workspace, name)
    if begun is None or (begun.workspace, begun.connector, begun.email) != (actor.workspace, name, _email(actor)):
        raise _not_begun()
    if not hmac.compare_digest(begun.binding, _hash(binding)):
        raise _not_begun()
    asked = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri(world, name),
        "code_verifier": begun.verifier,
    }
    told = ask(world, connector, asked)
    with world.begin() as tx:
        store.alone(tx)
        known = places.one(tx, actor.workspace, name, begun.email)
        held = _keep(world, tx, known or Held(actor.workspace, name, begun.email, 0, now), told, "")
        tell(tx, actor.workspace, actor.name, now, "connector.connected", {"connector": name, "person": begun.email})
    return held


def _not_begun() -> Refused:
    text = "This was not begun by you in this browser, or too long ago."
    return Refused("not_begun_here", text, fix="Begin again from the page of connectors.", status=403)


def disconnect(world: World, actor: Actor, name: str) -> Outcome:
    """Agents are not let in for the asking person any more: gateways forget their tokens, and the upstream is asked to
    revoke them. Says whether it did. Raises Refused (403, 404)."""
    permit(actor, "connectors:use")
    with world.begin() as tx:
        connector = _the_connector(tx, actor.workspace, name)
        held = places.one(tx, actor.workspace, name, _email(actor))
        if held is None:
            raise Refused("not_connected", f"You have not let agents in at {name[:63]}.", status=404)
        ending = endings.keep(world, tx, connector, held, world.clock() + endings.INLINE)
        _drop(tx, held)
        facts = {"connector": name, "person": held.email}
        tell(tx, actor.workspace, actor.name, world.clock(), "connector.disconnected", facts)
    return endings.attempt(world, ending)


# -- refreshing -----------------------------------------------------------------------------------------------------


def due(conn: Connection, now: datetime) -> Sequence[str]:
    """Tokens that should be refreshed now, as ``<workspace>/<connector>/<address>``."""
    return [f"{one.workspace}/{one.connector}/{one.email}" for one in places.due(conn, now)]


def refresh(world: World, key: str) -> bool:
    """Gets new tokens for one person at one upstream; says whether it did. An upstream that does not answer is asked
    again later; one that does not take the token any more has the person asked to connect again."""
    workspace, name, email = key.split("/", 2)
    with world.read() as conn:
        held = places.one(conn, workspace, name, email)
        found = places.connectors(conn, workspace, name)
        if held is None or not found or held.refresh_at is None or held.refresh_at > world.clock():
            return False
        label = held.refresh_name
        kept = store.versions(conn, [(workspace, label)])
    values = sealing.opened_by_mark(world, [one for one in kept.items() if one[0][2] == held.version])
    if not values:
        return False
    (token,) = values.values()
    try:
        told = ask(world, found[0], {"grant_type": "refresh_token", "refresh_token": token.decode()})
        problem = ""
    except Refused:
        told, problem = {}, "the upstream does not take the refresh token any more"
    except Failed as error:
        _log.warning("token_not_refreshed", connector=name, problem=error.message)
        return False
    finally:
        wipe(token)
    with world.begin() as tx:
        store.alone(tx)
        now_held = places.one(tx, workspace, name, email)
        if now_held is None or now_held.version != held.version:
            return False  # connected anew or disconnected meanwhile
        _keep(world, tx, held, told, problem)
        kind = "connector.lost" if problem else "connector.refreshed"
        tell(tx, workspace, _SELF, world.clock(), kind, {"connector": name, "person": email})
    return True


def _keep(world: World, tx: Connection, held: Held, told: Mapping[str, Any], problem: str) -> Held:
    """Keeps what a token endpoint told, as the next version of a person's tokens."""
    now = world.clock()
    if problem:
        lost = replace(held, problem=problem, refresh_at=None)
        places.put_held(tx, lost)
        return lost
    life = told.get("expires_in")
    seconds = float(life) if isinstance(life, int | float) and not isinstance(life, bool) and life > 0 else 0.0
    renewable = isinstance(told.get("refresh_token"), str) or held.refresh_at is not None
    kept = replace(
        held,
        version=held.version + 1,
        expires_at=now + timedelta(seconds=seconds) if seconds else None,
        refresh_at=now + timedelta(seconds=seconds * 0.75) if seconds and renewable else None,
        refreshed_at=now,
        problem="",
    )
    tokens = {kept.name: told["access_token"]}
    if isinstance(told.get("refresh_token"), str):
        tokens[kept.refresh_name] = told["refresh_token"]
    elif renewable:  # the old one goes on (RFC 6749 section 6)
        old = store.versions(tx, [(held.workspace, held.refresh_name)])
        values = sealing.opened_by_mark(world, [one for one in old.items() if one[0][2] == held.version])
        for value in values.values():
            tokens[kept.refresh_name] = value.decode()
            wipe(value)
    for name, value in tokens.items():
        about = (kept.workspace, name, kept.version)
        store.add_version(tx, *about, sealing.sealed(world, check_value(value), about))
        store.outdate(tx, kept.workspace, name, kept.version, now + _OVERLAP)
    places.put_held(tx, kept)
    return kept


def _drop(tx: Connection, held: Held) -> None:
    for name in (held.name, held.refresh_name):
        store.remove(tx, held.workspace, name)
    places.remove_held(tx, held)


def _the_connector(conn: Connection, workspace: str, name: str) -> Connector:
    found = places.connectors(conn, workspace, name)
    if not found:
        text = f"There is no connector {name[:63]!r} in workspace {workspace}."
        raise Refused("unknown_connector", text, fix="`tenure connectors list` shows what there is.", status=404)
    return found[0]


def _email(actor: Actor) -> str:
    return actor.name.removeprefix(_PERSON).lower() if actor.name.startswith(_PERSON) else ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
