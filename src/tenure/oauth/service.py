"""The authorization server's verbs: agents' keys, and the token endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event, Status
from tenure.oauth import clients, jose, store, tokens
from tenure.oauth.doors import doors_of
from tenure.oauth.grants.grant import Spent
from tenure.oauth.grants.table import GRANTS
from tenure.oauth.login import programs, trade
from tenure.oauth.model import (
    DPOP_WINDOW_S,
    MAX_KEY_DAYS,
    MAX_KEYS,
    Answer,
    Client,
    ClientKey,
    Form,
    Proof,
    Targets,
    TokenRequest,
    agent_of,
    audience_of,
    client_id,
    read_proof,
    refusal,
    surfaces,
)
from tenure.registry import service as registry
from tenure.registry.model import thing
from tenure.revocation import service as revocation

TOKEN_PATH = "/oauth/token"  # noqa: S105 (an address)
INTROSPECT_PATH, REVOKE_PATH = "/oauth/introspect", "/oauth/revoke"
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
        "revocation_endpoint": f"{issuer}{REVOKE_PATH}",
        "revocation_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": list(jose.ALGORITHMS),
        "introspection_endpoint": f"{issuer}{INTROSPECT_PATH}",
        "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": list(jose.ALGORITHMS),
        "dpop_signing_alg_values_supported": list(jose.ALGORITHMS),
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
            revocation.end_instance(conn, key.workspace, key.instance, now, actor.name, "its key was revoked")
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


@dataclass(frozen=True, slots=True)
class Knock:
    """What came with a request besides its form: the ``Authorization`` header and the DPoP proof as they were sent
    (empty: nothing), the address it came from, and who the console or the API knows it to be from."""

    authorization: str = ""
    proof: str = field(default="", repr=False)
    address: str = ""
    actor: Actor | None = None


_NOTHING_MORE = Knock()
_PUBLIC = frozenset({"none"})


def token(world: World, form: Form, knock: Knock = _NOTHING_MORE) -> Answer:
    """Answers a request for a token.

    Raises Refused with a code of RFC 6749 section 5.2, or ``slow_down`` (429); it is told as an Event too. What was
    shown to get in is used up also when the grant is refused.
    """
    with _watched(world, form, knock):
        grant_type = form.one("grant_type")
        grant = GRANTS.get(grant_type)
        if grant is None:
            error = "unsupported_grant_type" if grant_type else "invalid_request"
            fix = f"Send one of {', '.join(GRANTS)}."
            raise refusal(error, "grant_type", "No such grant type is answered.", fix=fix)
        shown = clients.shown(world, form, knock.authorization, TOKEN_PATH, grant.methods)
        audience = audience_of(form, _targets(world))
        proof = _proof(world, knock)
        client, refused = shown.client, None
        jkt = proof.jkt if proof else ""
        early = TokenRequest(client, form, audience, jkt, world.clock())
        brought = grant.before(world, early) if grant.before else None
        with world.begin() as conn:
            now = world.clock()
            _use_up(conn, world.config.workspace, shown, proof, now)
            if client.key is not None:
                _slowly(world, client, now)
            request = TokenRequest(client, form, audience, jkt, now, brought)
            try:
                with conn.begin_nested():
                    return grant.handle(world, conn, request)
            except Refused as error:
                refused = error
                if isinstance(error, Spent):
                    error.then(conn)
        raise refused


def introspect(world: World, form: Form, knock: Knock) -> dict[str, Any]:
    """Whether a token counts, and what it says (RFC 7662): told to its agent, and to who may read agents."""
    with _watched(world, form, knock):
        return tokens.introspect(world, _asker(world, form, knock, INTROSPECT_PATH), form.one("token"), _targets(world))


def revoke(world: World, form: Form, knock: Knock) -> None:
    """Ends a token (RFC 7009) for its agent, or for who may revoke the agent's keys; a refresh token, and the login
    that it is of, for the program that has it. A token that is not theirs, or that is none, makes no difference."""
    with _watched(world, form, knock):
        by_name = clients.method_of(form, knock.authorization) == "none"
        if by_name and trade.is_refresh(form.one("token")):
            trade.give_up(world, clients.shown(world, form, knock.authorization, REVOKE_PATH, _PUBLIC).client, form)
            return
        tokens.revoke(world, _asker(world, form, knock, REVOKE_PATH), form.one("token"), _targets(world))


def _targets(world: World) -> Targets:
    return Targets(resources(world.config))


def _asker(world: World, form: Form, knock: Knock, path: str) -> Client | Actor:
    if knock.actor is not None and knock.actor.principal is None:
        return knock.actor
    shown = clients.shown(world, form, "", path, frozenset({"private_key_jwt"}))
    with world.begin() as conn:
        _use_up(conn, world.config.workspace, shown, None, world.clock())
    return shown.client


def _proof(world: World, knock: Knock) -> Proof | None:
    """The key that the token shall be bound to (RFC 9449 section 5)."""
    if not knock.proof:
        return None
    urls = [f"{base}{TOKEN_PATH}" for base in clients.bases(world.config)]
    try:
        return read_proof(knock.proof, method="POST", urls=urls, now=world.clock().timestamp())
    except Refused as error:
        raise refusal(error.code, error.code, error.message, fix=error.fix) from error  # 400 here, by section 5


def _use_up(conn: Connection, home: str, shown: clients.Shown, proof: Proof | None, now: datetime) -> None:
    """What is good for once; and a second look at what was read before this transaction: of a revocation and a request,
    one is first. ``home``: the workspace of what is of none."""
    client = shown.client
    workspace = client.workspace or home
    if shown.once and not store.use(conn, workspace, shown.once, shown.until):
        raise clients.replayed()
    if proof is not None:
        once = store.once("proof", proof.jkt, proof.jti)
        if not store.use(conn, workspace, once, now + timedelta(seconds=2 * DPOP_WINDOW_S)):
            raise refusal("invalid_dpop_proof", "dpop_replayed", "The DPoP proof was used before.", fix="Make another.")
    if client.key is not None:
        key = client.key
        current = store.key(conn, key.workspace, key.agent, key.thumbprint)
        if current is None or not current.live(now):
            raise clients.ended(current or key)
        store.key_used(conn, key, now)


def _slowly(world: World, client: Client, now: datetime) -> None:
    if doors_of(world.db).given.take(client.id, now.timestamp()) is None:
        raise refusal("slow_down", "too_many_tokens", "Too many tokens.", fix="Use one until it expires.", status=429)


@contextmanager
def _watched(world: World, form: Form, knock: Knock) -> Iterator[None]:
    """Counts and tells refusals. Of one address and one client that is named so many may fail; then they are turned
    away unheard for a while. Who names another client is not slowed by it."""
    doors, now = doors_of(world.db), world.clock().timestamp()
    who = f"{knock.address} {clients.claimed(form)[:200]}"
    if doors.failed.empty(who, now):
        raise refusal("slow_down", "too_many_refusals", "Too many refused requests.", fix="Wait a second.", status=429)
    try:
        yield
    except Refused as error:
        doors.failed.take(who, now)
        why = str(error.details.get("why", error.code))
        skipped = doors.told.take(f"{knock.address} {why}", now)
        if skipped is not None:
            _tell(world, form, error.code, why, knock.address, skipped + 1)
        raise


def _tell(  # noqa: PLR0917 (the facts of one refusal)
    world: World, form: Form, error: str, why: str, address: str, count: int
) -> None:
    """Appends ``token.refused``: in the workspace of the agent that is named, if there is such an agent, else in the
    installation's own."""
    named = agent_of(clients.claimed(form))
    with world.begin() as conn:
        known = named is not None and registry.get_agent(conn, *named) is not None
        workspace, agent = named if named and known else (world.config.workspace, None)
        data = {
            "error": error,
            "why": why,
            "client": client_id(*named) if named else None,
            "grant_type": form.one("grant_type")[:100],
            "client.address": address[:100],
            "count": count,
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
