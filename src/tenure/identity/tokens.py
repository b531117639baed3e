"""The verbs for what programs show instead of a cookie: people's API tokens, and service accounts with their keys."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import check_scopes, permit
from tenure.base.room import World
from tenure.identity import account_store, store, token_store
from tenure.identity.model import ApiToken, Service, human_roles, secret_hash, service_name
from tenure.identity.people import need_person, own_address, place
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event, Role

PERSON_TOKEN, GATEWAY_TOKEN, SERVICE_KEY = "tnr_", "tng_", "tns_"  # whoever finds one in the wrong place knows whose
PREFIX_CHARS = 10
MAX_LIFE_S = 10 * 366 * 86_400
MAX_KEY_LIFE_S = 366 * 86_400
TOUCH_EVERY = timedelta(minutes=1)


def _checked_name(name: str) -> str:
    if not 1 <= len(name) <= 100 or not name.isprintable() or "@" in name:
        raise Refused("bad_name", "A token's name is 1 to 100 printable characters without @.", status=422)
    return name


def _make(world: World, conn: Connection, actor: Actor, secret: str, kept: ApiToken) -> None:
    token_store.add_token(conn, secret_hash(secret), kept)
    data: dict[str, object] = {"token_id": kept.id, "name": kept.name, "scopes": kept.scopes}
    if kept.service is not None:
        data["service"] = kept.service
    _tell(world, conn, "api_token.created", kept.workspace, actor, data)


def _tell(  # noqa: PLR0917 (the parts of one fact)
    world: World, conn: Connection, kind: str, workspace: str, actor: Actor, data: dict[str, object]
) -> None:
    now = world.clock()
    events.append(conn, [Event(id=new_id(), type=kind, time=now, workspace=workspace, actor=actor.name, data=data)])


def create_token(
    world: World,
    actor: Actor,
    name: str,
    ttl_s: int | None = None,
    *,
    scopes: Sequence[str] | None = None,
    workspace: str = "",
) -> tuple[str, ApiToken]:
    """A new API token of the person who asks, for ever or for ``ttl_s`` seconds: (the secret, shown once; what is
    kept). It is good in one workspace: this one, or another that the person belongs to; and for what its ``scopes``
    cover, never more than the credential that asks for it. Raises Refused for what will not do, and 404 for a workspace
    that the person does not belong to."""
    permit(actor, "tokens:manage")
    email = own_address(actor)
    _checked_name(name)
    if ttl_s is not None and not 1 <= ttl_s <= MAX_LIFE_S:
        raise Refused("bad_token_lifetime", "A token lives for 1 second to 10 years.", status=422)
    wanted = actor.scopes if scopes is None else check_scopes(scopes, actor.scopes)
    secret = PERSON_TOKEN + secrets.token_urlsafe(32)
    with world.begin() as conn:
        now = world.clock()
        person = need_person(conn, actor.workspace, email)
        if workspace not in ("", person.workspace):
            person = place(conn, actor, workspace)
        expires = None if ttl_s is None else now + timedelta(seconds=ttl_s)
        kept = ApiToken(
            new_id(), person.workspace, person.email, None, name, secret[:PREFIX_CHARS], wanted, now, expires
        )
        _make(world, conn, actor, secret, kept)
    return secret, kept


def list_tokens(conn: Connection, actor: Actor) -> list[ApiToken]:
    """The API tokens of the person who asks, without their secrets."""
    permit(actor, "tokens:manage")
    return token_store.tokens(conn, actor.workspace, email=own_address(actor))


def revoke_token(world: World, actor: Actor, token_id: str) -> None:
    """Ends an API token of the person who asks. Raises Refused when there is none of this id."""
    permit(actor, "tokens:manage")
    with world.begin() as conn:
        if not token_store.drop_token(conn, actor.workspace, token_id, email=own_address(actor)):
            raise Refused(
                "no_such_token", f"You have no token {token_id}.", fix="See `tenure tokens list`.", status=404
            )
        _tell(world, conn, "api_token.revoked", actor.workspace, actor, {"token_id": token_id})


# -- service accounts -----------------------------------------------------------------------------------------------


def list_services(conn: Connection, actor: Actor) -> list[Service]:
    """The service accounts of the workspace, by name."""
    permit(actor, "people:read")
    return token_store.services(conn, actor.workspace)


def put_service(world: World, actor: Actor, name: str, roles: Sequence[str]) -> Service:
    """Makes a service account, or gives one other roles, which bite on its next call. Twice the same changes
    nothing."""
    permit(actor, "services:manage")
    wanted, checked = human_roles(list(roles)), service_name(name)
    with world.begin() as conn:
        store.alone(conn, token_store.service_table)
        known = token_store.service(conn, actor.workspace, checked)
        if known is not None and known.roles == wanted:
            return known
        since, by = (known.created_at, known.created_by) if known else (world.clock(), actor.name)
        service = Service(actor.workspace, checked, wanted, since, by)
        token_store.put_service(conn, service)
        kind = "service.changed" if known else "service.created"
        _tell(world, conn, kind, actor.workspace, actor, {"name": checked, "roles": sorted(wanted)})
    return service


def remove_service(world: World, actor: Actor, name: str) -> None:
    """Ends a service account and every key of it, at once."""
    permit(actor, "services:manage")
    with world.begin() as conn:
        the_service(conn, actor, name)
        token_store.drop_service(conn, actor.workspace, name)
        token_store.drop_tokens_of(conn, actor.workspace, email=None, service=name)
        _tell(world, conn, "service.removed", actor.workspace, actor, {"name": name})


def the_service(conn: Connection, actor: Actor, name: str) -> Service:
    """One service account. Raises Refused (404)."""
    found = token_store.service(conn, actor.workspace, name)
    if found is None:
        raise Refused(
            "no_such_service",
            f"There is no service account {name}.",
            fix="Make one: `tenure services add`.",
            status=404,
        )
    return found


def keys(conn: Connection, actor: Actor, name: str) -> list[ApiToken]:
    """The keys of a service account, without their secrets."""
    permit(actor, "people:read")
    the_service(conn, actor, name)
    return token_store.tokens(conn, actor.workspace, service=name)


def create_key(
    world: World, actor: Actor, service: str, name: str, *, ttl_s: int, scopes: Sequence[str]
) -> tuple[str, ApiToken]:
    """A key of a service account: (the secret, shown once; what is kept). It lives for a year at most and is good for
    what its scopes cover of what the account's roles allow."""
    permit(actor, "services:manage")
    _checked_name(name)
    if not 1 <= ttl_s <= MAX_KEY_LIFE_S:
        raise Refused("bad_token_lifetime", "A service account's key lives for 1 second to 366 days.", status=422)
    wanted = check_scopes(scopes, actor.scopes)
    secret = SERVICE_KEY + secrets.token_urlsafe(32)
    with world.begin() as conn:
        now = world.clock()
        the_service(conn, actor, service)
        expires = now + timedelta(seconds=ttl_s)
        kept = ApiToken(new_id(), actor.workspace, None, service, name, secret[:PREFIX_CHARS], wanted, now, expires)
        _make(world, conn, actor, secret, kept)
    return secret, kept


