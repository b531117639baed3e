"""The verbs for people's API tokens: what a program of theirs shows instead of a cookie."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.room import World
from tenure.identity import store
from tenure.identity.model import ApiToken, secret_hash
from tenure.identity.people import need_person, own_address, place
from tenure.identity.service import PERSON_TOKEN
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event


def create_token(
    world: World, actor: Actor, name: str, ttl_s: int | None = None, *, workspace: str = ""
) -> tuple[str, ApiToken]:
    """A new API token of the person who asks, for ever or for ``ttl_s`` seconds: (the secret, shown once; what is
    kept). It is good in one workspace: this one, or another that the person belongs to. Raises Refused for a name or a
    lifetime that will not do, and 404 for a workspace that the person does not belong to."""
    email = own_address(actor)
    if not 1 <= len(name) <= 100 or not name.isprintable() or "@" in name:
        raise Refused("bad_name", "A token's name is 1 to 100 printable characters without @.", status=422)
    if ttl_s is not None and not 1 <= ttl_s <= 10 * 366 * 86_400:
        raise Refused("bad_token_lifetime", "A token lives for 1 second to 10 years.", status=422)
    secret = PERSON_TOKEN + secrets.token_urlsafe(32)
    with world.begin() as conn:
        now = world.clock()
        person = need_person(conn, actor.workspace, email)
        if workspace not in ("", person.workspace):
            person = place(conn, actor, workspace)
        expires = None if ttl_s is None else now + timedelta(seconds=ttl_s)
        kept = ApiToken(new_id(), person.email, name, now, expires)
        store.add_token(
            conn,
            id=kept.id,
            hashed=secret_hash(secret),
            workspace=person.workspace,
            email=person.email,
            name=name,
            now=now,
            expires_at=expires,
        )
        event = Event(
            id=new_id(),
            type="api_token.created",
            time=now,
            workspace=person.workspace,
            actor=actor.name,
            data={"token_id": kept.id, "name": name},
        )
        events.append(conn, [event])
    return secret, kept


def list_tokens(conn: Connection, actor: Actor) -> list[ApiToken]:
    """The API tokens of the person who asks, without their secrets."""
    return store.tokens(conn, actor.workspace, own_address(actor))


def revoke_token(world: World, actor: Actor, token_id: str) -> None:
    """Ends an API token of the person who asks. Raises Refused when there is none of this id."""
    with world.begin() as conn:
        if not store.drop_token(conn, actor.workspace, own_address(actor), token_id):
            raise Refused(
                "no_such_token", f"You have no token {token_id}.", fix="See `tenure tokens list`.", status=404
            )
        event = Event(
            id=new_id(),
            type="api_token.revoked",
            time=world.clock(),
            workspace=actor.workspace,
            actor=actor.name,
            data={"token_id": token_id},
        )
        events.append(conn, [event])
