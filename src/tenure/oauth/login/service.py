"""The verbs of logging in: what a program asks is looked at, a person agrees or refuses, and what was allowed is traded
for tokens, renewed and ended."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import may, permit
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.model import secret_hash
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event, LifecycleState, Status
from tenure.oauth.login import store
from tenure.oauth.login.model import (
    CODE_S,
    LOGIN_DAYS,
    Asked,
    Login,
    Program,
    Turned,
    answer,
    asked,
    parameters,
)
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord, thing
from tenure.revocation import service as revocation

STARTS = (LifecycleState.STAGING, LifecycleState.PRODUCTION)
"""States in which an agent begins anything."""
CODE = "tnc_"
_KEPT = timedelta(days=LOGIN_DAYS)


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked: whether ``program`` may have what it ``wants``, as one of ``agents``."""

    wants: Asked
    program: Program
    agents: tuple[AgentRecord, ...]


def address_of(actor: Actor) -> str:
    """The address of the person who asks. Raises Refused for anybody else."""
    kind, _, email = actor.name.partition(":")
    if kind != "person":
        raise Refused("not_a_person", "Only people can do this.", fix="Log in as a person.", status=403)
    return email


def look(world: World, actor: Actor, query: str, program: Program) -> Question | Turned:
    """What ``query``, an authorization request of ``program``, comes to. What breaks a rule is told as an Event and
    answered at the program; raises Refused where the browser must not be sent there."""
    permit(actor, "logins:manage")
    wants = _read(world, actor, query, program)
    if isinstance(wants, Turned):
        return wants
    with world.read() as conn:
        agents = registry.list_agents(conn, actor.workspace, STARTS)
    return Question(wants, program, tuple(agent for agent in agents if may(actor, "agents:run", thing(agent))))


def _read(world: World, actor: Actor, query: str, program: Program) -> Asked | Turned:
    try:
        found = asked(parameters(query), program, identity.issuer(world.config), world.config.gateway_url)
    except Refused as error:
        tell_turned(world, actor, program.id, error.code, error.message)
        raise
    if isinstance(found, Turned):
        tell_turned(world, actor, program.id, found.why, found.message)
    return found


def tell_turned(world: World, actor: Actor, program: str, why: str, message: str) -> None:
    """Appends ``login.turned_away``: a program asked in a way that nobody is asked about."""
    with world.begin() as conn:
        data = {"program": program[:500], "why": why, "message": message[:500]}
        events.append(conn, [_event("login.turned_away", world.clock(), actor, data, status=Status.FLAGGED)])


def refuse(world: World, actor: Actor, query: str, program: Program) -> str:
    """The person says no; returns where to send the browser, with the answer ``access_denied``."""
    permit(actor, "logins:manage")
    wants = _read(world, actor, query, program)
    if isinstance(wants, Turned):
        return wants.location
    with world.begin() as conn:
        data = {"program": program.id, "name": program.name, "resource": wants.audience, "scopes": list(wants.scopes)}
        events.append(conn, [_event("login.refused", world.clock(), actor, data)])
    issuer = identity.issuer(world.config)
    return answer(wants.redirect, issuer, wants.state, error="access_denied", error_description="The person refused.")


def allow(  # noqa: PLR0917 (who agrees, to what, as whom, and how much of it)
    world: World, actor: Actor, query: str, program: Program, agent_name: str, scopes: Sequence[str]
) -> str:
    """The person agrees that ``program`` acts as an agent of theirs, with ``scopes``, which are among those that it
    asks for; returns where to send the browser, with a code. Raises Refused for an agent that the person may not
    run."""
    permit(actor, "logins:manage")
    wants = _read(world, actor, query, program)
    if isinstance(wants, Turned):
        return wants.location
    kept = tuple(scope for scope in wants.scopes if scope in scopes)
    if not kept or len(kept) != len(set(scopes)):
        raise Refused(
            "bad_scope", "Allow some of what the program asks for, and nothing else.", fix="Or refuse.", status=422
        )
    code = CODE + secrets.token_urlsafe(32)
    with world.begin() as conn:
        now = world.clock()
        store.forget(conn, now - _KEPT)
        agent = registry.the_agent(conn, actor.workspace, agent_name)
        permit(actor, "agents:run", thing(agent))
        if agent.state not in STARTS:
            raise Refused(
                "agent_not_running",
                f"{agent.name} is {agent.state}; only an agent in staging or production can be acted as.",
                fix="Choose another, or move it on first.",
                status=409,
            )
        login = _login(actor, program, wants, agent, kept, now)
        store.add_login(conn, login)
        store.add_shown(conn, secret_hash(code), login, "code", now + timedelta(seconds=CODE_S))
        data = {"resource": login.audience, "scopes": list(kept), "name": program.name, "how": program.how}
        events.append(conn, [of_login("login.allowed", login, now, actor.name, data)])
    return answer(wants.redirect, identity.issuer(world.config), wants.state, code=code)


