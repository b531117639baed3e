"""The verbs of alerts: rules, one look at the figures, what is told, and who looks after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from tenure.alerts import store
from tenure.alerts.model import (
    CALM,
    KEPT,
    MAX_RULES,
    STANDARD,
    TOTALS,
    WHOLE,
    Alert,
    Finding,
    Measure,
    Rule,
    Severity,
    Way,
    checked,
    figure,
    look,
    rules_of,
    sentence,
)
from tenure.base import events
from tenure.base.access import Thing, permit
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, Event, LifecycleState, Status
from tenure.registry import service as registry
from tenure.telemetry import service as telemetry
from tenure.telemetry.model import Measured

_SELF = "system:alerts"
_AT_WORK = (LifecycleState.STAGING, LifecycleState.PRODUCTION)
_CAUSES, _CHANGES = 5, 8
_LOOK_BACK = timedelta(days=1)
"""How long before an alert something may have changed to be told with it."""
TRIALS = 96
"""How often a rule is tried over the days that are asked for."""

Window = tuple[datetime, datetime]


# -- rules ------------------------------------------------------------------------------------------------------------


def rules(world: World, actor: Actor) -> list[Rule]:
    """The rules of the workspace by name, those that are off among them."""
    permit(actor, "alerts:read")
    with world.read() as conn:
        return rules_of(store.rules(conn, actor.workspace))


def put(world: World, actor: Actor, wanted: Rule) -> Rule:
    """Sets a rule, in place of another (also a standard one) of its name. Raises Refused (403, 409, 422)."""
    permit(actor, "alerts:manage")
    rule = replace(checked(wanted), set_by=actor.name, set_at=world.clock(), standard=False)
    with world.begin() as tx:
        own = store.rules(tx, actor.workspace)
        if len(own) >= MAX_RULES and rule.name not in {one.name for one in own}:
            text = f"A workspace has at most {MAX_RULES} rules of its own."
            raise Refused("too_many", text, fix="Remove one that nobody needs.", status=409)
        store.save_rule(tx, actor.workspace, rule)
        told = {"name": rule.name, "off": rule.off}
        events.append(tx, [_event("alerts.rule_set", actor.name, actor.workspace, world.clock(), told)])
    return rule


def turn_off(world: World, actor: Actor, name: str) -> Rule:
    """Has a rule not be looked at; it stays as it is otherwise. Raises Refused (403, 404, 409)."""
    rule = next((rule for rule in rules(world, actor) if rule.name == name), None)
    if rule is None:
        raise _unknown_rule(actor, name)
    return put(world, actor, replace(rule, off=True))


def _unknown_rule(actor: Actor, name: str) -> Refused:
    text = f"There is no rule {name[:63]!r} in workspace {actor.workspace}."
    return Refused("unknown_rule", text, fix="`tenure alerts rules` shows what there is.", status=404)


def remove(world: World, actor: Actor, name: str) -> Rule | None:
    """Forgets a rule of the workspace's own; the standard one of that name holds again and is returned. A standard rule
    is not removed but set with ``off``. Raises Refused (403, 404, 409)."""
    permit(actor, "alerts:manage")
    standard = next((rule for rule in STANDARD if rule.name == name), None)
    with world.begin() as tx:
        if name not in {rule.name for rule in store.rules(tx, actor.workspace)}:
            if standard is not None:
                text = f"{name} is a standard rule and cannot be removed."
                raise Refused("standard_rule", text, fix="Turn it off: `tenure alerts off NAME`.", status=409)
            raise _unknown_rule(actor, name)
        store.remove_rule(tx, actor.workspace, name)
        events.append(tx, [_event("alerts.rule_removed", actor.name, actor.workspace, world.clock(), {"name": name})])
    return standard


def try_out(world: World, actor: Actor, wanted: Rule, days: int) -> list[tuple[datetime, Finding]]:
    """When the rule would have begun to hold in the last ``days``, and with which figures: it is looked at ``TRIALS``
    times, evenly. Nothing is raised or told. Raises Refused (403, 422)."""
    permit(actor, "alerts:read")
    rule, now = checked(wanted), world.clock()
    step = timedelta(days=days) / TRIALS
    found: list[tuple[datetime, Finding]] = []
    holds: set[str] = set()
    for number in range(TRIALS):
        at = now - step * (TRIALS - 1 - number)
        met = [one for one in _look(world, actor.workspace, [rule], at) if one.met]
        found += [(at, one) for one in met if one.agent not in holds]
        holds = {one.agent for one in met}
    return found


# -- alerts -----------------------------------------------------------------------------------------------------------


def find(
    world: World, actor: Actor, *, agent: str | None = None, state: str | None = None, limit: int = 200
) -> list[Alert]:
    """The workspace's alerts: those that go on, then the newest."""
    permit(actor, "alerts:read", Thing())
    with world.read() as conn:
        return store.find(conn, actor.workspace, agent=agent, state=state, limit=limit)


