"""The end of what a person let in: the upstream is asked to revoke the tokens (RFC 7009), again and again for a while.

Gateways have forgotten them by then; but whoever got hold of one elsewhere could still use it at the upstream. Where to
ask is in the upstream's own metadata (RFC 8414, OpenID Connect Discovery), believed when it names the token endpoint
that the connector has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2
import msgspec
from sqlalchemy.engine import Connection

from tenure.base.room import World
from tenure.base.sealing import wipe
from tenure.kernel.errors import Failed
from tenure.kernel.ids import new_id
from tenure.secrets import connector_store as places
from tenure.secrets import sealing, store
from tenure.secrets.model import Connector, Ending, Held
from tenure.secrets.upstream import client_secret, is_safe, tell

INLINE = timedelta(seconds=30)
"""So long nobody else asks: who disconnects waits for the first answer."""
_SELF = "system:secrets"
_TIMEOUT_S, _WHOLE_S = 3.0, 10.0
_FIRST, _LONGEST, _MOST = timedelta(seconds=10), timedelta(hours=6), 8
_MAX_DOCUMENT = 1 << 20
_OK, _SERVER_FAULT, _TOO_MANY = 200, 500, 429


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the tokens at the upstream: ``revoked``; ``pending``, it is asked again; or ``not_revoked``, they
    are good there until they expire. ``problem`` says why, empty where all went well."""

    upstream: Literal["revoked", "pending", "not_revoked"]
    problem: str = ""


def keep(world: World, tx: Connection, connector: Connector, held: Held, due_at: datetime) -> str:
    """Has the upstream asked to revoke a person's tokens, in the transaction that drops them; the id to ask by, empty
    when they cannot be opened any more."""
    wanted = store.versions(tx, [(held.workspace, name) for name in (held.refresh_name, held.name)])
    kept = [one for one in wanted.items() if one[0][2] == held.version]
    try:
        values = sealing.opened_by_mark(world, kept)
    except Failed:  # the key cannot be had now: the person's wish to disconnect does not wait for it
        return ""
    named = {sealed.nonce.hex(): about[1] for about, sealed in kept}
    tokens = {named[mark]: value.decode() for mark, value in values.items()}
    wipe(*values.values())
    if not tokens:
        return ""
    ending = Ending(
        id=new_id(),
        workspace=held.workspace,
        connector=held.connector,
        email=held.email,
        authorize_url=connector.authorize_url,
        token_url=connector.token_url,
        client_id=connector.client_id,
        client_secret=connector.client_secret,
        attempts=0,
        due_at=due_at,
    )
    told = [(tokens[name], hint) for name, hint in _hints(held) if name in tokens]
    about = (held.workspace, ending.name, 1)
    store.add_version(tx, *about, sealing.sealed(world, bytearray(msgspec.json.encode(told)), about))
    places.add_ending(tx, ending)
    return ending.id


def _hints(held: Held) -> tuple[tuple[str, str], ...]:
    """The refresh token first: with it the upstream ends the whole grant (RFC 7009 section 2.1)."""
    return (held.refresh_name, "refresh_token"), (held.name, "access_token")


def due(conn: Connection, now: datetime) -> Sequence[str]:
    """What an upstream should be asked now."""
    return places.endings_due(conn, now)


def step(world: World, ident: str) -> bool:
    """Asks once more; says whether that was the end of it."""
    return attempt(world, ident).upstream != "pending"


def attempt(world: World, ident: str) -> Outcome:
    """Asks the upstream to revoke, and keeps what came of it."""
    with world.read() as conn:
        ending = places.ending(conn, ident) if ident else None
        kept = store.versions(conn, [(ending.workspace, ending.name)]) if ending is not None else {}
    if ending is None:
        return Outcome("not_revoked", "The tokens could not be opened any more.")
    try:
        values = sealing.opened_by_mark(world, list(kept.items()))
        found = [msgspec.json.decode(value, type=list[tuple[str, str]]) for value in values.values()]
        wipe(*values.values())
        outcome = _revoked(world, ending, found[0]) if found else Outcome("not_revoked", "They cannot be opened.")
    except Failed as error:
        outcome = Outcome("pending" if error.retry else "not_revoked", error.message)
    except (httpx2.HTTPError, ValueError):
        outcome = Outcome("pending", f"{urlsplit(ending.token_url).netloc} does not answer.")
    return _kept(world, ending, outcome)


