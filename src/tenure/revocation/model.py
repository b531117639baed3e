"""Marks: each says of some credentials that they are dead, from when on, and until when anybody need know. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tenure.kernel.snapshot import RevokedFact

REMEMBERED = timedelta(days=1, minutes=1)
"""No token lives longer than a day: after that nothing is left that a mark could name."""


class Kind(StrEnum):
    """What a credential can be revoked by. ``replaced``: an agent's credentials, once their successors are out."""

    AGENT = "agent"
    INSTANCE = "instance"
    TOKEN = "token"  # noqa: S105 (a kind)
    RELEASE = "release"
    KEY = "key"
    PERSON = "person"
    WORKSPACE = "workspace"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Mark:
    """``subject`` is a name, an id, a digest or an address, as ``kind`` says. Credentials that were issued up to
    ``before`` are dead from ``since`` on; it is told until ``until``, None for ever."""

    id: str
    workspace: str
    kind: Kind
    subject: str
    before: datetime
    since: datetime
    until: datetime | None
    actor: str
    reason: str


def fact(workspace: str, marks: Iterable[Mark]) -> RevokedFact:
    """What gateways must know of the marks of a workspace."""
    out = RevokedFact(workspace)
    for mark in marks:
        moment = mark.before.timestamp()
        match mark.kind:
            case Kind.INSTANCE:
                out = replace(out, instances=out.instances | {mark.subject})
            case Kind.TOKEN:
                out = replace(out, tokens=out.tokens | {mark.subject})
            case Kind.RELEASE:
                out = replace(out, releases=out.releases | {mark.subject})
            case Kind.KEY:
                out = replace(out, keys=out.keys | {mark.subject})
            case Kind.PERSON:
                newest = max(moment, out.people.get(mark.subject, 0.0))
                out = replace(out, people={**out.people, mark.subject: newest})
            case Kind.REPLACED:
                newest = max(moment, out.agents.get(mark.subject, 0.0))
                out = replace(out, agents={**out.agents, mark.subject: newest})
            case Kind.AGENT | Kind.WORKSPACE:
                pass  # every gateway sees it by the epoch of the agents
    return out