def count_open(world: World, actor: Actor) -> int:
    """How many alerts of the workspace go on."""
    permit(actor, "alerts:read")
    with world.read() as conn:
        return store.count_open(conn, actor.workspace)


def one(world: World, actor: Actor, ident: str) -> Alert:
    """An alert. Raises Refused (403, 404)."""
    permit(actor, "alerts:read")
    with world.read() as conn:
        return _the_alert(store.one(conn, actor.workspace, ident), actor, ident)


def _the_alert(found: Alert | None, actor: Actor, ident: str) -> Alert:
    if found is None:
        text = f"There is no alert {ident[:32]!r} in workspace {actor.workspace}."
        raise Refused("unknown_alert", text, fix="`tenure alerts list` shows what there is.", status=404)
    return found


def see(world: World, actor: Actor, ident: str, note: str, quiet: timedelta | None = None) -> Alert:
    """Says that the actor looks after an alert; with ``quiet``, none of its rule and agent is raised for so long after
    it is over. Raises Refused (403, 404)."""
    permit(actor, "alerts:see")
    now, quiet_until = world.clock(), None if quiet is None else world.clock() + quiet
    with world.begin() as tx:
        store.see(tx, actor.workspace, ident, by=actor.name, at=now, note=note.strip(), quiet_until=quiet_until)
        found = _the_alert(store.one(tx, actor.workspace, ident), actor, ident)
        until = found.quiet_until.isoformat() if found.quiet_until else ""
        told = {"alert": ident, "rule": found.rule, "note": found.note, "quiet_until": until}
        events.append(tx, [_event("alert.seen", actor.name, actor.workspace, now, told, agent=found.agent)])
    return found


# -- one look ---------------------------------------------------------------------------------------------------------


def anything_to_say(world: World, workspace: str) -> bool:
    """Whether ``look_at`` would find a rule that holds, or has an alert that goes on. Only reads."""
    with world.read() as conn:
        held = _held(conn, workspace)
        going_on = store.count_open(conn, workspace) > 0
    try:
        return going_on or any(one.met for one in _look(world, workspace, held, world.clock()))
    except Failed:
        return False


def look_at(world: World, workspace: str) -> bool:
    """Looks at every rule of a workspace once: raises alerts, notes that they still hold, ends those that have not held
    for ``CALM``. False, and nothing done, while the trace store can not be read."""
    now = world.clock()
    with world.read() as conn:
        held = _held(conn, workspace)
        known = {(one.rule, one.agent) for one in store.find(conn, workspace, state="open", limit=None)}
        known |= store.quiet(conn, workspace, now)
    try:
        found = _look(world, workspace, held, now)
        fresh = {(one.rule.name, one.agent): one for one in found if one.met}
        told = {key: _evidence(world, workspace, one, now) for key, one in fresh.items() if key not in known}
    except Failed:
        return False
    with world.db.begin() as tx:
        open_ = {(one.rule, one.agent): one for one in store.going_on(tx, workspace)}
        quiet = store.quiet(tx, workspace, now)
        news: list[Event] = []
        for key, finding in fresh.items():
            if key in open_:
                store.save(tx, _still(open_[key], finding, now))
            elif key not in quiet and key in told:
                alert = _raised(workspace, finding, told[key], now)
                store.save(tx, alert)
                news.append(_told("alert.raised", alert, now))
        for key, alert in open_.items():
            if key not in fresh and now - alert.met_at >= CALM:
                over = replace(alert, over_at=now)
                store.save(tx, over)
                news.append(_told("alert.over", over, now))
        events.append(tx, news)
    if news:
        world.bell.ring()
    return bool(news)


def forget(world: World) -> bool:
    """Forgets alerts that were over long ago."""
    with world.db.begin() as tx:
        return store.forget(tx, world.clock() - KEPT) > 0