def _kept(world: World, ending: Ending, outcome: Outcome) -> Outcome:
    attempts = ending.attempts + 1
    if outcome.upstream == "pending" and attempts >= _MOST:
        outcome = Outcome("not_revoked", outcome.problem)
    with world.begin() as tx:
        if outcome.upstream == "pending":
            wait = min(_FIRST * 4**ending.attempts, _LONGEST)
            places.put_off(tx, ending.id, attempts, world.clock() + wait)
            return outcome
        if not places.remove_ending(tx, ending.id):
            return outcome
        store.remove(tx, ending.workspace, ending.name)
        data: dict[str, Any] = {"connector": ending.connector, "person": ending.email, "attempts": attempts}
        if outcome.problem:
            data["problem"] = outcome.problem
        tell(tx, ending.workspace, _SELF, world.clock(), f"connector.{outcome.upstream}", data)
    return outcome


def _revoked(world: World, ending: Ending, tokens: list[tuple[str, str]]) -> Outcome:
    """Asks for each token. Raises what the network raises, and Failed for a client's secret that may not be sent."""
    where = urlsplit(ending.token_url).netloc
    with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
        url = _endpoint(client, ending)
        if not url:
            return Outcome("not_revoked", f"{where} names no place where tokens are revoked.")
        more: dict[str, Any] = {}
        if ending.client_secret:
            more["auth"] = (ending.client_id, client_secret(world, _client(ending), url))
        for token, hint in tokens:
            form = {"token": token, "token_type_hint": hint, "client_id": ending.client_id}
            status = client.post(url, data=form, **more).status_code
            if status == _OK:
                continue
            if status >= _SERVER_FAULT or status == _TOO_MANY:
                return Outcome("pending", f"{where} answered {status}.")
            return Outcome("not_revoked", f"{where} answered {status}.")
    return Outcome("revoked")


def _client(ending: Ending) -> Connector:
    return Connector(
        ending.workspace,
        ending.connector,
        ending.authorize_url,
        ending.token_url,
        ending.client_id,
        ending.client_secret,
    )


def _endpoint(client: httpx2.Client, ending: Ending) -> str:
    """Where the upstream revokes tokens, by its own metadata; empty when it does not say. Raises ValueError when it did
    not answer every question in time, for then it may say so later."""
    end, failed = time.monotonic() + _WHOLE_S, False
    for address in _places(ending):
        if time.monotonic() > end:
            raise ValueError
        try:
            answer = client.get(address, headers={"accept": "application/json"})
            failed |= answer.status_code >= _SERVER_FAULT
            told = answer.json() if answer.status_code == _OK and len(answer.content) <= _MAX_DOCUMENT else None
        except httpx2.HTTPError:
            failed = True
            continue
        except ValueError:
            continue
        if isinstance(told, dict) and told.get("token_endpoint") == ending.token_url:
            url = told.get("revocation_endpoint")
            return url if isinstance(url, str) and is_safe(url) else ""
    if failed:
        raise ValueError
    return ""


def _places(ending: Ending) -> Iterator[str]:
    """Where its metadata may be: an issuer's address is a beginning of those of its endpoints."""
    seen = set()
    for url in (ending.token_url, ending.authorize_url):
        parts = urlsplit(url)
        pieces = [piece for piece in parts.path.split("/") if piece][:-1]
        for count in range(min(len(pieces), 3) + 1):
            path = "".join(f"/{piece}" for piece in pieces[:count])
            for address in (
                f"/.well-known/oauth-authorization-server{path}",
                f"{path}/.well-known/openid-configuration",
            ):
                whole = f"{parts.scheme}://{parts.netloc}{address}"
                if whole not in seen:
                    seen.add(whole)
                    yield whole
