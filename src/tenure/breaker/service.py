"""The verbs of breakers: look, stop, reset, set what trips them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches

from sqlalchemy.engine import Connection

from tenure.approvals import service as approvals
from tenure.approvals.model import State as Approval
from tenure.base import events
from tenure.base.access import Thing, permit
from tenure.base.room import Ahead, World
from tenure.breaker import counting, store
from tenure.breaker.model import ANY, Breaker, Limits, Place, Reach, Scope, Setting, as_json, check, limits_of
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.snapshot import AgentFact, BreakerFact
from tenure.kernel.values import Actor, Event, LifecycleState, Status
from tenure.registry import service as registry
from tenure.registry.model import thing
from tenure.runtime import service as runtime
from tenure.telemetry import service as telemetry

_MAX_REASON = 2000
_ACTING = frozenset({LifecycleState.STAGING, LifecycleState.PRODUCTION, LifecycleState.DRAINING})
_GONE = frozenset({LifecycleState.RETIRED, LifecycleState.REJECTED})
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """A breaker and what trips it."""

    breaker: Breaker
    limits: Limits


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop came to; ``changed`` is False when it stood already."""

    breaker: Breaker
    changed: bool


def facts(connection: Connection) -> dict[str, BreakerFact]:
    """How every breaker stands that ever counted, was stopped or may be tripped by gateways, by ``Place.key``. An
    agent's limits are its manifest's and are left at their default here."""
    settings = store.limits(connection)
    found: dict[str, BreakerFact] = {}
    for place, limits in settings.items():
        if place.scope is not Scope.AGENT and limits.violations is not None:
            found[place.key] = BreakerFact(threshold=limits.violations.count, window_s=limits.violations.window_s)
    for item in store.states(connection):
        known = found.get(item.place.key) or BreakerFact()
        if item.place.scope is not Scope.AGENT and item.place.key not in found:
            limit = limits_of(settings, item.place).violations
            known = BreakerFact(threshold=limit.count, window_s=limit.window_s) if limit else BreakerFact(threshold=0)
        found[item.place.key] = replace(
            known, epoch=item.epoch, tripped=item.tripped, reason=item.reason, trials=item.trials, tried=item.tried
        )
    return found


def find(world: World, workspace: str) -> list[Standing]:
    """The breaker of every agent, those that were ever stopped or that something is set for, and the workspace's: what
    is not closed first, then in the order of scopes and names."""
    with world.read() as connection:
        known = {item.place: item for item in store.find(connection, workspace)}
        settings = {one.place: one.limits for one in store.settings(connection, workspace)}
        agents = _agents(connection, workspace)
        wanted = known.keys() | {place for place in settings if place.name != ANY} | {Place(workspace, Scope.WORKSPACE)}
        wanted |= {Place(workspace, Scope.AGENT, name) for name in agents}
        standings = [
            Standing(
                known.get(place) or Breaker(place),
                limits_of(settings, place, counting.manifest_limit(connection, place)),
            )
            for place in wanted
        ]
    order = list(Scope)
    return sorted(
        standings,
        key=lambda one: (one.breaker.state == "closed", order.index(one.breaker.place.scope), one.breaker.place.name),
    )


def _agents(connection: Connection, workspace: str) -> dict[str, AgentFact]:
    found = registry.agent_facts(connection).values()
    return {fact.name: fact for fact in found if fact.workspace == workspace and fact.state not in _GONE}


# --- what a breaker reaches -------------------------------------------------------------------------------------------


def reach(world: World, actor: Actor, scope: Scope, name: str) -> Reach:
    """What stopping something comes to. Raises Refused (404) for what there is not, with the nearest names."""
    with world.read() as connection:
        agents = _agents(connection, actor.workspace)
        place = _meant(agents, actor.workspace, scope, name)
        reached = tuple(sorted(_reached(agents, place)))
        running = sum(runtime.live_count(connection, actor.workspace, one) for one in reached)
    held = sum(
        one.agent in reached and (scope is not Scope.TOOL or one.resource == place.name)
        for one in approvals.find(world, actor.workspace, state=Approval.PENDING)
    )
    try:
        calls: int | None = sum(one.calls for one in telemetry.stats(world, actor, _MINUTE) if one.agent in reached)
    except Failed:  # what must stop does not hang on what is only told
        calls = None
    return Reach(place, reached, running, held, calls)


