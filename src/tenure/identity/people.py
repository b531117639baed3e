"""The verbs for workspaces and for who belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import Thing, permit
from tenure.base.room import World
from tenure.identity import account_store, scope_store, session_store, store, token_store
from tenure.identity.model import Person, Workspace, email_address, human_roles, workspace_name
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.scopes import Bound, bound
from tenure.kernel.snapshot import PersonFact
from tenure.kernel.values import PEOPLE, Actor, Event, Role


def own_address(actor: Actor) -> str:
    """The address of the person who asks. Raises Refused for anybody else."""
    kind, _, email = actor.name.partition(":")
    if kind != "person":
        raise Refused("not_a_person", "Only people can do this.", fix="Log in as a person.", status=403)
    return email


def list_people(conn: Connection, workspace: str) -> list[Person]:
    """Everybody of a workspace, in the order they came."""
    return store.people(conn, workspace)


def need_person(conn: Connection, workspace: str, email: str) -> Person:
    """The person with this address. Raises Refused when there is none."""
    person = store.person(conn, workspace, email_address(email))
    if person is None:
        raise Refused("no_such_person", f"There is no {email}.", fix="Add them: `tenure people add`.", status=404)
    return person


def find_person(conn: Connection, workspace: str, email: str) -> Person | None:
    """The person with this address, or None."""
    return store.person(conn, workspace, email.lower())


def departed(conn: Connection) -> dict[tuple[str, str], datetime]:
    """Who had a place and has none any more, by workspace and address, and since when."""
    return scope_store.departed(conn)


def add_person(world: World, actor: Actor, email: str, roles: Sequence[str]) -> Person:
    """Lets somebody in, or gives somebody other roles. Twice the same changes nothing. Operators only; the last
    operator cannot give the role up."""
    permit(actor, "people:manage")
    with world.begin() as conn:
        return add_person_in(world, conn, actor, email, roles)


def add_person_in(world: World, conn: Connection, actor: Actor, email: str, roles: Sequence[str]) -> Person:
    """As ``add_person``, in the caller's transaction; whether ``actor`` may is for the caller to ask."""
    address, wanted = email_address(email), human_roles(list(roles))
    store.alone(conn, store.person_table)
    now = world.clock()
    known = store.person(conn, actor.workspace, address)
    if known is not None and known.roles == wanted:
        return known
    if Role.OPERATOR not in wanted:
        _keep_an_operator(conn, actor.workspace, address)
    home, since = (known.home, known.created_at) if known else (actor.workspace, now)
    person = Person(actor.workspace, address, wanted, since, home)
    store.put_person(conn, person)
    if known is None:
        scope_store.come_back(conn, _everywhere(conn, person), address)
    tell_person(conn, person, actor.name, now, new=known is None)
    return person


def remove_person(world: World, actor: Actor, email: str) -> None:
    """Takes a person's place away. Sessions and API tokens for it end at once, and so do those in other workspaces that
    took this one's word for who the person is; agents do nothing more on the person's behalf. Operators only; the last
    one stays."""
    permit(actor, "people:manage")
    with world.begin() as conn:
        remove_person_in(world, conn, actor, email)


def remove_person_in(world: World, conn: Connection, actor: Actor, email: str) -> None:
    """As ``remove_person``, in the caller's transaction; whether ``actor`` may is for the caller to ask."""
    store.alone(conn, store.person_table)
    person = need_person(conn, actor.workspace, email)
    _keep_an_operator(conn, actor.workspace, person.email)
    scope_store.leave(conn, _everywhere(conn, person), person.email, world.clock(), actor.name)
    store.drop_person(conn, person.workspace, person.email)
    token_store.drop_tokens_of(conn, person.workspace, email=person.email, service=None)
    account_store.forget(conn, person.workspace, person.email)
    session_store.drop_sessions(conn, person.workspace, person.email)
    _tell(conn, "person.removed", actor.workspace, actor.name, world.clock(), {"email": person.email})


def _everywhere(conn: Connection, person: Person) -> list[str]:
    """The workspaces in which this place makes somebody who they are: this one, and at home all."""
    elsewhere = store.places(conn, person.home, person.email) if person.home == person.workspace else []
    return list(dict.fromkeys((person.workspace, *(place.workspace for place in elsewhere))))


def limit_person(world: World, actor: Actor, email: str, scopes: Sequence[str] | None) -> Bound | None:
    """What agents may do on somebody's behalf (``kernel.scopes``); None for all that their own grants allow. It is in
    force at the next call of every agent that works for the person. Raises Refused (422) for what is no scope."""
    permit(actor, "people:manage")
    wanted = None if scopes is None else bound(scopes)
    with world.begin() as conn:
        store.alone(conn, store.person_table)
        person, now = need_person(conn, actor.workspace, email), world.clock()
        if scope_store.limits(conn, person.workspace).get(person.email) != wanted:
            scope_store.limit(conn, person.workspace, person.email, wanted, now, actor.name)
            data: dict[str, object] = {"email": person.email, "scopes": wanted}
            _tell(conn, "person.limited", person.workspace, actor.name, now, data)
    return wanted


