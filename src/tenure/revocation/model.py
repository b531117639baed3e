"""Marks: each says of some credentials that they are dead, from when on, and until when anybody need know. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tenure.kernel.revoked import RevokedFact

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
    names: dict[Kind, set[str]] = {kind: set() for kind in Kind}
    moments: dict[Kind, dict[str, float]] = {Kind.PERSON: {}, Kind.REPLACED: {}}
    for mark in marks:
        if mark.kind in moments:
            newest = moments[mark.kind]
            newest[mark.subject] = max(mark.before.timestamp(), newest.get(mark.subject, 0.0))
        else:  # an agent's and a workspace's every gateway sees by the epoch of the agents
            names[mark.kind].add(mark.subject)
    return RevokedFact(
        workspace,
        instances=frozenset(names[Kind.INSTANCE]),
        releases=frozenset(names[Kind.RELEASE]),
        keys=frozenset(names[Kind.KEY]),
        people=moments[Kind.PERSON],
        agents=moments[Kind.REPLACED],
        tokens=frozenset(names[Kind.TOKEN]),
    )


def with_ahead(
    known: Mapping[str, RevokedFact], ahead: Sequence[RevokedFact], workspaces: Iterable[str], home: str
) -> Mapping[str, RevokedFact]:
    """``known``, by workspace, and what is being revoked; keys that ``home`` revokes sign for all ``workspaces``."""
    if not ahead:
        return known
    out = dict(known)
    for fact_ in ahead:
        for workspace in {fact_.workspace, *(workspaces if fact_.keys and fact_.workspace == home else ())}:
            told = fact_ if workspace == fact_.workspace else RevokedFact(workspace, keys=fact_.keys)
            out[workspace] = out[workspace].joined(told) if workspace in out else told
    return out