def _reached(agents: dict[str, AgentFact], place: Place) -> set[str]:
    """The agents that are at work and under a breaker. Of a chain: whoever the work can be handed on to."""
    acting = {name: fact for name, fact in agents.items() if fact.state in _ACTING}
    match place.scope:
        case Scope.WORKSPACE:
            return set(acting)
        case Scope.TOOL:
            return {name for name, fact in acting.items() if place.name in _tools(fact)}
        case Scope.RELEASE:
            return {name for name, fact in acting.items() if fact.release == place.name}
        case Scope.AGENT:
            return {place.name} & set(acting)
        case Scope.CHAIN:
            found, further = set[str](), {place.name} & set(acting)
            while further:
                found |= further
                further = {peer.name for name in further for peer in acting[name].agents if peer.name in acting} - found
            return found


def _tools(fact: AgentFact) -> set[str]:
    return {f"{tool.server}/{tool.name}" for tool in fact.tools}


def _meant(agents: dict[str, AgentFact], workspace: str, scope: Scope, name: str) -> Place:
    """The breaker that a person means. A release may be named by the beginning of its digest. Raises Refused."""
    if scope is Scope.WORKSPACE:
        if name:
            raise Refused("unknown_breaker", "A workspace's breaker has no name.", fix="Leave it out.", status=422)
        return Place(workspace, scope)
    if scope is Scope.TOOL:
        names = {tool for fact in agents.values() for tool in _tools(fact)}
    else:
        names = {fact.release for fact in agents.values()} if scope is Scope.RELEASE else set(agents)
    if name in names:
        return Place(workspace, scope, name)
    if scope is Scope.RELEASE:
        wanted = name.removeprefix("sha256:")
        alike = [one for one in names if len(wanted) >= 8 and one.removeprefix("sha256:").startswith(wanted)]
        if len(alike) == 1:
            return Place(workspace, scope, alike[0])
    near = get_close_matches(name, sorted(names), 3, 0.5)
    kind = "agent" if scope is Scope.CHAIN else scope.value
    raise Refused(
        "unknown_breaker",
        f"No agent at work has the {kind} {name[:200]}." if kind != "agent" else f"There is no agent {name[:200]}.",
        fix=f"Did you mean {' or '.join(near)}?" if near else "`tenure breaker list` shows what there is.",
        status=404,
    )


# --- stopping and letting go on ---------------------------------------------------------------------------------------


def stop(world: World, actor: Actor, scope: Scope, name: str, reason: str) -> Stopped:
    """Stops an agent, a tool, a release, a chain or the whole workspace: gateways are told before it is even written,
    and refuse every call of it from then on; streams on their way end. When it cannot be written, that is taken back
    and told. Stopping what is stopped changes nothing. Raises Refused: 403 for whoever may not, 404 for what there is
    not, 422 without a reason."""
    why = _reason(reason)
    with world.read() as connection:
        known = _stoppable(connection, actor, scope, name)
        fact = facts(connection).get(known.place.key, BreakerFact(threshold=0))
    if known.tripped:
        return Stopped(known, False)
    words = f"stopped by {actor.name.partition(':')[2]}: {why}"
    # Writing waits for its turn and for the disk; what must stop does not.
    ahead = replace(fact, tripped=True, reason=words, trials=0, tried=())
    with world.alarm.ahead_of_time(Ahead({known.place.key: ahead})), world.begin() as tx:
        held = store.hold(tx, known.place)
        if held.tripped:
            return Stopped(held, False)
        now = world.clock()
        after = counting.tripped(held, now, actor.name, words)
        store.save(tx, after)
        events.append(tx, [counting.tripped_event(after, now, actor.name, words)])
    return Stopped(after, True)


def _stoppable(connection: Connection, actor: Actor, scope: Scope, name: str) -> Breaker:
    """The breaker that a person means and may trip. Raises Refused as ``stop``."""
    record = registry.get_agent(connection, actor.workspace, name) if scope in (Scope.AGENT, Scope.CHAIN) else None
    permit(actor, "breakers:trip", thing(record) if record is not None else Thing())
    place = Place(actor.workspace, scope, name)
    known = {one.place: one for one in store.states(connection)}
    # Reading what everybody was granted takes a while; and a breaker that there is already can be tripped also when
    # nobody has the tool or the release any more.
    if record is None and place not in known:
        agents = {} if scope is Scope.WORKSPACE else _agents(connection, actor.workspace)
        place = _meant(agents, actor.workspace, scope, name)
    return known.get(place) or Breaker(place)


