"""OpenID Connect Back-Channel Logout 1.0: an issuer says that somebody has logged out there, or was thrown out, and the
sessions here that began with its word of them end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tenure.base import events
from tenure.base.room import World
from tenure.identity import account_store, oidc, session_store, store
from tenure.identity.logins import ATTEMPT_WINDOW, MAX_FAILURES, Visitor
from tenure.identity.model import secret_hash
from tenure.identity.oidc import Issuer
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Event

_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_TYPES = ("logout+jwt", "application/logout+jwt", "jwt", "")
_LEEWAY_S, _FRESH_S = 60.0, 600.0
_REMEMBERED = timedelta(seconds=_FRESH_S + 2 * _LEEWAY_S)
"""No older token is taken: after that nobody has to know that it was used."""


def end(world: World, name: str, token: str, visitor: Visitor) -> int:
    """Ends the sessions that a logout token names; how many. Raises Refused: 400 for a token that does not hold
    (section 2.6) or was used before, 404 for an issuer that is not known here, 429 for who sent too many of those."""
    issuer = oidc.issuer_of(world, name)
    source = visitor.address[:64]
    with world.read() as conn:
        tries = session_store.failures(conn, issuer.workspace, source, world.clock() - ATTEMPT_WINDOW)
    if tries >= MAX_FAILURES:
        raise Refused("too_many_attempts", "Too many wrong tokens came from your address.", status=429)
    try:
        header, claims = oidc.read(oidc.discovered(issuer), token)
        check(header, claims, issuer, world.clock().timestamp())
        return _ended(world, issuer, claims)
    except Refused as error:
        with world.begin() as conn:
            session_store.add_failure(conn, issuer.workspace, source, world.clock(), ATTEMPT_WINDOW)
        raise Refused("bad_logout_token", error.message, status=400) from error


def _ended(world: World, issuer: Issuer, claims: Mapping[str, Any]) -> int:
    subject, sid = (oidc.digest_of(issuer, claims[name]) if claims.get(name) else "" for name in ("sub", "sid"))
    once = secret_hash(f"logout\n{issuer.issuer}\n{claims['jti']}")
    now = world.clock()
    with world.begin() as conn:
        store.alone(conn, account_store.challenge_table)
        if account_store.was_asked(conn, once):
            raise _refused("was used before")
        account_store.add_challenge(conn, once, issuer.workspace, kind="logout", data={}, now=now, life=_REMEMBERED)
        ended = session_store.drop_told(conn, issuer.workspace, subject, sid)
        for email, workspace in sorted({(one.email, one.workspace) for one in ended}):
            count = sum((one.email, one.workspace) == (email, workspace) for one in ended)
            event = Event(
                id=new_id(),
                type="person.logged_out",
                time=now,
                workspace=workspace,
                actor=f"system:oidc:{issuer.name}",
                data={"email": email, "count": count},
            )
            events.append(conn, [event])
    return len(ended)


def check(header: Mapping[str, Any], claims: Mapping[str, Any], issuer: Issuer, now: float) -> None:
    """Section 2.6; who signed it is known by then."""
    audience = claims.get("aud")
    meant = [audience] if isinstance(audience, str) else list(audience or ())
    happened = claims.get("events")
    names = [claims.get(name) for name in ("sub", "sid")]
    faults = {
        "is of another type": str(header.get("typ") or "").lower() not in _TYPES,
        "is of another issuer": claims.get("iss") != issuer.issuer,
        "is meant for somebody else": issuer.client_id not in meant,
        "was not issued just now": not _is_fresh(claims, now),
        "tells of no logout": not isinstance(happened, dict) or not isinstance(happened.get(_EVENT), dict),
        "names nobody": not any(names) or not all(name is None or isinstance(name, str) for name in names),
        "has no id": not isinstance(claims.get("jti"), str) or not claims.get("jti"),
        "has a nonce, as an ID token has": "nonce" in claims,
    }
    for words, faulty in faults.items():
        if faulty:
            raise _refused(words)


def _is_fresh(claims: Mapping[str, Any], now: float) -> bool:
    issued, expires = claims.get("iat"), claims.get("exp", now)
    if not all(isinstance(time, int | float) and not isinstance(time, bool) for time in (issued, expires)):
        return False
    return now - _FRESH_S - _LEEWAY_S < float(issued or 0) < now + _LEEWAY_S and float(expires) > now - _LEEWAY_S


def _refused(words: str) -> Refused:
    return Refused("bad_logout_token", f"This logout token {words}.", status=400)
