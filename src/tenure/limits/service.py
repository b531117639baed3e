"""The verbs of limits: set, remove, look; and what gateways tell and ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.engine import Connection

from tenure.base import events
from tenure.base.access import permit
from tenure.base.room import World
from tenure.kernel.budgets import LeaseFact, LimitFact
from tenure.kernel.errors import Refused
from tenure.kernel.ids import new_id, stable_id
from tenure.kernel.snapshot import AgentFact
from tenure.kernel.values import Actor, Event, LifecycleState, Status
from tenure.limits import store
from tenure.limits.ledger import Account, Ask, Lease, answer, lease_facts, reached
from tenure.limits.model import ALERTS, WINDOW_S, counted, period, shown, words
from tenure.limits.store import Rule, Total
from tenure.registry import service as registry
from tenure.registry.model import agent_fact
from tenure.telemetry import service as telemetry

KEEP = timedelta(hours=1)
"""Sums are kept so long after they count nowhere any more, for calls that end late."""
_GONE = frozenset({LifecycleState.RETIRED, LifecycleState.REJECTED})
_MAX_ACCOUNTS = 200


@dataclass(frozen=True, slots=True)
class Use:
    """One account of a limit in its present window. ``held`` is what gateways may still use under their leases.
    ``ends``: when the window ends; of a sliding one, when the next part of it goes out of it."""

    whom: str
    spent: int
    held: int
    ends: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit, where it comes from (an agent's manifest, or the rule that a person set) and its accounts, the fullest
    first; ``more`` are not among them. ``unpriced``: models whose calls it lets pass because nobody knows their
    price."""

    limit: LimitFact
    agent: str
    rule: Rule | None
    uses: tuple[Use, ...]
    more: int
    unpriced: tuple[str, ...]


# --- what gateways hear -----------------------------------------------------------------------------------------------


def governed(world: World, connection: Connection, agents: Mapping[str, AgentFact]) -> dict[str, AgentFact]:
    """Agents' facts, by their keys, with the limits of their workspaces, and with the prices of their models where
    one of the limits is in dollars."""
    by_workspace: dict[str, list[LimitFact]] = {}
    for rule in store.rules(connection):
        by_workspace.setdefault(rule.workspace, []).append(rule.fact)

    def one(fact: AgentFact) -> AgentFact:
        limits = (*fact.limits, *by_workspace.get(fact.workspace, ()))
        if any(limit.of == "usd" for limit in limits):
            priced = tuple(replace(one, price=telemetry.price(world, one.provider, one.name)) for one in fact.models)
            return replace(fact, limits=limits, models=priced)
        return replace(fact, limits=limits) if limits else fact

    return {key: one(fact) for key, fact in agents.items()}


def facts(connection: Connection, now: datetime) -> dict[str, LeaseFact]:
    """The leases that hold, by their ids."""
    return lease_facts(store.running(connection, now))


# --- what gateways tell -----------------------------------------------------------------------------------------------


def take(connection: Connection, news: Sequence[Event], now: datetime) -> None:
    """What gateways used and what they ask for, in the order in which they tell it: before a gateway asks it has told
    of everything that it used before."""
    told: dict[tuple[str, str], int] = {}
    for event in news:
        if event.type == "limits.asked":
            _tell(connection, told, now)
            told = {}
            _ask(connection, event, now)
        elif isinstance(charged := event.data.get("tenure.charged"), dict):
            for lease, units in charged.items():
                if isinstance(units, int) and units >= 0:
                    told[event.workspace, lease] = told.get((event.workspace, lease), 0) + units
    _tell(connection, told, now)


def _tell(connection: Connection, told: Mapping[tuple[str, str], int], now: datetime) -> None:
    touched = {}
    for (workspace, ident), units in told.items():
        lease = store.tell(connection, workspace, ident, units)
        if lease is not None:
            touched[workspace, lease.account, lease.period] = lease
    for lease in touched.values():
        total = next((one for one in _totals(connection, lease) if one.period == lease.period), None)
        limit = _limit(connection, lease.workspace, total.limit) if total is not None else None
        if limit is not None:
            _alert(connection, lease, _account(connection, limit, lease), now)


def _totals(connection: Connection, lease: Lease) -> list[Total]:
    return store.totals(connection, lease.workspace, lease.account)


def _account(connection: Connection, limit: LimitFact, lease: Lease) -> Account:
    first, last = counted(limit, lease.period)
    where = (lease.workspace, lease.account, first, last)
    return Account(limit, store.sums(connection, *where), store.leases(connection, *where))