def limits(conn: Connection, workspace: str) -> dict[str, Bound]:
    """Who of a workspace is limited in what agents may do for them, and to what."""
    return scope_store.limits(conn, workspace)


def limit_of(conn: Connection, workspace: str, email: str) -> Bound | None:
    """What agents may do on somebody's behalf; None for no limit."""
    return scope_store.limits(conn, workspace).get(email)


def facts(conn: Connection) -> dict[str, PersonFact]:
    """What agents may do for whom, by ``<workspace>/<email>``."""
    return scope_store.facts(conn)


def _keep_an_operator(conn: Connection, workspace: str, leaving: str) -> None:
    operators = [p.email for p in store.people(conn, workspace) if Role.OPERATOR in p.roles]
    if operators == [leaving]:
        raise Refused(
            "last_operator",
            f"{leaving} is the only operator.",
            fix="Make somebody else an operator first.",
            status=409,
        )


def tell_person(conn: Connection, person: Person, by: str, now: datetime, *, new: bool) -> None:
    """The Event of a place that was given or changed."""
    data: dict[str, object] = {"email": person.email, "roles": sorted(person.roles)}
    _tell(conn, "person.created" if new else "person.changed", person.workspace, by, now, data)


def _tell(  # noqa: PLR0917 (the parts of one fact)
    conn: Connection, kind: str, workspace: str, by: str, now: datetime, data: dict[str, object]
) -> None:
    events.append(conn, [Event(id=new_id(), type=kind, time=now, workspace=workspace, actor=by, data=data)])


# -- workspaces -----------------------------------------------------------------------------------------------------


def ensure_workspace(conn: Connection, name: str, by: str, now: datetime) -> None:
    """Makes a workspace unless there is one of this name."""
    if store.add_workspace(conn, Workspace(name, now, by)):
        _tell(conn, "workspace.created", name, by, now, {"name": name})


def create_workspace(world: World, actor: Actor, name: str) -> Person:
    """Makes a workspace and the place in it of the person who made it, with every role. Takes an operator of the
    installation's own workspace, the one that TENURE_WORKSPACE names. Raises Refused 409 for a name that is taken."""
    permit(actor, "workspaces:create", Thing(workspace=world.config.workspace))
    email, wanted = own_address(actor), workspace_name(name)
    with world.begin() as conn:
        now = world.clock()
        maker = need_person(conn, actor.workspace, email)
        if not store.add_workspace(conn, Workspace(wanted, now, actor.name)):
            raise Refused("workspace_exists", f"There is a workspace {wanted}.", fix="Choose another name.", status=409)
        _tell(conn, "workspace.created", wanted, actor.name, now, {"name": wanted})
        place = Person(wanted, email, frozenset(PEOPLE), now, maker.home)
        store.put_person(conn, place)
        tell_person(conn, place, actor.name, now, new=True)
    return place


def places(conn: Connection, actor: Actor) -> list[Person]:
    """The workspaces that the person who asks belongs to, each with the roles there."""
    permit(actor, "sessions:manage")
    person = need_person(conn, actor.workspace, own_address(actor))
    return store.places(conn, person.home, person.email)


def place(conn: Connection, actor: Actor, workspace: str) -> Person:
    """The place in another workspace of the person who asks. Raises Refused 404, whether there is no such workspace or
    the person does not belong to it."""
    found = [one for one in places(conn, actor) if one.workspace == workspace]
    if not found:
        raise Refused(
            "unknown_workspace",
            f"You belong to no workspace {workspace}.",
            fix="`tenure workspaces list` shows those that you belong to.",
            status=404,
        )
    return found[0]


def join(world: World, actor: Actor, code_hash: str) -> Person:
    """Takes the place that a login code of another workspace stands for, as the person who is logged in: from now on
    that workspace takes the word of this person's home for who it is. It needs both, the session and the code, so that
    neither workspace can make itself a way into the other. Raises Refused (401) for a code that is no good, and 409
    for one that was made for another address."""
    permit(actor, "sessions:manage")
    with world.begin() as conn:
        me = need_person(conn, actor.workspace, own_address(actor))
        invited = store.claim_code(conn, code_hash, world.clock())
        if invited is None:
            raise Refused(
                "bad_code", "This login code is unknown, used, or too old.", fix="Ask for a new one.", status=401
            )
        if invited.email != me.email:
            raise Refused(
                "other_person",
                "This login code was made for another address than the one you are logged in with.",
                fix="Ask for a place under the address that you log in with.",
                status=409,
            )
        joined = Person(invited.workspace, invited.email, invited.roles, invited.created_at, me.home)
        session_store.drop_sessions(conn, joined.workspace, joined.email)
        account_store.forget(conn, joined.workspace, joined.email)
        store.put_person(conn, joined)
        data: dict[str, object] = {"email": me.email, "home": me.home}
        _tell(conn, "person.joined", joined.workspace, actor.name, world.clock(), data)
    return joined