def reset(world: World, actor: Actor, scope: Scope, name: str, reason: str, *, trials: int | None = None) -> Breaker:
    """Lets calls pass again, in a new epoch in which nothing has been counted yet. ``trials``: only so many at first,
    which must go well; None: as many as is set for this breaker. Raises Refused: 403 for anybody but a person who is an
    operator, 422 without a reason, 409 when the breaker is closed."""
    if not actor.is_person:
        raise Refused("not_a_person", "A breaker is reset by a person.", fix="Use a person's credential.", status=403)
    permit(actor, "breakers:reset")
    why = _reason(reason)
    if trials is not None:
        check(Place(actor.workspace, Scope.TOOL), Limits(trials=trials or 1))
    now = world.clock()
    with world.begin() as tx:
        place = Place(actor.workspace, scope, name)
        if not any(item.place == place and item.state != "closed" for item in store.states(tx)):
            raise _not_tripped(place)
        held = store.hold(tx, place)
        if held.state == "closed":
            raise _not_tripped(place)
        wanted = trials if trials is not None else limits_of(store.limits(tx), place).trials
        after = replace(
            held,
            epoch=held.epoch + 1,
            tripped_at=None,
            tripped_by="",
            reason="",
            trials=wanted,
            tried=(),
            good=0,
            reset_at=now,
            reset_by=actor.name,
            reset_reason=why,
        )
        store.save(tx, after)
        store.forget(tx, after, None)
        told = {"scope": scope.value, "name": name, "epoch": after.epoch, "reason": why, "tripped_for": held.reason}
        event = Event(
            id=stable_id("breaker.reset", place.key, str(after.epoch)),
            type="breaker.reset",
            time=now,
            workspace=actor.workspace,
            actor=actor.name,
            agent=name if scope is Scope.AGENT else None,
            data={**told, "trials": wanted},
        )
        events.append(tx, [event])
    world.alarm.ring()
    return after


def _reason(reason: str) -> str:
    text = reason.strip()
    if not text or len(text) > _MAX_REASON or "\x00" in text:
        raise Refused(
            "reason_required",
            f"This needs a reason, of at most {_MAX_REASON} characters; it is kept in the audit.",
            fix="Say why.",
            status=422,
        )
    return text


def _not_tripped(place: Place) -> Refused:
    return Refused(
        "breaker_not_tripped",
        f"The breaker of {place.words} is not tripped.",
        fix="`tenure breaker list` shows which are.",
        status=409,
    )


# --- what trips them --------------------------------------------------------------------------------------------------


def settings(world: World, workspace: str) -> list[Setting]:
    """What a workspace has set."""
    with world.read() as connection:
        return store.settings(connection, workspace)


def set_limits(world: World, actor: Actor, scope: Scope, name: str, limits: Limits) -> Setting:
    """Sets what trips one breaker, or with ``ANY`` each of a scope, in place of what was set for it before. Raises
    Refused: 403 for whoever may not, 422 for limits that cannot be meant."""
    permit(actor, "breakers:limit")
    place = Place(actor.workspace, scope, name)
    if (scope is Scope.WORKSPACE) is bool(name) or len(name) > 200 or "\x00" in name:
        raise Refused(
            "bad_breaker", "A workspace's breaker has no name; any other has one.", fix=f"As in {ANY}.", status=422
        )
    check(place, limits)
    item = Setting(place, limits, actor.name, world.clock())
    with world.begin() as tx:
        store.save_setting(tx, item)
        events.append(tx, [_limits_event(item.place, actor, world, limits)])
    return item


def drop_limits(world: World, actor: Actor, scope: Scope, name: str) -> None:
    """Forgets what was set for a breaker. Raises Refused: 403 for whoever may not, 404 when nothing was."""
    permit(actor, "breakers:limit")
    place = Place(actor.workspace, scope, name)
    with world.begin() as tx:
        if not store.drop_setting(tx, place):
            raise Refused(
                "nothing_set",
                f"Nothing is set for {place.words}.",
                fix="`tenure breaker settings` shows what is.",
                status=404,
            )
        events.append(tx, [_limits_event(place, actor, world, Limits())])


def _limits_event(place: Place, actor: Actor, world: World, limits: Limits) -> Event:
    return Event(
        id=new_id(),
        type="breaker.limited",
        time=world.clock(),
        workspace=place.workspace,
        actor=actor.name,
        agent=place.name if place.scope is Scope.AGENT and place.name != ANY else None,
        status=Status.FLAGGED,
        data={"scope": place.scope.value, "name": place.name, "limits": as_json(limits)},
    )
