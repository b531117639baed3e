"""The authorization server's verbs: agents' keys, and the token endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.model import LEEWAY_S, MAX_TTL_S
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event, Status
from tenure.oauth import clients, jose, store
from tenure.oauth.grants.grant import Spent
from tenure.oauth.grants.table import GRANTS
from tenure.oauth.login import programs
from tenure.oauth.model import (
    MAX_KEY_DAYS,
    MAX_KEYS,
    Answer,
    ClientKey,
    Form,
    TokenRequest,
    audience_of,
    client_id,
    refusal,
    surfaces,
)
from tenure.registry import service as registry
from tenure.registry.model import thing

TOKEN_PATH = "/oauth/token"  # noqa: S105 (an address)
_SELF = "system:oauth"


def metadata(config: Config) -> dict[str, Any]:
    """The server's metadata (RFC 8414). One server for the installation: whose workspace a client is of stands in its
    id."""
    issuer = identity.issuer(config)
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}{TOKEN_PATH}",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "grant_types_supported": list(GRANTS),
        "token_endpoint_auth_methods_supported": list(clients.METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(jose.ALGORITHMS),
        "protected_resources": [config.gateway_url, config.control_url],
        **programs.metadata(config, issuer),
    }


def resources(config: Config) -> Mapping[str, str]:
    """What tokens may be asked for, and where each is good (``model.surfaces``)."""
    return surfaces(config.gateway_url, identity.issuer(config))


# -- agents' keys ---------------------------------------------------------------------------------------------------


def add_key(
    world: World, actor: Actor, agent_name: str, jwk: Any, *, name: str = "", days: int = MAX_KEY_DAYS
) -> ClientKey:
    """Registers the public half of a key pair that an agent holds. ``days``: how long it is good for. Raises Refused
    for a key that is private, of another kind than P-256 and Ed25519, or the agent's already."""
    try:
        public = jose.public_jwk(jwk)
    except jose.Unreadable as error:
        raise Refused(
            "bad_key",
            f"This key cannot be registered: {error}.",
            fix="Give the public JWK of a P-256 or Ed25519 key; `tenure agents keys new` makes one.",
            status=422,
        ) from error
    thumbprint = jose.thumbprint(public)
    kid = str(jwk.get("kid") or thumbprint)
    if len(kid) > 128 or not kid.isprintable() or len(name) > 100 or not (name or kid).isprintable():
        raise Refused("bad_key", "A key's `kid` and name are short and printable.", fix="Choose others.", status=422)
    if not 1 <= days <= MAX_KEY_DAYS:
        raise Refused(
            "bad_key_life", f"A key lives for 1 to {MAX_KEY_DAYS} days.", fix="Choose from these.", status=422
        )
    now = world.clock()
    with world.begin() as conn:
        agent = registry.the_agent(conn, actor.workspace, agent_name)
        permit(actor, "agents:keys", thing(agent))
        have = [key for key in store.keys(conn, agent.workspace, agent.name) if key.live(now)]
        if len(have) >= MAX_KEYS:
            raise Refused("too_many_keys", f"{agent.name} has {MAX_KEYS} keys.", fix="Revoke one first.", status=409)
        key = ClientKey(
            workspace=agent.workspace,
            agent=agent.name,
            kid=kid,
            thumbprint=thumbprint,
            alg=jose.algorithm(public),
            public=public,
            name=name or kid,
            instance=new_id(),
            added_at=now,
            added_by=actor.name,
            expires_at=now + timedelta(days=days),
        )
        if any(one.kid == kid for one in have) or not store.add_key(conn, key):
            raise Refused(
                "key_exists",
                f"{agent.name} has, or had, this key or one of the same kid.",
                fix="Register another key: one that was revoked stays revoked.",
                status=409,
            )
        data = {"key": thumbprint, "kid": kid, "name": key.name, "expires_at": key.expires_at.isoformat()}
        events.append(conn, [_of_key("agent_key.added", actor.name, key, now, data)])
    return key


def list_keys(conn: Connection, workspace: str, agent: str) -> list[ClientKey]:
    """An agent's keys, the newest first. Raises Refused (404) when there is no such agent."""
    registry.the_agent(conn, workspace, agent)
    return store.keys(conn, workspace, agent)


