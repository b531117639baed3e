"""The verbs of a directory: who is here, who has left, who has another address. Each is one transaction with what it
does to the person's place, sessions and keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.model import email_address
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import PEOPLE, Actor, Role
from tenure.registry import service as registry
from tenure.scim import store
from tenure.scim.model import MAX_COUNT, Said, User, attributes_of, bad, canonical, patched, read, wanted

_FIRST = (Role.VIEWER,)
"""What somebody may do of whom a directory says no roles."""


def find(world: World, actor: Actor, text: str, start: int, count: int) -> tuple[list[User], int]:
    """(a page of the users that a filter names, how many there are)."""
    permit(actor, "people:provision")
    match = wanted(text)
    with world.read() as conn:
        return store.find(conn, actor.workspace, match, start=max(start, 1), count=min(max(count, 0), MAX_COUNT))


def every(conn: Connection, actor: Actor) -> list[User]:
    """Everybody whom a directory speaks of."""
    permit(actor, "people:read")
    return store.find(conn, actor.workspace, count=10_000)[0]


def get(world: World, actor: Actor, ident: str) -> User:
    """One user. Raises Refused (404)."""
    permit(actor, "people:provision")
    with world.read() as conn:
        return _the(conn, actor, ident)


def _the(conn: Connection, actor: Actor, ident: str) -> User:
    found = store.get(conn, actor.workspace, ident)
    if found is None:
        raise bad("notFound", f"There is no user {ident}.", status=404)
    return found


def create(world: World, actor: Actor, body: Mapping[str, Any]) -> User:
    """Somebody new; a person who has a place already is taken under the directory's word, with the roles they have.
    Raises Refused (409) for a user name or an address that the directory gave to somebody already."""
    permit(actor, "people:provision")
    said = read(canonical(body))
    with world.begin() as tx:
        store.alone(tx)
        now = world.clock()
        active = said.active is not False
        user = _made(actor.workspace, new_id(), said, active, (now, now))
        _unique(tx, user)
        store.save(tx, user)
        if active:
            _let_in(world, tx, actor, user, said)
    return user


def replace(world: World, actor: Actor, ident: str, body: Mapping[str, Any]) -> User:
    """All that is said of somebody, anew (PUT). What is not said of ``active`` stays."""
    permit(actor, "people:provision")
    with world.begin() as tx:
        store.alone(tx)
        return _change(world, tx, actor, _the(tx, actor, ident), read(canonical(body)))


def patch(world: World, actor: Actor, ident: str, body: Mapping[str, Any]) -> User:
    """Some of what is said of somebody (PATCH)."""
    permit(actor, "people:provision")
    with world.begin() as tx:
        store.alone(tx)
        old = _the(tx, actor, ident)
        return _change(world, tx, actor, old, read(canonical(patched(attributes_of(old), body))))


def delete(world: World, actor: Actor, ident: str) -> None:
    """Forgets somebody, who has left if they had not yet."""
    permit(actor, "people:provision")
    with world.begin() as tx:
        store.alone(tx)
        user = _the(tx, actor, ident)
        store.drop(tx, user)
        if user.active:
            _let_go(world, tx, actor, user.email)


def _made(workspace: str, ident: str, said: Said, active: bool, times: tuple[Any, Any]) -> User:
    try:
        email = email_address(said.email)
    except Refused as problem:
        raise bad("invalidValue", "Neither a work address nor the userName is an e-mail address.") from problem
    return User(workspace, ident, said.user_name, said.external_id, email, active, said.attributes, times[0], times[1])


def _unique(tx: Connection, user: User) -> None:
    for field, value in (("user_name", user.user_name), ("email", user.email)):
        found, _ = store.find(tx, user.workspace, (field, value))
        if any(one.id != user.id for one in found):
            raise bad("uniqueness", f"There is a user with this {field.replace('_', ' ')} already.", status=409)


def _change(world: World, tx: Connection, actor: Actor, old: User, said: Said) -> User:
    active = old.active if said.active is None else said.active
    new = _made(old.workspace, old.id, said, active, (old.created_at, world.clock()))
    _unique(tx, new)
    store.save(tx, new)
    if not new.active:
        if old.active:
            _let_go(world, tx, actor, old.email)
    elif old.active and old.email != new.email:
        _rename(world, tx, actor, old.email, new, said)
    else:
        _let_in(world, tx, actor, new, said)
    return new


def _let_in(world: World, tx: Connection, actor: Actor, user: User, said: Said) -> None:
    """Gives somebody the place and the roles that the directory says. The role operator is for people to give and to
    take: no directory does either."""
    known = identity.find_person(tx, user.workspace, user.email)
    if said.roles is None:
        roles = {str(role) for role in known.roles} if known else {str(role) for role in _FIRST}
    else:
        possible = {str(role) for role in PEOPLE - {Role.OPERATOR}}
        unknown = set(said.roles) - possible
        if unknown:
            raise bad("invalidValue", f"A directory gives the roles {', '.join(sorted(possible))}.")
        roles = set(said.roles)
        if known is not None and Role.OPERATOR in known.roles:
            roles.add(str(Role.OPERATOR))
    identity.add_person_in(world, tx, actor, user.email, sorted(roles))


def _let_go(world: World, tx: Connection, actor: Actor, email: str) -> None:
    """Ends the place of somebody who has left, with their sessions, keys and login codes; agents do nothing for them
    any more, and those that they answer for are looked after (owners)."""
    if identity.find_person(tx, actor.workspace, email) is not None:
        identity.remove_person_in(world, tx, actor, email)


def _rename(  # noqa: PLR0917 (the parts of one fact)
    world: World, tx: Connection, actor: Actor, before: str, user: User, said: Said
) -> None:
    """The same person under another address: the place moves there, and so do the agents that they answer for. They log
    in anew."""
    known = identity.find_person(tx, user.workspace, before)
    if known is not None:
        identity.add_person_in(world, tx, actor, user.email, sorted(str(role) for role in known.roles))
    _let_in(world, tx, actor, user, said)
    _let_go(world, tx, actor, before)
    for agent in registry.list_agents(tx, user.workspace):
        for role in ("owner", "sponsor"):
            if getattr(agent, role).lower() == before:
                agent = registry.change_owner(  # noqa: PLW2901 (the second role changes what the first left)
                    tx, actor, agent, role, user.email, world.clock(), f"{before} has another address"
                )