def _login(  # noqa: PLR0917 (the facts of one login, in the order they come to be)
    actor: Actor, program: Program, wants: Asked, agent: AgentRecord, scopes: tuple[str, ...], now: datetime
) -> Login:
    return Login(
        id=new_id(),
        workspace=actor.workspace,
        email=address_of(actor),
        agent=agent.name,
        program=program.id,
        program_name=program.name,
        how=program.how,
        redirect=wants.redirect,
        audience=wants.audience,
        scopes=scopes,
        challenge=wants.challenge,
        epoch=agent.credential_epoch,
        jkt=wants.jkt,
        session=new_id(),
        allowed_at=now,
        expires_at=now + timedelta(days=LOGIN_DAYS),
    )


def list_logins(conn: Connection, actor: Actor, now: datetime, *, everybody: bool = False) -> list[Login]:
    """What programs may do for the person who asks, or for ``everybody`` of the workspace; the newest first."""
    permit(actor, "people:read" if everybody else "logins:manage")
    return store.logins(conn, actor.workspace, None if everybody else address_of(actor), now)


def end(world: World, actor: Actor, ident: str) -> None:
    """Ends a login of one's own, or with ``people:manage`` anybody's: its tokens are dead at the next call. Raises
    Refused (404) for one that there is not, or not any more."""
    with world.begin() as conn:
        now, login = world.clock(), store.login(conn, actor.workspace, ident)
        own = login is not None and actor.name == f"person:{login.email}"
        permit(actor, "logins:manage" if own else "people:manage")
        if login is None or not ended(conn, login, now, actor.name, "revoked"):
            raise Refused("no_such_login", "There is no such login.", fix="Look at what is allowed.", status=404)


def ended(conn: Connection, login: Login, now: datetime, by: str, why: str) -> bool:
    """Ends a login in the caller's transaction, with every token it had; whether it had not ended before."""
    if not store.change_login(conn, login, ended_at=now, ended_by=by, why=why):
        return False
    revocation.end_instance(conn, login.workspace, login.id, now, by, f"the login ended: {why}")
    status = Status.ALLOWED if why in ("revoked", "given_up") else Status.FLAGGED
    events.append(conn, [of_login("login.ended", login, now, by, {"why": why}, status)])
    return True


def the_program(conn: Connection, config: Config, workspace: str, ident: str) -> Program | None:
    """The program of this id that people of a workspace can log in with: their own, or one that registered itself with
    the installation."""
    own = store.program(conn, [workspace], ident)
    if own is not None:
        return own
    common = store.program(conn, [config.workspace], ident)
    return common if common is not None and common.how == "registration" else None


def tell(  # noqa: PLR0917 (the facts of one Event, in the order they come to be)
    conn: Connection, kind: str, login: Login, now: datetime, by: str, data: JsonObject
) -> None:
    """Appends an Event about a login."""
    events.append(conn, [of_login(kind, login, now, by, data)])


def of_login(  # noqa: PLR0917 (the facts of one Event, in the order they come to be)
    kind: str, login: Login, now: datetime, by: str, data: JsonObject, status: Status = Status.ALLOWED
) -> Event:
    """An Event about a login."""
    told = {"login": login.id, "person": login.email, "program": login.program, **data}
    event = Event(id=new_id(), type=kind, time=now, workspace=login.workspace, actor=by, status=status, data=told)
    return replace(event, agent=login.agent, instance=login.id)


def _event(kind: str, now: datetime, actor: Actor, data: JsonObject, status: Status = Status.ALLOWED) -> Event:
    return Event(
        id=new_id(), type=kind, time=now, workspace=actor.workspace, actor=actor.name, status=status, data=data
    )
