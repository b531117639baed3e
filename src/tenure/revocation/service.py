"""What was revoked: to be recorded in the transaction of who revokes, and asked by who believes credentials."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy.engine import Connection

from tenure.base.room import World
from tenure.kernel.ids import new_id
from tenure.kernel.revoked import RevokedFact
from tenure.kernel.values import Actor, Principal
from tenure.revocation import store
from tenure.revocation.model import REMEMBERED, Kind, Mark, fact


def mark(
    world: World,
    tx: Connection,
    actor: Actor,
    kind: Kind,
    subject: str,
    *,
    reason: str,
    after: timedelta = timedelta(0),
) -> Mark:
    """Records that credentials which were issued until now are dead, from now on or ``after`` a while; a release's are
    dead for ever. It reaches the gateways as a fact; ``World.replicas`` says when it has."""
    now = world.clock()
    until = None if kind is Kind.RELEASE else now + after + REMEMBERED
    made = Mark(new_id(), actor.workspace, kind, subject, now, now + after, until, actor.name, reason)
    store.add(tx, made)
    return made


def ahead(workspace: str, kind: Kind, subject: str, now: datetime) -> RevokedFact:
    """What gateways will have of a mark that is being made (``World.alarm``)."""
    return fact(workspace, [Mark("", workspace, kind, subject, now, now, None, "", "")])


def end_instance(  # noqa: PLR0917 (the parts of one fact)
    tx: Connection, workspace: str, instance: str, now: datetime, by: str, reason: str
) -> None:
    """Ends all that was issued to an instance, such as the holder of a key or a login."""
    mark_ = Mark(new_id(), workspace, Kind.INSTANCE, instance, now, now, now + REMEMBERED, by, reason)
    store.add(tx, mark_)


def end_token(tx: Connection, principal: Principal, now: datetime, by: str) -> bool:
    """Ends the token that shows ``principal`` and no other; False when it had been ended."""
    if store.of(tx, principal.workspace, [Kind.TOKEN], principal.token_id):
        return False
    until = datetime.fromtimestamp(principal.expires_at, UTC)
    store.add(tx, Mark(new_id(), principal.workspace, Kind.TOKEN, principal.token_id, now, now, until, by, ""))
    return True


def facts(conn: Connection, now: datetime, workspaces: Iterable[str], home: str) -> dict[str, RevokedFact]:
    """What the gateways must know, by workspace. Keys sign for all of them, and are marked in ``home``."""
    marks = store.in_force(conn, now)
    if not marks:
        return {}
    keys = [one for one in marks if one.kind is Kind.KEY and one.workspace == home]
    out = {}
    for workspace in {*workspaces, *(one.workspace for one in marks)}:
        own = [one for one in marks if one.workspace == workspace and one.kind is not Kind.KEY]
        made = fact(workspace, [*own, *keys])
        if made != RevokedFact(workspace):
            out[workspace] = made
    return out


def refuses(conn: Connection, principal: Principal, now: datetime) -> str:
    """Why a credential that is shown to the control plane is dead, in words; empty while it is not."""
    return fact(principal.workspace, store.in_force(conn, now, principal.workspace)).refuses(principal)


def is_revoked(conn: Connection, workspace: str, kind: Kind, subject: str) -> bool:
    """Whether an instance or a release was revoked."""
    return bool(store.of(conn, workspace, [kind], subject))


def renew_before(conn: Connection, workspace: str, agent: str, home: str) -> datetime | None:
    """Credentials of an agent that were issued up to this moment are to be replaced by newer ones now, though some are
    good for a while yet; None when there are none such. A revoked key was marked in ``home``."""
    replaced = store.of(conn, workspace, [Kind.REPLACED], agent)[:1]
    keys = [one for one in store.newest(conn, home) if one.kind is Kind.KEY][:1]
    return max((one.before for one in (*replaced, *keys)), default=None)


def replaced_at(conn: Connection, workspace: str, agent: str) -> datetime | None:
    """When an agent's credentials were replaced last."""
    return next((one.before for one in store.of(conn, workspace, [Kind.REPLACED], agent)), None)


def newest(conn: Connection, workspace: str) -> list[Mark]:
    """What was revoked in a workspace, the newest first; at most 200. Single tokens, which agents end by themselves
    all the time, are told by Events only."""
    return store.newest(conn, workspace)


def forgettable(conn: Connection, now: datetime) -> bool:
    """Whether there are marks of single tokens that have expired since."""
    return store.forgettable(conn, now)


def forget(conn: Connection, now: datetime) -> int:
    """Drops marks of single tokens that have expired since; how many."""
    return store.forget(conn, now)


def came_due(conn: Connection, after: datetime, now: datetime) -> list[Mark]:
    """What has come into force since ``after``, of all workspaces."""
    return store.came_due(conn, after, now)
