"""Which programs may send people here: by a document of theirs, by registering themselves (RFC 7591), or because an
operator says so."""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.config import CLIENT_WAYS, Config, words_of
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event, Status
from tenure.oauth.doors import doors_of
from tenure.oauth.login import service, store
from tenure.oauth.login.documents import Documents
from tenure.oauth.login.model import Login, Program, described, is_document, program_of_document

DOCUMENTS, REGISTRATION, LOOPBACK = CLIENT_WAYS
MAX_REGISTERED = 1000
IDLE = timedelta(hours=24)
_SELF = "system:oauth"


def allowed(config: Config, way: str) -> bool:
    """Whether programs may be known in this way (TENURE_OAUTH_CLIENTS)."""
    return way in words_of(config.oauth_clients)


def documents(config: Config) -> Documents:
    """What fetches the documents of programs."""
    return Documents(loopback=allowed(config, LOOPBACK))


async def find(world: World, actor: Actor, fetch: Documents, client_id: str) -> Program:
    """The program that calls itself ``client_id``. Raises Refused for one that nobody knows; that is told."""
    permit(actor, "logins:manage")
    try:
        if is_document(client_id):
            return await _documented(world, actor, fetch, client_id)
        return await asyncio.to_thread(_registered, world, actor, client_id)
    except Refused as error:
        await asyncio.to_thread(service.tell_turned, world, actor, client_id, error.code, error.message)
        raise


async def _documented(world: World, actor: Actor, fetch: Documents, client_id: str) -> Program:
    if not allowed(world.config, DOCUMENTS):
        raise _unknown("programs are not known by their documents here (TENURE_OAUTH_CLIENTS)")
    return program_of_document(client_id, await fetch.get(client_id), actor.workspace, world.clock())


def _registered(world: World, actor: Actor, client_id: str) -> Program:
    with world.read() as conn:
        found = service.the_program(conn, world.config, actor.workspace, client_id)
    if found is None:
        raise _unknown("nobody registered it")
    return found


def _unknown(why: str) -> Refused:
    return Refused(
        "unknown_client",
        f"The program that asks is not known: {why}.",
        fix="Nothing was allowed. Ask an operator to register it: `tenure programs add`.",
    )


def register(world: World, metadata: JsonObject, address: str) -> Program:
    """A program registers itself (RFC 7591), where that is allowed. It gets an id and no secret: whoever it is, only a
    person's agreement makes it anything. Raises Refused with the codes of RFC 7591 section 3.2.2."""
    try:
        return _registered_now(world, metadata, address)
    except Refused as error:
        # Anybody may knock here: of one address 20 refusals at once are told, and then one a second with their number.
        skipped = doors_of(world.db).told.take(f"{address} register", world.clock().timestamp())
        if skipped is None:
            raise
        with world.begin() as conn:
            data = {"error": error.code, "why": error.message[:300], "client.address": address, "count": skipped + 1}
            event = Event(
                id=new_id(),
                type="program.refused",
                time=world.clock(),
                workspace=world.config.workspace,
                actor=_SELF,
                status=Status.FLAGGED,
                data=data,
            )
            events.append(conn, [event])
        raise


def _registered_now(world: World, metadata: JsonObject, address: str) -> Program:
    if not allowed(world.config, REGISTRATION):
        raise Refused("access_denied", "Programs do not register themselves here.", fix=_ELSE, status=403)
    name, redirects = described(metadata)
    with world.begin() as conn:
        now, workspace = world.clock(), world.config.workspace
        store.drop_idle_programs(conn, workspace, "registration", now - IDLE)
        if store.count_programs(conn, workspace, "registration") >= MAX_REGISTERED:
            raise Refused("temporarily_unavailable", "Too many programs have registered.", fix=_ELSE, status=429)
        ident = f"dyn_{secrets.token_urlsafe(18)}"
        program = Program(ident, workspace, name or "A program", redirects, "registration", now, _SELF)
        store.add_program(conn, program)
        _tell(conn, "program.registered", program, _SELF, now, {"client.address": address})
    return program


_ELSE = "Use a client whose id is the address of its document, or ask an operator to register it."


def add(world: World, actor: Actor, name: str, redirects: list[str]) -> Program:
    """An operator registers a program for the people of the workspace."""
    permit(actor, "programs:manage")
    shown, places = described({"client_name": name, "redirect_uris": redirects})
    if not shown:
        raise Refused("bad_name", "A program needs a name that people know it by.", fix="Name it.", status=422)
    with world.begin() as conn:
        ident = f"prg_{secrets.token_urlsafe(18)}"
        program = Program(ident, actor.workspace, shown, places, "operator", world.clock(), actor.name)
        store.add_program(conn, program)
        _tell(conn, "program.registered", program, actor.name, program.created_at)
    return program


def remove(world: World, actor: Actor, ident: str) -> None:
    """Forgets a program, and ends what people of the workspace allowed it. Raises Refused (404) when there is none."""
    permit(actor, "programs:manage")
    with world.begin() as conn:
        now, program = world.clock(), store.program(conn, [actor.workspace], ident)
        if program is None or not store.drop_program(conn, actor.workspace, ident):
            raise Refused("no_such_program", "There is no such program.", fix="See the list.", status=404)
        for login in store.logins(conn, actor.workspace, None, now):
            if login.program == ident:
                service.ended(conn, login, now, actor.name, "program_removed")
        _tell(conn, "program.removed", program, actor.name, now)


def listed(conn: Connection, workspace: str) -> list[Program]:
    """The programs that an operator of a workspace registered, and those that registered themselves there."""
    return store.programs(conn, workspace)


def still(conn: Connection, config: Config, login: Login) -> bool:
    """Whether the program of a login is let in as it was when the person agreed."""
    if login.how == "document":
        return allowed(config, DOCUMENTS)
    return service.the_program(conn, config, login.workspace, login.program) is not None


def metadata(config: Config, issuer: str) -> dict[str, Any]:
    """What the metadata of the authorization server (RFC 8414) say of logging in."""
    more = {"registration_endpoint": f"{issuer}/oauth/register"} if allowed(config, REGISTRATION) else {}
    return more | {
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": allowed(config, DOCUMENTS),
    }


def _tell(  # noqa: PLR0917 (the facts of one Event, in the order they come to be)
    conn: Connection, kind: str, program: Program, by: str, now: datetime, more: JsonObject | None = None
) -> None:
    data = {"program": program.id, "name": program.name, "how": program.how, "redirects": list(program.redirects)}
    told = data | dict(more or {})
    event = Event(id=new_id(), type=kind, time=now, workspace=program.workspace, actor=by, data=told)
    events.append(conn, [event])
