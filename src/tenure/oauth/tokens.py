"""What a token that was given is still worth, and its end before its time (RFC 7662, RFC 7009)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import may
from tenure.base.room import World
from tenure.identity import service as identity
from tenure.identity.model import LEEWAY_S, Verified, claims_of, subject_of, verified
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.values import Actor, Event
from tenure.oauth.model import Client, Targets, client_id
from tenure.registry import service as registry
from tenure.registry.model import ACTING, thing
from tenure.revocation import service as revocation


def _read(world: World, conn: Connection, token: str, targets: Targets) -> Verified | None:
    """A token of ours that has not expired, whatever became of it since."""
    keys, now = identity.public_keys(conn), world.clock().timestamp()
    try:
        return verified(token, keys, identity.issuer(world.config), targets, now)
    except Refused:
        return None


def _concerns(conn: Connection, found: Verified, who: Client | Actor, action: str) -> bool:
    """Whether a token is any business of whoever asks: an agent's own is, and those of agents that a person or program
    may do ``action`` to."""
    principal = found.principal
    if isinstance(who, Client):
        return (who.workspace, who.agent) == (principal.workspace, principal.agent)
    agent = registry.get_agent(conn, principal.workspace, principal.agent)
    return agent is not None and who.workspace == principal.workspace and may(who, action, thing(agent))


def introspect(world: World, who: Client | Actor, token: str, targets: Targets) -> dict[str, Any]:
    """What a token says and whether it counts (RFC 7662 section 2.2); of one that does not, or that is none of the
    asker's business, only that."""
    with world.read() as conn:
        found = _read(world, conn, token, targets)
        if found is None or not _concerns(conn, found, who, "agents:read"):
            return {"active": False}
        principal = found.principal
        agent = registry.get_agent(conn, principal.workspace, principal.agent)
        dead = agent is None or agent.state not in ACTING or agent.credential_epoch != principal.credential_epoch
        gone = revocation.refuses(conn, principal, world.clock())
    if dead or gone:
        return {"active": False}
    name = client_id(principal.workspace, principal.agent)
    bound = {"cnf": {"jkt": found.jkt}} if found.jkt else {}
    return bound | {
        "active": True,
        "iss": identity.issuer(world.config),
        "sub": subject_of(principal),
        "client_id": name,
        "aud": found.audience,
        "jti": principal.token_id,
        "exp": int(principal.expires_at - LEEWAY_S),
        "token_type": "DPoP" if found.jkt else "Bearer",
        "agent": principal.agent,
        "release": principal.release,
        "instance": principal.instance,
        "session": principal.session,
        **{name: value for name, value in claims_of(principal).items() if name in ("act", "scope", "task")},
    }


def revoke(world: World, who: Client | Actor, token: str, targets: Targets) -> bool:
    """Ends a token (RFC 7009); whether there was one to end that is the asker's business. Asking twice changes
    nothing."""
    with world.begin() as conn:
        found = _read(world, conn, token, targets)
        if found is None or not _concerns(conn, found, who, "agents:keys"):
            return False
        principal = found.principal
        by = who.name if isinstance(who, Actor) else f"agent:{who.agent}"
        if revocation.end_token(conn, principal, world.clock(), by):
            event = Event(
                id=new_id(),
                type="agent_token.revoked",
                time=world.clock(),
                workspace=principal.workspace,
                actor=by,
                agent=principal.agent,
                release=principal.release,
                instance=principal.instance,
                session=principal.session,
                data={"jti": principal.token_id},
            )
            events.append(conn, [event])
    return True