def revoke_key(world: World, actor: Actor, agent_name: str, thumbprint: str) -> ClientKey:
    """Ends a key at once, with every token that it was shown for. Twice the same changes nothing."""
    with world.begin() as conn:
        agent, now = registry.the_agent(conn, actor.workspace, agent_name), world.clock()
        permit(actor, "agents:keys", thing(agent))
        found = [k for k in store.keys(conn, agent.workspace, agent.name) if thumbprint in (k.thumbprint, k.kid)]
        key = next((k for k in found if k.revoked_at is None), found[0] if found else None)
        if key is None:
            raise Refused(
                "unknown_key",
                f"{agent.name} has no key {thumbprint}.",
                fix=f"`tenure agents keys list {agent.name}` shows them.",
                status=404,
            )
        if store.revoke_key(conn, key, now, actor.name):
            store.revoke(conn, key.workspace, [key.instance], now + timedelta(seconds=MAX_TTL_S + LEEWAY_S))
            events.append(conn, [_of_key("agent_key.revoked", actor.name, key, now, {"key": key.thumbprint})])
        return store.key(conn, key.workspace, key.agent, key.thumbprint) or key


def _of_key(kind: str, who: str, key: ClientKey, now: datetime, data: JsonObject) -> Event:
    return Event(
        id=new_id(),
        type=kind,
        time=now,
        workspace=key.workspace,
        actor=who,
        agent=key.agent,
        instance=key.instance,
        data=data,
    )


# -- the token endpoint ---------------------------------------------------------------------------------------------


def token(world: World, form: Form, *, authorization: str = "", address: str = "") -> Answer:
    """Answers a request for a token. ``authorization``: the header as it was sent; ``address``: who knocks.

    Raises Refused with a code of RFC 6749 section 5.2; it is told as an Event too. What was shown to get in is used up
    also when the grant is refused.
    """
    try:
        return _token(world, form, authorization)
    except Refused as error:
        _tell(world, form, error, address)
        raise


def _token(world: World, form: Form, authorization: str) -> Answer:
    grant_type = form.one("grant_type")
    grant = GRANTS.get(grant_type)
    if grant is None:
        error = "unsupported_grant_type" if grant_type else "invalid_request"
        raise refusal(error, "grant_type", "No such grant type is answered.", fix=f"Send one of {', '.join(GRANTS)}.")
    shown = clients.shown(world, form, authorization, TOKEN_PATH, grant.methods)
    audience = audience_of(form, resources(world.config))
    client, refused = shown.client, None
    early = TokenRequest(client, form, audience, "", world.clock())
    brought = grant.before(world, early) if grant.before else None
    with world.begin() as conn:
        now = world.clock()
        if shown.once and not store.use(conn, client.workspace, shown.once, shown.until):
            raise clients.replayed()
        if client.key is not None:
            _still_good(conn, client.key, now)
        request = TokenRequest(client, form, audience, "", now, brought)
        try:
            with conn.begin_nested():
                return grant.handle(world, conn, request)
        except Refused as error:
            refused = error
            if isinstance(error, Spent):
                error.then(conn)
    raise refused


def _still_good(conn: Connection, key: ClientKey, now: datetime) -> None:
    """Looks again at what was read before this transaction: of a revocation and a request, one is first."""
    current = store.key(conn, key.workspace, key.agent, key.thumbprint)
    if current is None or not current.live(now):
        raise clients.ended(current or key)
    store.key_used(conn, key, now)


def _tell(world: World, form: Form, error: Refused, address: str) -> None:
    """Appends ``token.refused``: in the workspace of the agent that is named, if there is such an agent, else in the
    installation's own."""
    named = clients.named(form)
    with world.begin() as conn:
        known = named is not None and registry.get_agent(conn, *named) is not None
        workspace, agent = named if named and known else (world.config.workspace, None)
        data = {
            "error": error.code,
            "why": error.details.get("why", error.code),
            "client": client_id(*named) if named else None,
            "grant_type": form.one("grant_type")[:100],
            "client.address": address[:100],
        }
        event = Event(
            id=new_id(),
            type="token.refused",
            time=world.clock(),
            workspace=workspace,
            actor=_SELF,
            agent=agent,
            status=Status.FLAGGED,
            data=data,
        )
        events.append(conn, [event])


def revoked(conn: Connection, now: datetime) -> dict[str, float]:
    """What gateways must not let in any more, though its signature holds: ids of tokens and of instances, and the Unix
    seconds when each is dead by itself."""
    return store.revoked(conn, now)
