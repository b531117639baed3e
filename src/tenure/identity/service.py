"""Identity's verbs: keys, agents' tokens, who asks, and the first start."""

from __future__ import annotations

import platform
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec
from sqlalchemy.engine import Connection

from tenure.base import events, files
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import account_store, endings, logins, people, shared, signing, store, token_store, tokens
from tenure.identity.model import (
    AUDIENCE,
    MAX_TTL_S,
    AgentToken,
    ApiToken,
    Bootstrap,
    Person,
    agent_claims,
    secret_hash,
    sign,
    sign_detached,
    verified,
)
from tenure.identity.tokens import GATEWAY_TOKEN, PERSON_TOKEN, PREFIX_CHARS, SERVICE_KEY
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import moment_span, new_id, stable_id
from tenure.kernel.json import JsonObject, canonical
from tenure.kernel.scopes import joined
from tenure.kernel.values import PEOPLE, Actor, Event, Principal, Role
from tenure.kernel.work import OWN, Work

FIRST_OPERATOR = "operator@localhost"
_SELF = "system:identity"

list_people = people.list_people
need_person = people.need_person
find_person = people.find_person
departed = people.departed
add_person_in = people.add_person_in
remove_person_in = people.remove_person_in
person_facts = people.facts
end_person = endings.end_person
end_workspace = endings.end_workspace
person_limit = people.limit_of
public_keys = signing.public_keys
list_keys = signing.list_keys
rotate_key = signing.rotate_key
key_age = signing.key_age
end_key = signing.end_key


# -- keys and agents' tokens ----------------------------------------------------------------------------------------


def issuer(config: Config) -> str:
    """The ``iss`` of every token of this installation, under which its metadata are found (RFC 8414): the address that
    browsers use, when there is one."""
    return config.public_url.rstrip("/") or config.control_url


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
    audience: str = AUDIENCE,
    jkt: str = "",
    scopes: tuple[str, ...] = (),
    work: Work = OWN,
    started: bool = False,
    fork: tuple[str, str] | None = None,
    how: JsonObject | None = None,
) -> AgentToken:
    """Signs a token for one instance of an agent, in the caller's transaction. The token itself is kept nowhere, and
    nothing else signs one. ``audience``: where it is good; ``jkt``: the thumbprint of the key that its bearer must
    show; ``scopes``: what it is limited to (``kernel.scopes``), empty for nothing; ``work``: what the agent was given
    to do; ``started``: its bearer is a process that Tenure started; ``fork``: as of ``Principal``;
    ``how``: what the Event says besides, such as how the agent proved who it is.

    Raises Refused when ``ttl_s`` is not between 1 and 86400 seconds, Failed when this data folder has no signing key.
    """
    if not 1 <= ttl_s <= MAX_TTL_S:
        raise Refused(
            "bad_token_lifetime",
            f"A token cannot live for {ttl_s} seconds.",
            fix=f"Choose from 1 to {MAX_TTL_S} seconds (TENURE_TOKEN_TTL).",
            status=422,
        )
    private = signing.issuing_key(world, conn)
    now = world.clock()
    expires = now + timedelta(seconds=ttl_s)
    told = new_id()
    # Work that was handed on goes on in the trace of whoever handed it on, below the moment at which that was done.
    trace, above = work.by.split("-")[1:3] if work.by else (None, None)
    principal = Principal(
        workspace=workspace,
        agent=agent,
        release=release,
        instance=instance,
        session=session,
        credential_epoch=credential_epoch,
        on_behalf_of=on_behalf_of,
        expires_at=expires.timestamp(),
        scopes=scopes,
        bounds=joined(work.bounds, (scopes,) if scopes else ()),
        chain=work.chain,
        chain_epochs=work.epochs,
        task=work.task,
        started=started,
        handed_by=f"00-{trace}-{moment_span(told)}-01" if trace else None,
        fork=fork,
    )
    jti = new_id()
    iss = issuer(world.config)
    claims = agent_claims(principal, issuer=iss, audience=audience, issued_at=now.timestamp(), jti=jti, jkt=jkt)
    token = sign(claims, private)
    # What is signed must also be believed, whatever names the caller was given.
    verified(token, {private["kid"]: private}, iss, (audience,), now.timestamp())
    event = Event(
        id=told,
        type="token.issued",
        time=now,
        workspace=workspace,
        actor=_SELF,
        agent=agent,
        release=release,
        instance=instance,
        session=session,
        trace_id=trace,
        parent_span_id=above,
        data={
            "jti": jti,
            "kid": private["kid"],
            "expires_at": expires.isoformat(),
            "epoch": credential_epoch,
            "on_behalf_of": on_behalf_of,
            "scopes": list(scopes) or None,
            "chain": [*work.chain, agent] if work.chain else None,
            "bounds": [list(one) for one in principal.bounds] or None,
            "task": work.task,
            "audience": audience,
            "jkt": jkt or None,
            **(how or {}),
        },
    )
    events.append(conn, [event])
    return AgentToken(token, expires, jti)


def go_on_signing(world: World) -> None:
    """For each control plane, when a key has ended anywhere: the next one signs where the one that did was its own."""
    signing.go_on(world)


def gateway_secrets(config: Config, now: datetime) -> dict[str, str]:
    """The keys that gateways share, by id; the greatest id is the newest, which signs and seals."""
    return shared.gateway_secrets(config, now)