def _ask(connection: Connection, event: Event, now: datetime) -> None:
    read = _read(event)
    if read is None:
        return
    ask, account, limit_id = read
    limit = _limit(connection, event.workspace, limit_id)
    lease = store.lease(connection, event.workspace, ask.lease)
    if lease is not None and ask.serial <= lease.serial:
        return  # answered already
    if lease is None:
        if limit is None or ask.final:
            return  # nobody limits it any more, or there is nothing to give back
        start, end = period(limit, now)
        until = datetime.fromtimestamp(end + counted(limit, start)[1] - start, UTC)
        total = Total(event.workspace, account, start, limit.id, limit.amount, 0, 0, until)
        store.open_sum(connection, total)
        lease = Lease(ask.lease, event.workspace, account, start, now)
    if ask.final or limit is None:
        store.fold(connection, replace(lease, told=max(lease.told, ask.used)))
        return
    whole = _account(connection, limit, lease)
    answered = answer(whole, lease, ask, now)
    store.save_lease(connection, answered)
    whole = replace(whole, leases=(*(one for one in whole.leases if one.id != lease.id), answered))
    _alert(connection, answered, whole, now, used_up=answered.retry_s > 1.0)


def _read(event: Event) -> tuple[Ask, str, str] | None:
    """A request, with its account and the limit that it is under; None for what is none."""
    data = event.data
    texts = [data.get(name) for name in ("lease", "account", "limit")]
    numbers = [data.get(name, 0) for name in ("serial", "used", "ceiling", "need", "want")]
    lease, account, limit = texts
    if not (isinstance(lease, str) and isinstance(account, str) and isinstance(limit, str)):
        return None
    if not account.startswith(f"{limit}|") or not all(isinstance(one, int) and 0 <= one < 1 << 62 for one in numbers):
        return None
    serial, used, ceiling, need, want = numbers
    return Ask(lease[:64], serial, used, ceiling, need, want, data.get("final") is True), account, limit


def _limit(connection: Connection, workspace: str, ident: str) -> LimitFact | None:
    """The limit of that id as it is now."""
    owner = ident.partition("/")[0]
    if owner.startswith("workspace:"):
        return next((rule.fact for rule in store.rules(connection, workspace) if rule.fact.id == ident), None)
    record = registry.get_agent(connection, workspace, owner)
    if record is None:
        return None
    return next((limit for limit in agent_fact(record).limits if limit.id == ident), None)


def _alert(connection: Connection, lease: Lease, account: Account, now: datetime, *, used_up: bool = False) -> None:
    """Tells once in a window that so much of a limit is used."""
    marks = [one.alerted for one in account.sums]
    percent = ALERTS[-1] if used_up and max(marks, default=0) < ALERTS[-1] else reached(account, marks, ALERTS)
    if not percent:
        return
    store.alerted(connection, lease.workspace, lease.account, lease.period, percent)
    limit = account.limit
    agent = None if limit.id.startswith("workspace:") else limit.id.partition("/")[0]
    data = {
        "limit": limit.id,
        "account": lease.account,
        "percent": percent,
        "spent": shown(limit.of, account.spent),
        "allowed": words(limit),
    }
    event = Event(
        id=stable_id("limits.reached", lease.workspace, lease.account, str(lease.period), str(percent)),
        type="limits.reached",
        time=now,
        workspace=lease.workspace,
        actor="system:limits",
        agent=agent,
        status=Status.FLAGGED,
        data=data,
    )
    events.append(connection, [event])


# --- what people do ---------------------------------------------------------------------------------------------------


def find(world: World, actor: Actor) -> list[Standing]:
    """Every limit of the workspace with what was used of it: those that people set, then those of manifests."""
    permit(actor, "limits:read")
    now = world.clock()
    with world.read() as connection:
        rules = store.rules(connection, actor.workspace)
        agents = [
            fact
            for fact in registry.agent_facts(connection).values()
            if fact.workspace == actor.workspace and fact.state not in _GONE
        ]
        totals = store.totals(connection, actor.workspace)
        leases = store.of_workspace(connection, actor.workspace)
    of_agents = [(limit, fact.name, None) for fact in agents for limit in fact.limits]
    priced = {(one.provider, one.name) for fact in agents for one in fact.models}
    unknown = {pair for pair in priced if telemetry.price(world, *pair) is None}
    out = []
    for limit, agent, rule in [*((rule.fact, "", rule) for rule in rules), *of_agents]:
        uses = _uses(limit, [one for one in totals if one.limit == limit.id], leases, now)
        models = {(one.provider, one.name) for fact in agents if agent in ("", fact.name) for one in fact.models}
        unpriced = sorted(name for _, name in models & unknown) if limit.of == "usd" else ()
        out.append(Standing(limit, agent, rule, uses[:_MAX_ACCOUNTS], len(uses[_MAX_ACCOUNTS:]), tuple(unpriced)))
    return out


