"""What ends at once: all that a person can show, all that anybody of a workspace can show, a signing key.

Each in the transaction of who revokes; whether the actor may is for the caller to ask."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.config import Config
from tenure.identity import session_store, store, token_store
from tenure.identity.model import Person
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event


def end_person(tx: Connection, config: Config, actor: Actor, person: Person, now: datetime) -> None:
    """Ends a person's sessions, API tokens and login codes here. They keep their place and can log in again."""
    _end(tx, config, person)
    _tell(tx, "person.credentials_ended", person.workspace, actor, now, {"email": person.email})


def end_workspace(tx: Connection, config: Config, actor: Actor, now: datetime) -> tuple[int, int]:
    """Ends what every person and every service account of the actor's workspace can show, but for the person who asks;
    how many people and how many service accounts. A gateway's own credential stays: it has to hear of it."""
    people = [one for one in store.people(tx, actor.workspace) if f"person:{one.email}" != actor.name]
    for person in people:
        end_person(tx, config, actor, person, now)
    services = token_store.services(tx, actor.workspace)
    for service in services:
        token_store.drop_tokens_of(tx, actor.workspace, email=None, service=service.name)
    return len(people), len(services)


def end_key(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, actor: Actor, home: str, kid: str, now: datetime, path: Callable[[str], Path]
) -> None:
    """Stops believing a signing key now. Raises Refused (404) when none of this id is believed."""
    if not store.end_key(tx, home, kid):
        raise Refused(
            "no_such_key",
            f"No key {kid} signs or is believed.",
            fix="`tenure keys list` shows those that are.",
            status=404,
        )
    path(kid).unlink(missing_ok=True)
    _tell(tx, "key.retired", home, actor, now, {"kid": kid})


def _end(tx: Connection, config: Config, person: Person) -> None:
    session_store.drop_sessions(tx, person.workspace, person.email)
    for token in token_store.tokens(tx, person.workspace, email=person.email):
        if token.name.startswith("operator.token@"):
            # A later start would believe what is in the file again; so it makes a new one.
            (config.data_dir / "operator.token").unlink(missing_ok=True)
    token_store.drop_tokens_of(tx, person.workspace, email=person.email, service=None)
    store.drop_codes(tx, person.workspace, person.email)


def _tell(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, kind: str, workspace: str, actor: Actor, now: datetime, data: dict[str, object]
) -> None:
    events.append(tx, [Event(id=new_id(), type=kind, time=now, workspace=workspace, actor=actor.name, data=data)])