def card_signer(world: World, conn: Connection) -> Callable[[JsonObject], JsonObject]:
    """What signs agent cards (A2A section 8.4) with the key that signs tokens: of a card's content it makes
    ``{protected, signature}``. The same content under the same key has the same signature while the process lives, so
    that it is no news to anybody."""
    jku = f"{issuer(world.config)}/.well-known/jwks.json"
    keys: list[JsonObject] = []  # read when the first card is there to be signed

    def sign_card(content: JsonObject) -> JsonObject:
        if not keys:
            keys.append(signing.signing_key(world, conn))
        return _card_signature(canonical(content), keys[0]["kid"], jku, msgspec.json.encode(keys[0]))

    return sign_card


@lru_cache(maxsize=4096)
def _card_signature(content: bytes, kid: str, jku: str, private: bytes) -> JsonObject:
    header = {"alg": "ES256", "kid": kid, "typ": "JOSE", "jku": jku}
    protected, signature = sign_detached(header, content, msgspec.json.decode(private))
    return {"protected": protected, "signature": signature}


# -- who asks -------------------------------------------------------------------------------------------------------


def authenticate(
    world: World, authorization: str | None, cookie: str | None, *, background: bool = False
) -> Actor | None:
    """Who sends this ``Authorization`` header or, when there is none, this session cookie; None for a stranger. A
    request that a page sends by itself (``background``) does not keep a session from ending for want of use.

    An agent's token is checked for signature and time; whether its epoch is still the agent's is for those who know the
    agent. Raises Refused (401) with the reason for an agent's token that is dead.
    """
    now = world.clock()
    if authorization is None:
        if not cookie:
            return None
        return logins.session_actor(world, cookie, background)
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return None
    if token.startswith((PERSON_TOKEN, GATEWAY_TOKEN, SERVICE_KEY)):
        return tokens.token_actor(world, token)
    with world.read() as conn:
        keys = store.public_keys(conn)
    if token.count(".") != 2:
        return None
    here = issuer(world.config)
    found = verified(token, keys, here, (AUDIENCE, here, f"{here}/"), now.timestamp())
    if found.jkt:  # no exporter of telemetry makes proofs: who wants a bound token here asks for another without
        raise Refused(
            "token_bound",
            "The token is bound to a key, which the control plane does not ask for.",
            fix=f"Get one for resource {here} without a proof.",
            status=401,
        )
    principal = found.principal
    return Actor(principal.workspace, f"agent:{principal.agent}", frozenset(), principal)


def person_actor(conn: Connection, workspace: str, email: str) -> Actor | None:
    """The person of this address as verbs know them, with the roles that they have now; None for nobody."""
    person = store.person(conn, workspace, email)
    return person.actor if person is not None else None


def people_actors(conn: Connection, workspace: str) -> list[Actor]:
    """Everybody of a workspace, as ``person_actor``."""
    return [person.actor for person in store.people(conn, workspace)]


def workspaces(conn: Connection) -> list[str]:
    """The name of every workspace. For what serves all of them; nobody is shown this list."""
    return [workspace.name for workspace in store.workspaces(conn)]


# -- the first start, and every later one ---------------------------------------------------------------------------


def bootstrap(world: World) -> Bootstrap:
    """Makes what is missing: a signing key, ``gateway.token``, ``operator.token``, the first operator; and a fresh
    login code. Any number may run at once. A token file that somebody removed is replaced, and its old token dies."""
    config, now = world.config, world.clock()
    files.private_folder(config.data_dir)
    with world.begin() as conn:
        store.alone(conn, store.key_table)  # held to the end: two that start at once make one of everything
        people.ensure_workspace(conn, config.workspace, _SELF, now)
        signing.ensure(world, conn)
        shared.ensure(config)
        # Whoever holds the data folder gets in, whatever an issuer says: somebody it speaks for may be gone tomorrow.
        everybody = [p for p in store.people(conn, config.workspace) if Role.OPERATOR in p.roles]
        operators = [p for p in everybody if account_store.vouched_until(conn, p.home, p.email) is None]
        if operators:
            operator = operators[0]
        else:
            operator = Person(config.workspace, FIRST_OPERATOR, frozenset(PEOPLE), now, config.workspace)
            store.put_person(conn, operator)
            people.tell_person(conn, operator, _SELF, now, new=True)
        _token_file(world, conn, "gateway.token", GATEWAY_TOKEN, None)
        _token_file(world, conn, "operator.token", PERSON_TOKEN, operator.email)
        return Bootstrap(operator.email, logins.new_code(world, conn, operator).code)


def _token_file(world: World, conn: Connection, name: str, prefix: str, email: str | None) -> None:
    path = world.config.data_dir / name
    # Named for the folder too: another control plane on the same database has token files of its own.
    label = f"{name}@{stable_id(platform.node(), str(world.config.data_dir.resolve()))}"
    if files.create(path, f"{prefix}{secrets.token_urlsafe(32)}\n".encode()):
        token_store.drop_tokens_named(conn, world.config.workspace, label)
    try:
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed("token_file_unreadable", f"{path} cannot be read.") from error
    if not re.fullmatch(prefix + r"[A-Za-z0-9_-]{43}", secret):
        raise Refused("bad_token_file", f"{path} holds no token of Tenure's.", fix="Remove it and start again.")
    kept = ApiToken(
        new_id(), world.config.workspace, email, None, label, secret[:PREFIX_CHARS], None, world.clock(), None
    )
    token_store.add_token(conn, secret_hash(secret), kept)
