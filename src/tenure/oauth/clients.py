"""How a client of the token endpoint shows who it is: the ways in, by RFC 8414's names, each a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.model import LEEWAY_S
from tenure.kernel.errors import Refused
from tenure.oauth import jose, store
from tenure.oauth.model import (
    ASSERTION_TYPE,
    MAX_ASSERTION,
    Client,
    ClientKey,
    Form,
    agent_of,
    bad_client,
    read_assertion,
    refusal,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A client that has shown who it is. ``once``: what it used for that and may not use again (empty: nothing), in
    the client's workspace; ``until``: when that would be refused anyway."""

    client: Client
    once: str = ""
    until: datetime = datetime.max.replace(tzinfo=UTC)


def bases(config: Config) -> tuple[str, ...]:
    """The addresses of this server: the issuer first."""
    return tuple(dict.fromkeys((identity.issuer(config), config.control_url)))


def names(config: Config) -> list[str]:
    """What those call this server who make tokens for it: its issuer, and its token endpoint."""
    return [name for base in bases(config) for name in (base, f"{base}/oauth/token")]


def private_key_jwt(world: World, form: Form, path: str) -> Shown:
    """A client that signed an assertion with a key registered for it (RFC 7523). ``path``: the endpoint that is asked.
    Raises Refused (``invalid_client``)."""
    if form.one("client_assertion_type") != ASSERTION_TYPE:
        raise bad_client("assertion_malformed", "The client assertion is of no type that is known here.")
    now = world.clock()
    endpoints = [name for base in bases(world.config) for name in (base, f"{base}{path}")]
    assertion = read_assertion(form.one("client_assertion"), endpoints, now.timestamp())
    named = form.one("client_id", assertion.client_id)
    agent = agent_of(assertion.client_id) if named == assertion.client_id else None
    if agent is None:
        raise bad_client("unknown_client", "There is no such client.")
    with world.read() as conn:
        keys = store.keys(conn, *agent)
    key = _signer(keys, assertion.kid, assertion.token)
    if key is None:
        known = any(assertion.kid in ("", one.kid, one.thumbprint) for one in keys)
        why = "assertion_bad_signature" if known else "unknown_client"
        raise bad_client(why, "The client assertion is not signed with a key of this client.")
    if not key.live(now):
        raise ended(key)
    until = datetime.fromtimestamp(assertion.expires + LEEWAY_S, UTC)
    client = Client(assertion.client_id, agent[0], agent[1], "private_key_jwt", key)
    return Shown(client, store.once("assertion", agent[1], assertion.jti), until)


def ended(key: ClientKey) -> Refused:
    """The refusal of a key that proves nothing any more."""
    why = "key_revoked" if key.revoked_at else "key_expired"
    return bad_client(why, "The key of the client assertion has ended.")


def replayed() -> Refused:
    """The refusal of an assertion that was sent before."""
    return bad_client("assertion_replayed", "The client assertion was used before.")


def claimed(form: Form) -> str:
    """The client that a request says it is of, which nobody has checked; empty when it names none."""
    return form.one("client_id") or jose.claimed_issuer(form.one("client_assertion"), MAX_ASSERTION)


def _signer(keys: list[ClientKey], kid: str, token: jose.Jws) -> ClientKey | None:
    """The key whose signature it is, living or not."""
    fitting = (key for key in keys if kid in ("", key.kid, key.thumbprint))
    return next((key for key in fitting if jose.holds(token, key.public)), None)


def public(_world: World, form: Form, _path: str) -> Shown:
    """A client that keeps no secret and only says who it is: what it trades in shows the rest."""
    name = form.one("client_id")
    if not name:
        raise bad_client("no_credential", "A client says who it is: send `client_id`.")
    return Shown(Client(name[:500], "", "", "none"))


METHODS: Mapping[str, Callable[[World, Form, str], Shown]] = {"private_key_jwt": private_key_jwt, "none": public}
"""Ways in that the metadata list (RFC 8414, ``token_endpoint_auth_methods_supported``)."""


def method_of(form: Form, authorization: str) -> str:
    """The way in that a request takes. Raises Refused for two at once (RFC 6749 section 2.3) and for none."""
    taken = [
        name
        for name, sign in (
            ("private_key_jwt", form.one("client_assertion")),
            ("client_secret_post", form.one("client_secret")),
            ("client_secret_basic", authorization),
        )
        if sign
    ] or ["none"]
    if len(taken) > 1:
        raise refusal("invalid_request", "two_credentials", "Two credentials were sent.", fix="Send one of them.")
    return taken[0]


def shown(world: World, form: Form, authorization: str, path: str, methods: frozenset[str]) -> Shown:
    """The client, by one of ``methods``. Raises Refused (``invalid_client``)."""
    method = method_of(form, authorization)
    if method not in METHODS or method not in methods:
        raise bad_client("no_credential", f"A client shows who it is by {', '.join(sorted(methods))} here.")
    return METHODS[method](world, form, path)