def _held(conn: Connection, workspace: str) -> list[Rule]:
    return [rule for rule in rules_of(store.rules(conn, workspace)) if not rule.off]


def _look(world: World, workspace: str, held: list[Rule], now: datetime) -> list[Finding]:
    seen: dict[Window, Mapping[str, Measured]] = {}
    # It costs a look at every call, so that only who asks for it pays.
    ask = (
        telemetry.coherent
        if any(rule.measure in (Measure.COHERENCE, Measure.HANDOFF_RATE) for rule in held)
        else telemetry.measured
    )

    def measured(window: Window) -> Mapping[str, Measured]:
        if window not in seen:
            seen[window] = {one.agent: one for one in ask(world, workspace, *window)}
        return seen[window]

    active: tuple[str, ...] = ()
    if any(rule.measure in TOTALS and rule.way in (Way.BELOW, Way.FALLS) for rule in held):
        with world.read() as conn:
            active = tuple(agent.name for agent in registry.list_agents(conn, workspace, _AT_WORK))
    found: list[Finding] = []
    for rule in held:
        current: Mapping[str, Measured] = measured((now - rule.over, now))
        before: Mapping[str, Measured] = {}
        # How it was before is only counted where enough happened now to say anything: it is the longer look.
        least = 1 if rule.measure in TOTALS else rule.at_least
        silence = rule.measure in TOTALS and rule.way is Way.FALLS
        if rule.compares and (silence or sum(figure(rule.measure, one).n for one in current.values()) >= least):
            before = measured((now - rule.over - rule.against, now - rule.over))
        found += look(rule, current, before, active)
    return found


def _raised(workspace: str, found: Finding, evidence: JsonObject, now: datetime) -> Alert:
    rule = found.rule
    return Alert(
        new_id(),
        workspace,
        rule.name,
        found.agent,
        rule.severity,
        sentence(found),
        found.now.value or 0.0,
        now,
        now,
        evidence=evidence,
    )


def _still(alert: Alert, found: Finding, now: datetime) -> Alert:
    return replace(alert, met_at=now, words=sentence(found), value=found.now.value or 0.0)


def _evidence(world: World, workspace: str, found: Finding, now: datetime) -> JsonObject:
    """Where it comes from, and what was changed before it began."""
    since = now - found.rule.over
    agent = found.agent or None
    rows = telemetry.causes(world, workspace, since, now, agent)
    by_cost = found.rule.measure in (Measure.COST, Measure.COST_PER_RUN, Measure.COST_PER_SUCCESS)
    wrong = {Measure.ERROR_RATE, Measure.REFUSED_RATE, Measure.ANOMALY_RATE}
    chosen = [row for row in rows if row.error] if found.rule.measure in wrong else rows
    weights = [(float(row.cost_usd if by_cost else row.calls), row) for row in chosen]
    total = sum(weight for weight, _ in weights) or 1.0
    weights.sort(key=lambda one: (-one[0], one[1].resource, one[1].error or ""))
    changes = telemetry.changes(world, workspace, since - _LOOK_BACK, now, agent)[:_CHANGES]
    return {
        "causes": [
            {
                "resource": row.resource,
                "error": row.error or "",
                "calls": row.calls,
                "share": round(weight / total, 4),
                "trace": row.trace_id or "",
            }
            for weight, row in weights[:_CAUSES]
        ],
        "changes": [
            {
                "type": one.type,
                "time": one.time.isoformat(),
                "by": one.actor,
                "agent": one.agent or "",
                "name": one.name,
            }
            for one in changes
        ],
    }


def _told(kind: str, alert: Alert, now: datetime) -> Event:
    causes = alert.evidence.get("causes") or ()
    data = {"alert": alert.id, "rule": alert.rule, "severity": alert.severity.value, "words": alert.words}
    if isinstance(causes, list) and causes:
        data["cause"] = " ".join(filter(None, (causes[0]["resource"], causes[0]["error"])))
    status = Status.ANOMALY if kind == "alert.raised" and alert.severity is not Severity.INFO else Status.FLAGGED
    return _event(kind, _SELF, alert.workspace, now, data, agent=alert.agent, status=status)


def _event(
    kind: str,
    who: str,
    workspace: str,
    now: datetime,
    data: dict[str, Any],
    *,
    agent: str = WHOLE,
    status: Status = Status.FLAGGED,
) -> Event:
    return Event(new_id(), kind, now, workspace, who, agent=agent or None, status=status, data=data)
