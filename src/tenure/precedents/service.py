"""The verbs of precedents: draw up, propose, publish, revoke; and what keeps policies and precedents one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from tenure.approvals import service as approvals
from tenure.approvals.model import State as Held
from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.json import digest
from tenure.kernel.values import Actor, Event, Role, Status
from tenure.policy import service as policies
from tenure.precedents import store
from tenure.precedents.model import MAX_DAYS, PREFIX, Precedent, Source, State, Terms, draw_up, rule_id, without
from tenure.registry import service as registry
from tenure.registry.model import agent_fact

_MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Drawn:
    """A precedent beside the policies that run now. ``files``: all policies as they would be, for a replay; ``faults``:
    why it could not be published as it is (its tests, or theirs, fail)."""

    precedent: Precedent
    files: tuple[tuple[str, str], ...]
    faults: tuple[str, ...]
    running: str | None


def propose(world: World, actor: Actor, approval: str, terms: Terms, *, keep: bool = True) -> Drawn:
    """Draws a precedent up from an approval that a person gave, and keeps it for somebody to publish unless ``keep`` is
    False. Raises Refused: 403 for whoever may not, 404, 422 for terms that do not fit the call, and 422 for one whose
    tests do not pass beside the policies that run (nothing is kept then)."""
    permit(actor, "precedents:propose")
    now = world.clock()
    terms = replace(terms, reason=_said(terms.reason))
    if not 0 < terms.days <= MAX_DAYS:
        raise Refused("bad_terms", f"A precedent lasts at most {MAX_DAYS} days.", status=422)
    until = (now + timedelta(days=terms.days)).astimezone(UTC).replace(microsecond=0)
    ident = new_id()
    source = _source(world, actor, approval)
    cedar, tests = draw_up(ident, source, terms, until)
    item = Precedent(
        id=ident,
        workspace=actor.workspace,
        approval=approval,
        agent=source.agent.name,
        resource=source.resource,
        terms={"up_to": dict(terms.up_to), "free": list(terms.free), "days": terms.days, "lifts": list(source.lifts)},
        cedar=cedar,
        tests=tests,
        state=State.PROPOSED,
        proposed_by=actor.name,
        proposed_at=now,
        reason=terms.reason,
        expires_at=until,
    )
    drawn = _beside(world, item)
    if keep:
        _sound(drawn)
        with world.begin() as tx:
            store.insert(tx, item)
            events.append(tx, [_event(item, actor.name, "precedent.proposed", now)])
    return drawn


def _source(world: World, actor: Actor, ident: str) -> Source:
    found = approvals.get(world, actor.workspace, ident)
    if found.state not in (Held.GRANTED, Held.CLAIMED) or not (found.decided_by or "").startswith("person:"):
        raise Refused(
            "not_approved", f"Approval {ident} was not given, so nothing can be made of it.", fix="Approve it first.",
            status=409,
        )  # fmt: skip
    if found.takes > 1:
        raise Refused(
            "takes_several",
            f"Calls like this take {found.takes} different people each time; no rule stands in for them.",
            fix="Change the policy that asks for them, if they need not be asked.",
            status=409,
        )
    if "/" not in found.resource or digest(found.arguments) != found.digest:
        raise Refused(
            "not_exact",
            "What is kept of this call is not all that was approved, so no rule can be made of it.",
            fix="Rules are made from calls of tools, with nothing taken out of their arguments.",
            status=422,
        )
    with world.read() as connection:
        agent = agent_fact(registry.the_agent(connection, actor.workspace, found.agent))
    by = (found.decided_by or "").removeprefix("person:")
    return Source(found.id, found.resource, found.now, found.policies, by, agent)


def _beside(world: World, item: Precedent) -> Drawn:
    """The precedent beside what runs now: the other precedents stay, this one is added."""
    running = policies.show(world, item.workspace)
    names = {name for name, _ in item.files}
    files = (*(file for file in running.files if file[0] not in names), *item.files)
    checked = policies.check(files)
    faults = tuple(f"{fault.file} line {fault.line}: {fault.problem}" for fault in checked.faults)
    return Drawn(item, files, faults, running.version)


def _sound(drawn: Drawn) -> None:
    if drawn.faults:
        raise Refused(
            "precedent_unsound",
            f"Beside the policies that run, this precedent does not do what it says: {drawn.faults[0]}",
            fix="Look at the policies that hold the call: another one may hold it too, or an argument may not matter.",
            status=422,
            details={"faults": list(drawn.faults)},
        )


def find(world: World, workspace: str, state: State | None = None) -> list[Precedent]:
    """The precedents of a workspace, the newest first."""
    with world.read() as connection:
        return store.find(connection, workspace, state)


def get(world: World, workspace: str, ident: str) -> Drawn:
    """One, beside the policies that run now. Raises Refused 404."""
    return _beside(world, _one(world, workspace, ident))


def _one(world: World, workspace: str, ident: str) -> Precedent:
    with world.read() as connection:
        found = store.get(connection, workspace, ident)
    if found is None:
        raise Refused(
            "unknown_precedent", f"There is no precedent {ident}.", fix="`tenure precedents list`.", status=404
        )
    return found


def publish(world: World, actor: Actor, ident: str, reason: str) -> Precedent:
    """Puts a proposed precedent in force, with its tests run beside the policies that run now. Raises Refused: 403 for
    whoever may not publish policies or is no person, and for who proposed it where four eyes are asked for; 404; 409
    for one that does not wait any more, or has ended; 422 when a test fails."""
    permit(actor, "policies:publish")
    item, now, said = _one(world, actor.workspace, ident), world.clock(), _said(reason)
    if not actor.is_person:
        raise Refused("not_a_person", "A precedent stands for a person's word: a person publishes it.", status=403)
    if world.config.takes_two(actor.workspace) and actor.name == item.proposed_by:
        raise Refused(
            "four_eyes", "You proposed it: here somebody else publishes it.", fix="Ask another operator.", status=403
        )
    _waits(item, now)
    drawn = _beside(world, item)
    _sound(drawn)
    values: dict[str, Any] = {"decided_by": actor.name, "decided_at": now, "decision": said}
    published = replace(item, state=State.PUBLISHED, **values)
    with world.begin() as tx:
        if not store.change(tx, ident, State.PROPOSED, State.PUBLISHED, **values):
            raise _gone(item)
        events.append(tx, [_event(published, actor.name, "precedent.published", now)])
    _load(world, actor, f"precedent {ident}: {said}")
    return published


def _waits(item: Precedent, now: datetime) -> None:
    if item.state is not State.PROPOSED or item.expires_at <= now:
        raise _gone(item)


def _gone(item: Precedent) -> Refused:
    return Refused(
        "precedent_not_waiting", f"Precedent {item.id} does not wait: it is {item.state} or over.", status=409
    )


def revoke(world: World, actor: Actor, ident: str, reason: str) -> Precedent:
    """Takes a precedent back: drops a proposal, ends one in force at once. Raises Refused 403, 404, 409."""
    permit(actor, "precedents:revoke")
    item, now, said = _one(world, actor.workspace, ident), world.clock(), _said(reason)
    after = State.DROPPED if item.state is State.PROPOSED else State.REVOKED
    values: dict[str, Any] = {"decided_by": actor.name, "decided_at": now, "decision": said}
    revoked = replace(item, state=after, **values)
    with world.begin() as tx:
        if item.state not in (State.PROPOSED, State.PUBLISHED) or not store.change(
            tx, ident, item.state, after, **values
        ):
            raise _gone(item)
        events.append(tx, [_event(revoked, actor.name, "precedent.revoked", now)])
    if item.state is State.PUBLISHED:
        _load(world, actor, f"precedent {ident} revoked: {said}")
    return revoked


def _said(reason: str) -> str:
    text = reason.strip()
    if not text or len(text) > _MAX_REASON or "\x00" in text:
        raise Refused("reason_needed", f"This needs a reason, of at most {_MAX_REASON} characters.", status=422)
    return text


# -- what runs and what is in force are one
def adrift(connection: Connection, now: datetime) -> Sequence[str]:
    """The workspaces whose policies and precedents may say different things: one has ended, the folder was loaded anew,
    an earlier version was taken back. What a step finds to be right it leaves alone."""
    ended = {workspace for workspace, _ in store.ended(connection, now)}
    return sorted(ended | {name for name in store.workspaces(connection) if _differs(connection, name)})


def _differs(connection: Connection, workspace: str) -> bool:
    running = {file for file in policies.running(connection, workspace) if file[0].startswith(PREFIX)}
    return running != {file for item in store.find(connection, workspace, State.PUBLISHED) for file in item.files}


def settle(world: World, workspace: str) -> bool:
    """Ends what is over, and has the policies run with exactly the precedents that are in force."""
    return _load(world, Actor(workspace, "system:precedents", frozenset({Role.SYSTEM})), "precedents in force")


def _load(world: World, actor: Actor, reason: str) -> bool:
    """One reconciling step; says whether anything changed. A precedent whose tests no longer pass is stopped; while the
    tests of the policies themselves fail (an earlier version was taken back), none is in force."""
    now, workspace, changed = world.clock(), actor.workspace, False
    wanted = []
    for item in sorted(find(world, workspace, State.PUBLISHED), key=lambda one: one.id):
        if item.expires_at <= now:
            _end(world, item, State.EXPIRED, "", now)
            changed = True
        else:
            wanted.append(item)
    running = policies.show(world, workspace)
    base = without(running.files)
    if not base:
        return changed
    kept: list[Precedent] = []
    for item in wanted if not policies.check(base).faults else ():
        checked = policies.check([*base, *(file for one in (*kept, item) for file in one.files)])
        if checked.faults:
            fault = checked.faults[0]
            _end(world, item, State.STOPPED, f"{fault.file} line {fault.line}: {fault.problem}", now)
            changed = True
        else:
            kept.append(item)
    files = (*base, *(file for one in kept for file in one.files))
    if sorted(files) == sorted(running.files):
        return changed
    policies.amend(world, actor, files, reason)
    return True


def _end(world: World, item: Precedent, after: State, problem: str, now: datetime) -> None:
    ended = replace(item, state=after, problem=problem)
    with world.begin() as tx:
        if store.change(tx, item.id, State.PUBLISHED, after, problem=problem):
            events.append(tx, [_event(ended, "system:precedents", f"precedent.{after.value}", now)])


def _event(item: Precedent, actor: str, kind: str, now: datetime) -> Event:
    data: dict[str, Any] = {
        "precedent": item.id,
        "policy": rule_id(item.id),
        "approval_id": item.approval,
        "resource": item.resource,
        "terms": item.terms,
        "expires_at": item.expires_at.isoformat(),
        "reason": item.decision or item.reason,
    }
    if item.problem:
        data["problem"] = item.problem
    return Event(
        id=stable_id("precedent", item.id, kind),
        type=kind,
        time=now,
        workspace=item.workspace,
        actor=actor,
        agent=item.agent,
        status=Status.FLAGGED,
        data=data,
    )
