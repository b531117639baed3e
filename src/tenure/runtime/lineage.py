"""Agents that start others: a child works within what its parent may do, for the same person, and no longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from tenure.base.access import permit
from tenure.base.room import World
from tenure.identity.model import LEEWAY_S
from tenure.kernel.errors import Refused
from tenure.kernel.scopes import Bound, bound, widening
from tenure.kernel.values import Actor, Principal
from tenure.kernel.work import OWN, Work, handed_on
from tenure.registry import service as registry
from tenure.registry.model import ACTING, agent_fact
from tenure.revocation import service as revocation


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new instance is started for. ``on_behalf_of``: the person; ``scopes``: what its token is limited to, empty
    for no limit of its own; ``task``: what it is for."""

    on_behalf_of: str | None = None
    scopes: Sequence[str] = ()
    task: str | None = None


NOTHING_SAID = Wish()


@dataclass(frozen=True, slots=True)
class Given:
    """What comes of a wish. ``ends_in_s``: seconds that the parent has left, None for an instance that no agent
    started."""

    person: str | None
    work: Work
    scopes: Bound
    ends_in_s: int | None = None


def given(world: World, conn: Connection, actor: Actor, agent: str, wish: Wish) -> Given:
    """What an instance of ``agent`` that ``actor`` starts is given to do. An agent hands on what it may do itself and
    nothing else. Raises Refused."""
    _checked(wish)
    scopes, parent = bound(wish.scopes), actor.principal
    if parent is None:
        return Given(wish.on_behalf_of, replace(OWN, task=wish.task), scopes)
    work = _from_parent(world, conn, actor, parent, agent)
    if wish.on_behalf_of not in (None, parent.on_behalf_of):
        raise Refused(
            "other_person",
            f"Agent {parent.agent} works for somebody else.",
            fix="Leave on_behalf_of out: it is the same person's.",
            status=403,
        )
    beyond = widening(scopes, work.bounds)
    if beyond:
        raise Refused("scope_too_wide", f"{beyond} reaches beyond {parent.agent}.", fix="Ask for less.", status=403)
    left = int(parent.expires_at - LEEWAY_S - world.clock().timestamp())
    return Given(parent.on_behalf_of, replace(work, task=work.task or wish.task), scopes, max(left, 1))


def _checked(wish: Wish) -> None:
    texts = {"on_behalf_of": (wish.on_behalf_of, 254), "task": (wish.task, 200)}
    for name, (text, most) in texts.items():
        if text is not None and not (0 < len(text) <= most and text.isprintable()):
            fix = "Give an e-mail address." if name == "on_behalf_of" else "Give a short name, or none."
            raise Refused(
                "bad_person" if name == "on_behalf_of" else "bad_task", f"{name} is no name.", fix=fix, status=422
            )


def _from_parent(world: World, conn: Connection, actor: Actor, parent: Principal, child: str) -> Work:
    permit(actor, "agents:spawn")
    for name, epoch in ((parent.agent, parent.credential_epoch), *zip(parent.chain, parent.chain_epochs, strict=True)):
        record = registry.get_agent(conn, parent.workspace, name)
        if record is None or record.state not in ACTING or record.credential_epoch != epoch:
            raise _over(f"Agent {name} may not act any more, or not under this credential.")
    dead = revocation.refuses(conn, parent, world.clock())
    if dead:
        raise _over(dead)
    known = agent_fact(registry.the_agent(conn, parent.workspace, parent.agent))
    grant = next((one for one in known.agents if one.name == child), None)
    if grant is None:
        raise Refused(
            "not_granted",
            f"Agent {parent.agent} was not granted the agent {child}.",
            fix=f"Name it under `agents` in the manifest of {parent.agent}.",
            status=403,
        )
    return handed_on(parent, grant, world.config.delegation_depth)


def _over(why: str) -> Refused:
    return Refused("credential_revoked", why, fix="Ask the agent's owner for its state.", status=401)


def may_renew(actor: Actor, started_by: str) -> None:
    """Raises Refused (403) where a newer token would be wider than the one that is shown, or than that of the parent:
    a token that was narrowed, or is for somebody else's work, is not traded for one that is not."""
    shown = actor.principal
    narrowed = shown is not None and bool(shown.bounds or shown.chain)
    if narrowed or started_by.startswith("agent:"):
        raise Refused(
            "no_renewal",
            "This token is for one piece of work and ends with it.",
            fix="Whoever gave the work gives a new token.",
            status=403,
        )