def _uses(limit: LimitFact, totals: Sequence[Total], leases: Sequence[Lease], now: datetime) -> tuple[Use, ...]:
    start, end = period(limit, now)
    first, last = counted(limit, start)
    spent: dict[str, int] = {}
    held: dict[str, int] = {}
    for total in totals:
        if first <= total.period <= last:
            spent[total.account] = spent.get(total.account, 0) + total.settled
    for lease in leases:
        if lease.account in spent and first <= lease.period <= last:
            spent[lease.account] += lease.told
            held[lease.account] = held.get(lease.account, 0) + lease.counts(now) - lease.told
    ends = datetime.fromtimestamp(end, UTC)
    uses = (Use(one.partition("|")[2], amount, held.get(one, 0), ends) for one, amount in spent.items())
    return tuple(sorted(uses, key=lambda use: (-use.spent, use.whom)))


def set_limit(world: World, actor: Actor, name: str, wanted: LimitFact, reason: str) -> Rule:
    """Sets a limit of the workspace under a name, in place of another of that name. Raises Refused: 403 for whoever may
    not, 400 without a reason, 422 for a limit that makes no sense."""
    permit(actor, "limits:set")
    _check(wanted)
    why = _reason(reason)
    now = world.clock()
    rule = Rule(
        workspace=actor.workspace,
        name=name,
        of=wanted.of,
        amount=wanted.amount,
        per=wanted.per,
        each=wanted.each,
        only=wanted.only,
        sliding=wanted.sliding,
        zone=wanted.zone,
        by=actor.name,
        since=now,
        reason=why,
    )
    with world.begin() as tx:
        store.save(tx, rule)
        events.append(tx, [_changed(rule, "limits.set", actor, why, now)])
    return rule


def remove(world: World, actor: Actor, name: str, reason: str) -> Rule:
    """Takes a limit of the workspace back. Raises Refused: 403 for whoever may not, 404 when there is none."""
    permit(actor, "limits:set")
    why = _reason(reason)
    now = world.clock()
    with world.begin() as tx:
        rule = next((one for one in store.rules(tx, actor.workspace) if one.name == name), None)
        if rule is None or not store.remove(tx, actor.workspace, name):
            raise Refused(
                "unknown_limit",
                f"The workspace has no limit {name}.",
                fix="`tenure limits list` shows which there are; those of an agent are changed in its manifest.",
                status=404,
            )
        events.append(tx, [_changed(rule, "limits.removed", actor, why, now)])
    return rule


def _reason(reason: str) -> str:
    if not reason.strip():
        raise Refused("reason_required", "This needs a reason; it is kept in the audit.", fix="Say why.")
    return reason.strip()


def _check(limit: LimitFact) -> None:
    if limit.each == "tool" and limit.of != "calls":
        text = "A tool has calls only; tokens and dollars are used up by models."
        raise Refused("bad_limit", text, fix="Count calls.", status=422)
    if limit.per not in WINDOW_S:
        raise Refused("bad_limit", f"There is no window {limit.per}.", fix=f"Say {', '.join(WINDOW_S)}.", status=422)
    try:
        known = limit.zone == "UTC" or bool(ZoneInfo(limit.zone).key)
    except (KeyError, ValueError, OSError):
        known = False
    if not known:
        raise Refused("bad_limit", f"{limit.zone} is no time zone.", fix="Say one such as Europe/Berlin.", status=422)


def _changed(rule: Rule, kind: str, actor: Actor, reason: str, now: datetime) -> Event:
    limit = rule.fact
    data = {"name": rule.name, "limit": limit.id, "allowed": words(limit), "each": limit.each, "reason": reason}
    return Event(
        id=new_id(),
        type=kind,
        time=now,
        workspace=rule.workspace,
        actor=actor.name,
        status=Status.FLAGGED,
        data={**data, **({"only": limit.only} if limit.only else {})},
    )


# --- what is over -----------------------------------------------------------------------------------------------------


def overdue(connection: Connection, now: datetime) -> Sequence[str]:
    """Whether sums are kept that count nowhere any more."""
    return ["sums"] if store.has_old(connection, now - KEEP) else []


def forget(world: World, _key: str) -> bool:
    """Drops them."""
    with world.db.begin() as connection:
        return store.old(connection, world.clock() - KEEP) > 0
