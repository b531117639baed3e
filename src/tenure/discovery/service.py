"""The verbs of discovery: sightings are reported; findings are claimed, registered, blocked, ignored, opened again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.base.scan.texts import clean
from tenure.discovery import heard, merging, signs, store
from tenure.discovery.draft import draft, overlaid
from tenure.discovery.heard import Known
from tenure.discovery.model import (
    MAX_SIGHTINGS,
    Evidence,
    Finding,
    Sighting,
    State,
    blockable,
    checked,
    united,
)
from tenure.kernel.clients import name_of
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import Json, JsonObject
from tenure.kernel.snapshot import BlockedFact
from tenure.kernel.values import Actor, Event, LifecycleState, Role
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry

S = LifecycleState
CURSOR = "discovery"
MAX_NOTE = 500
_SECRETS = frozenset({"secret"})
_GONE = (S.RETIRED, S.REJECTED)


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a report. ``registered``: sightings of agents that are; ``weak``: too little to go by;
    ``full``: there was no room for them."""

    found: tuple[Finding, ...]
    seen: tuple[Finding, ...]
    registered: int
    weak: int
    full: int


def report(world: World, actor: Actor, sightings: Sequence[Sighting]) -> Reported:
    """Keeps what is an agent that nobody registered. Secrets are taken out of what is told: a sighting should hold
    none. Raises Refused (422) for what is no sighting."""
    permit(actor, "discovery:report")
    if len(sightings) > MAX_SIGHTINGS:
        raise Refused("too_many", f"At most {MAX_SIGHTINGS} at once.", fix="Send several reports.", status=413)
    wanted = [_without_secrets(checked(one)) for one in sightings]
    with world.begin() as tx:
        store.alone(tx)
        return _report(world, tx, actor, wanted)


def _report(world: World, tx: Connection, actor: Actor, wanted: Sequence[Sighting]) -> Reported:
    alive, gone = _names(tx, actor.workspace)
    fresh = [_told(one, gone) for one in wanted if not alive.intersection(_named(one))]
    kept = merging.keep(tx, actor.workspace, fresh)
    events.append(tx, [_found(world, tx, actor, one) for one in kept.found])
    return Reported(kept.found, kept.seen, len(wanted) - len(fresh), kept.weak, kept.full)


def _without_secrets(one: Sighting) -> Sighting:
    said = {"name": one.name, "where": one.where, "what": one.what, "hints": one.hints, "marks": list(one.marks)}
    told = clean(said, _SECRETS)
    assert isinstance(told, dict)  # noqa: S101 (a redacted value has the shape it had)
    return replace(one, **{**told, "marks": tuple(told["marks"])})


def _named(one: Sighting) -> set[str]:
    return {mark.removeprefix("name:") for mark in one.marks if mark.startswith("name:")}


def _told(one: Sighting, gone: Collection[str]) -> Sighting:
    again = bool(_named(one).intersection(gone))
    return replace(one, signs=signs.known([*one.signs, "was-retired"])) if again else one


def _names(conn: Connection, workspace: str) -> tuple[frozenset[str], frozenset[str]]:
    """(names of agents that are registered or known elsewhere, names of those that were)."""
    agents = registry.list_agents(conn, workspace)
    alive = {name_of(one.name) for one in agents if one.state not in _GONE}
    alive |= {name_of(name) for name in registry.external_names(conn, workspace)}
    return frozenset(alive), frozenset(name_of(one.name) for one in agents if one.state in _GONE) - alive


def _known(conn: Connection, workspace: str) -> Known:
    agents = registry.list_agents(conn, workspace)
    alive, _ = _names(conn, workspace)
    return Known(alive, {name_of(one.name): one.framework for one in agents})