def revoke_key(world: World, actor: Actor, service: str, key_id: str) -> None:
    """Ends a key of a service account, at once."""
    permit(actor, "services:manage")
    with world.begin() as conn:
        the_service(conn, actor, service)
        if not token_store.drop_token(conn, actor.workspace, key_id, service=service):
            raise Refused(
                "no_such_key", f"{service} has no key {key_id}.", fix="See `tenure services keys`.", status=404
            )
        data: dict[str, object] = {"token_id": key_id, "service": service}
        _tell(world, conn, "api_token.revoked", actor.workspace, actor, data)


# -- who asks -------------------------------------------------------------------------------------------------------


def token_actor(world: World, secret: str) -> Actor | None:
    """Whose token this is, with the roles that the person or the service account has now; notes its use, at most once
    a minute."""
    now = world.clock()
    with world.read() as conn:
        token = token_store.living(conn, secret_hash(secret), now)
        actor = None if token is None else _holder(conn, token, now)
    if token is None or actor is None:
        return None
    if token.last_used_at is None or now - token.last_used_at >= TOUCH_EVERY:
        with world.db.begin() as conn:  # nobody waits for this: no bell
            token_store.touch(conn, token.id, now)
    return actor


def _holder(conn: Connection, token: ApiToken, now: datetime) -> Actor | None:
    if token.email is not None:
        person = store.person(conn, token.workspace, token.email)
        if person is None or not account_store.counts(conn, person, now):
            return None
        return Actor(token.workspace, f"person:{person.email}", person.roles, scopes=token.scopes)
    if token.service is not None:
        service = token_store.service(conn, token.workspace, token.service)
        if service is None:
            return None
        return Actor(token.workspace, f"service:{service.name}", service.roles, scopes=token.scopes or ())
    return Actor(token.workspace, "gateway:local", frozenset({Role.GATEWAY}))
