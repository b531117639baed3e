"""Sightings become evidence of findings, in one transaction: those that share a mark are of one agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from tenure.discovery import signs, store
from tenure.discovery.model import (
    MAX_FINDINGS,
    Evidence,
    Finding,
    Sighting,
    State,
    bounded,
    evidence_key,
    united,
)
from tenure.kernel.clients import name_of, telling
from tenure.kernel.ids import new_id


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of sightings: ``found`` are new findings, ``seen`` those that were there and were seen again;
    ``weak`` sightings are too little to go by, ``full`` came when there was no room."""

    found: tuple[Finding, ...] = ()
    seen: tuple[Finding, ...] = ()
    weak: int = 0
    full: int = 0


def keep(conn: Connection, workspace: str, sightings: Sequence[Sighting]) -> Kept:
    """Keeps what is an agent or belongs to one that was found. Call it alone (``store.alone``)."""
    marks = store.by_marks(conn, workspace, [mark for one in sightings for mark in one.marks])
    room = MAX_FINDINGS - store.count(conn, workspace)
    found, seen, weak, full = [], [], 0, 0
    for group in _groups(sightings, marks):
        idents = {marks[mark] for one in group for mark in one.marks if mark in marks}
        there = [one for ident in sorted(idents) if (one := store.get(conn, workspace, ident)) is not None]
        free = [one for one in group if not bounded(one.signs)]
        sure = signs.confidence(united([one.signs for one in group])) >= signs.SURE_ENOUGH
        if there and (free or sure):
            target = min(there, key=lambda one: (one.state is State.OPEN, one.first_seen, one.id))
            for other in there:
                if other.id != target.id and other.state is State.OPEN:
                    _take_over(conn, workspace, target, other)
            seen.append(_added(conn, target, free or group))
        elif sure and room > 0:
            room -= 1
            found.append(_added(conn, _begun(workspace, group), free or group))
        else:
            weak, full = weak + (not sure) * len(group), full + sure * len(group)
    return Kept(tuple(found), tuple(seen), weak, full)


def _groups(sightings: Sequence[Sighting], marks: Mapping[str, str]) -> list[list[Sighting]]:
    """Sightings of one agent together: those that share a mark, or marks of one finding."""
    groups: list[tuple[set[str], list[Sighting]]] = []
    for one in sightings:
        keys = {*one.marks, *(f"finding:{marks[mark]}" for mark in one.marks if mark in marks)}
        mine = [one]
        apart = []
        for known, members in groups:
            if known & keys:
                keys |= known
                mine = [*members, *mine]
            else:
                apart.append((known, members))
        groups = [*apart, (keys, mine)]
    return [members for _, members in groups]


def _begun(workspace: str, group: Sequence[Sighting]) -> Finding:
    first, last = min(one.at for one in group), max(one.at for one in group)
    return Finding(new_id(), workspace, _name(group), State.OPEN, 0, first, last, 0, ())


def _name(group: Sequence[Sighting]) -> str:
    best = sorted(group, key=lambda one: (not telling(name_of(one.name)), -one.confidence))
    return best[0].name


def _take_over(conn: Connection, workspace: str, target: Finding, other: Finding) -> None:
    """Two findings turn out to be one agent."""
    store.put_evidence(conn, workspace, target.id, store.evidence(conn, other.id))
    store.drop_evidence(conn, other.id)
    store.move_marks(conn, other.id, target.id)
    store.drop(conn, other.id)


def _added(conn: Connection, finding: Finding, group: Sequence[Sighting]) -> Finding:
    known = {one.key: one for one in store.evidence(conn, finding.id)}
    for sighting in group:
        key = evidence_key(sighting)
        known[key] = _again(known.get(key), key, sighting)
    touched = {evidence_key(sighting) for sighting in group}
    store.put_evidence(conn, finding.workspace, finding.id, [known[key] for key in touched])
    store.put_marks(conn, finding.workspace, finding.id, [mark for one in group for mark in one.marks])
    now = summed(finding, store.evidence(conn, finding.id))
    store.save(conn, now)
    return now


def _again(before: Evidence | None, key: str, sighting: Sighting) -> Evidence:
    if before is None:
        return Evidence(
            key, sighting.channel, sighting.where, sighting.what, sighting.signs, sighting.at, sighting.at,
            sighting.count, sighting.hints,
        )  # fmt: skip
    return replace(
        before,
        signs=signs.known([*before.signs, *sighting.signs]),
        first_seen=min(before.first_seen, sighting.at),
        last_seen=max(before.last_seen, sighting.at),
        count=before.count + sighting.count,
        hints={**before.hints, **sighting.hints},
    )


def summed(finding: Finding, evidence: Sequence[Evidence]) -> Finding:
    """The finding as its evidence has it."""
    return replace(
        finding,
        confidence=signs.confidence(united([one.signs for one in evidence])),
        first_seen=min([finding.first_seen, *(one.first_seen for one in evidence)]),
        last_seen=max([finding.last_seen, *(one.last_seen for one in evidence)]),
        count=sum(one.count for one in evidence),
        channels=tuple(sorted({one.channel for one in evidence})),
    )