def look(world: World) -> bool:
    """Takes in what gateways and telemetry have told since the last look; whether there is more. What strangers send is
    of the installation's own workspace: they say of no other that it is theirs."""
    with world.read() as conn:
        after = events.cursor(conn, CURSOR)
    news = telemetry.heard(world, after)
    if news.upto == after:
        return False
    found: dict[str, list[Sighting | None]] = {}
    own = world.config.workspace
    for one in news.strangers:
        found.setdefault(own, []).append(heard.stranger(one))
    with world.read() as conn:
        places = {one.workspace for one in news.introduced} | {one.workspace for one in news.spoken}
        places |= {one.workspace for one in news.peers}
        known = {workspace: _known(conn, workspace) for workspace in places}
    for said in news.introduced:
        found.setdefault(said.workspace, []).append(heard.introduced(said, known[said.workspace]))
    for span in news.spoken:
        found.setdefault(span.workspace, []).append(heard.spoken(span, known[span.workspace]))
    for called in news.peers:
        found.setdefault(called.workspace, []).append(heard.peer(called, known[called.workspace]))
    wanted = {workspace: [one for one in told if one is not None] for workspace, told in found.items()}
    with world.db.begin() as tx:  # with the cursor, so that nothing counts twice; the bell rings below
        store.alone(tx)
        for workspace, sightings in wanted.items():
            system = Actor(workspace, "system:discovery", frozenset({Role.SYSTEM}))
            _report(world, tx, system, [_without_secrets(one) for one in sightings])
        events.move_cursor(tx, CURSOR, news.upto)
    if any(wanted.values()):
        world.bell.ring()
    return news.more


def _found(world: World, conn: Connection, actor: Actor, finding: Finding) -> Event:
    evidence = store.evidence(conn, finding.id)
    data: JsonObject = {
        "finding": finding.id,
        "name": finding.name,
        "confidence": finding.confidence,
        "channels": [str(one) for one in finding.channels],
        "where": evidence[0].where,
        "reason": signs.reason(united([one.signs for one in evidence])),
    }
    return _event(world, actor, "discovery.found", finding, data)


def _event(world: World, actor: Actor, kind: str, finding: Finding, data: JsonObject) -> Event:
    return Event(
        id=new_id(),
        type=kind,
        time=world.clock(),
        workspace=finding.workspace,
        actor=actor.name,
        data=data,
    )


# -- reading
def find(conn: Connection, actor: Actor, states: Collection[State] = ()) -> list[Finding]:
    """Findings, the surest first, at most 500; of all states unless told otherwise."""
    permit(actor, "discovery:read")
    return store.find(conn, actor.workspace, states=states)


def get(conn: Connection, actor: Actor, ident: str) -> tuple[Finding, list[Evidence]]:
    """One finding with its evidence. Raises Refused (404)."""
    permit(actor, "discovery:read")
    return _the(conn, actor, ident), store.evidence(conn, ident)


def manifest(conn: Connection, actor: Actor, ident: str) -> JsonObject:
    """The manifest that it comes to."""
    found, evidence = get(conn, actor, ident)
    return draft(found, evidence, found.owner or _address(actor))


def _the(conn: Connection, actor: Actor, ident: str) -> Finding:
    found = store.get(conn, actor.workspace, ident)
    if found is None:
        raise Refused("unknown_finding", f"There is no finding {ident}.", fix="See `tenure discover list`.", status=404)
    return found


def _address(actor: Actor) -> str:
    return actor.name.partition(":")[2]


# -- deciding
def claim(world: World, actor: Actor, ident: str, note: str = "") -> Finding:
    """Says that one answers for it. What it needs next is to be registered."""
    permit(actor, "discovery:claim")
    if not actor.name.startswith("person:"):
        raise Refused("not_a_person", "A person answers for an agent.", fix="Claim it as a person.", status=403)
    return _decide(world, actor, ident, State.CLAIMED, note, owner=_address(actor))


def register(world: World, actor: Actor, ident: str, given: JsonObject) -> Finding:
    """Asks for it as an agent: its draft with what is ``given`` in place is applied, and waits for an approver. Raises
    Refused as the registry does."""
    permit(actor, "discovery:claim")
    with world.read() as conn:
        found = _open_to(_the(conn, actor, ident), State.REGISTERED)
        wanted = overlaid(draft(found, store.evidence(conn, ident), found.owner or _address(actor)), given)
        if registry.get_agent(conn, actor.workspace, str(wanted["metadata"]["name"])) is not None:
            raise Refused(
                "name_taken",
                f"There is an agent {wanted['metadata']['name']} already.",
                fix="Give it another name, or ignore the finding if it is that agent.",
                status=409,
            )
    applied = registry.apply(world, actor, wanted).agent
    note = f"asked for as {applied.name}"
    return _decide(world, actor, ident, State.REGISTERED, note, owner=applied.owner, agent=applied.name)


def block(world: World, actor: Actor, ident: str, note: str) -> Finding:
    """Refuses at the gateways whatever calls itself as it does, where it has a name of its own."""
    permit(actor, "discovery:block")
    with world.read() as conn:
        names = blockable(store.evidence(conn, _the(conn, actor, ident).id))
    return _decide(world, actor, ident, State.BLOCKED, _said(note), blocked=names)


def ignore(world: World, actor: Actor, ident: str, note: str) -> Finding:
    """Says that it is of no concern, and why."""
    permit(actor, "discovery:block")
    return _decide(world, actor, ident, State.IGNORED, _said(note))


def reopen(world: World, actor: Actor, ident: str, note: str) -> Finding:
    """Takes back what was decided: a finding that is open again is blocked no longer."""
    permit(actor, "discovery:block")
    return _decide(world, actor, ident, State.OPEN, _said(note))


_FROM = {
    State.OPEN: (State.CLAIMED, State.BLOCKED, State.IGNORED),
    State.CLAIMED: (State.OPEN,),
    State.REGISTERED: (State.OPEN, State.CLAIMED),
    State.BLOCKED: (State.OPEN, State.CLAIMED, State.IGNORED),
    State.IGNORED: (State.OPEN, State.CLAIMED),
}
_VERB = {
    State.OPEN: "opened",
    State.CLAIMED: "claimed",
    State.REGISTERED: "registered",
    State.BLOCKED: "blocked",
    State.IGNORED: "ignored",
}


def _open_to(found: Finding, to: State) -> Finding:
    if found.state not in _FROM[to]:
        raise Refused(
            "decided",
            f"The finding {found.name} is {found.state}{f' by {found.decided_by}' if found.decided_by else ''}.",
            fix="Open it again first (`tenure discover reopen`)." if found.state is not State.OPEN else "",
            status=409,
        )
    return found


def _said(note: str) -> str:
    if not note.strip():
        raise Refused("no_reason", "This needs a reason.", fix="Say why.", status=422)
    return note.strip()[:MAX_NOTE]


def _decide(
    world: World,
    actor: Actor,
    ident: str,
    to: State,
    note: str,
    *,
    owner: str | None = None,
    agent: str = "",
    blocked: tuple[str, ...] = (),
) -> Finding:
    with world.begin() as tx:
        store.alone(tx)
        before = _open_to(_the(tx, actor, ident), to)
        now = replace(
            before,
            state=to,
            note=note.strip()[:MAX_NOTE],
            owner=before.owner if owner is None else owner,
            agent=agent,
            blocked=blocked,
            decided_by=actor.name,
            decided_at=world.clock(),
        )
        store.save(tx, now)
        data: dict[str, Json] = {"finding": ident, "name": now.name, "reason": now.note, "from": str(before.state)}
        data |= {key: value for key, value in (("owner", owner), ("agent", agent), ("clients", list(blocked))) if value}
        events.append(tx, [_event(world, actor, f"discovery.{_VERB[to]}", now, data)])
    return now


# -- facts
def facts(conn: Connection) -> dict[str, BlockedFact]:
    """Which clients are refused, by workspace."""
    found: dict[str, dict[str, str]] = {}
    for workspace, names, why in store.blocked(conn):
        for name in names:
            found.setdefault(workspace, {})[name] = why
    return {workspace: BlockedFact(names) for workspace, names in found.items()}
