"""What this gateway may use up of each limit: leases that the control plane grants, and what calls reserve of them.

A call reserves what it may come to before it is made and is charged what it came to when it is recorded; its Event says
under which lease. A gateway asks for more with an Event before a lease runs out and hears of it in the Snapshot. All
times are of this machine's monotonic clock: what a lease has left is reckoned from when it was asked for, so it is over
here before it is over for the control plane, however the clocks are set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tenure.gateway.snapshot import Facts
from tenure.gateway.spool import Spool
from tenure.kernel.budgets import LeaseFact, LimitFact, PriceFact
from tenure.kernel.ids import new_id
from tenure.kernel.json import JsonObject
from tenure.kernel.snapshot import AgentFact, Snapshot
from tenure.kernel.values import Call, Event, Principal
from tenure.limits.model import TTL_S, Usage, accounts, reserved, shown, used, words

WAIT_S = 2.0
"""The longest that a call waits for a lease."""
_AGAIN_S = 1.0  # a request that was not answered is made again, and what was turned down asked for anew
_RENEW_S = TTL_S / 3
_IDLE_S = 60.0
_TEND_S = 1.0
_PLANS = 10_000
_KINDS = {"calls": 0, "usd": 2}
_UNSURE = frozenset({"timeout", "too_long"})


class Holding:
    """One lease of one account. ``granted`` is the ceiling of ``used`` and ``reserved`` together until ``deadline``;
    ``serial`` is the number of the newest request, made ``asked_at`` and still unanswered while ``pending``. ``wanted``
    is what calls waited for since, ``turned_down`` until when no more is to be had."""

    __slots__ = (
        *("account", "asked_at", "deadline", "fact", "granted", "id", "known", "limit", "low", "others", "pending"),
        *("reserved", "retry_s", "serial", "short", "touched", "turned_down", "used", "wanted", "workspace"),
    )

    def __init__(self, workspace: str, account: str, limit: LimitFact, now: float) -> None:
        self.id = new_id()
        self.workspace, self.account, self.limit = workspace, account, limit
        self.granted = self.used = self.reserved = self.serial = self.wanted = self.others = self.low = 0
        self.asked_at = self.deadline = self.turned_down = self.retry_s = 0.0
        self.touched = now
        self.pending = self.short = self.known = False
        self.fact: LeaseFact | None = None

    def room(self, now: float) -> int:
        """How much more calls may reserve."""
        return self.granted - self.used - self.reserved if now < self.deadline else 0

    def hear(self, fact: LeaseFact) -> None:
        """Takes over what the control plane says of it. What answers an earlier request than the newest grants nothing:
        this gateway may have promised to keep to less since."""
        self.fact, self.short = fact, fact.short
        if fact.serial != self.serial:
            return
        if fact.granted > self.granted:
            self.low = (fact.granted - self.granted) // 4
        self.granted, self.others, self.retry_s = fact.granted, fact.others, fact.retry_s
        self.deadline = self.asked_at + fact.ttl_s
        self.pending, self.known = False, True
        if fact.retry_s:
            self.turned_down = self.asked_at + _AGAIN_S


@dataclass(slots=True)
class Charge:
    """What a call has reserved, by lease; ``parts`` is empty once it is settled."""

    parts: list[tuple[Holding, int]]


@dataclass(frozen=True, slots=True)
class Short:
    """Why a call may not be made now, in words, and in how many seconds to try again."""

    reason: str
    retry_s: float


class Leases:
    """All leases of one gateway."""

    def __init__(self, facts: Facts, spool: Spool, clock: Callable[[], float] = time.monotonic) -> None:
        self._facts = facts
        self._spool = spool
        self._clock = clock
        self._held: dict[tuple[str, str], Holding] = {}
        self._closing: set[Holding] = set()
        self._plans: dict[tuple[object, ...], tuple[tuple[str, LimitFact], ...]] = {}
        self._planned_for: object = None

    # -- before a call
    async def admit(
        self, call: Call, principal: Principal, agent: AgentFact, size: int, *, wait_s: float = WAIT_S
    ) -> Charge | Short | None:
        """Reserves what the call may come to of every account that it is charged to, or of none; waits at most
        ``wait_s`` seconds for a lease. None for a call that nothing limits."""
        plan = self._plan(call, principal, agent)
        if not plan:
            return None
        price = _price(agent, call.resource)
        end = self._clock() + wait_s
        waiting: set[Holding] = set()
        while True:
            now = self._clock()
            got = self._take(plan, call, principal, size, price, now)
            if isinstance(got, Charge):
                return got
            for held, need in got:
                if need > held.limit.amount or (now < held.turned_down and not held.pending):
                    return _short(held, need)
                self._want(held, need, now, known=held in waiting)
                waiting.add(held)
            if now >= end:
                return _short(*got[0])
            with suppress(TimeoutError):  # nobody answered; it may be asked for again
                async with asyncio.timeout(min(end - now, _AGAIN_S)):
                    await self._facts.changed()

    def _plan(self, call: Call, principal: Principal, agent: AgentFact) -> tuple[tuple[str, LimitFact], ...]:
        """The accounts that a call is charged to: under the limits of its agent and of each that handed the work on."""
        snapshot = self._facts.current
        agents: Mapping[str, AgentFact] = snapshot.agents if snapshot is not None else {}
        if agents is not self._planned_for or len(self._plans) > _PLANS:
            self._plans.clear()
            self._planned_for = agents
        person, chain = principal.on_behalf_of, principal.chain
        key = (principal.workspace, principal.agent, chain, person, call.kind, call.resource)
        plan = self._plans.get(key)
        if plan is None:
            before = (agents.get(f"{principal.workspace}/{name}") for name in chain)
            whose = [agent, *(one for one in before if one is not None)]
            found = (pair for one in whose for pair in accounts(one.limits, one.name, call, principal))
            plan = self._plans[key] = tuple(dict(found).items())
        return plan

    def _take(  # noqa: PLR0917 (the facts of one call, in the order they come to be)
        self,
        plan: Sequence[tuple[str, LimitFact]],
        call: Call,
        principal: Principal,
        size: int,
        price: PriceFact | None,
        now: float,
    ) -> Charge | list[tuple[Holding, int]]:
        """The reservation, or else the leases that have not enough, each with what the call needs of it."""
        snapshot = self._facts.current
        parts, lacking = [], []
        for account, limit in plan:
            held = self._holding(principal.workspace, account, limit, snapshot, now)
            need = reserved(limit, call, size, price)
            parts.append((held, need))
            if need > held.room(now) and need:
                lacking.append((held, need))
        if lacking:
            return lacking
        for held, need in parts:
            held.reserved += need
            if held.room(now) < held.low and not held.pending and not held.short:
                self._ask(held, now, 0, max(need, 1))
        return Charge(parts)

    def _holding(
        self, workspace: str, account: str, limit: LimitFact, snapshot: Snapshot | None, now: float
    ) -> Holding:
        key = (workspace, account)
        held = self._held.get(key)
        if held is not None:
            self._hear(held, snapshot)
            if held.known and now >= held.deadline and not held.pending:  # its time or its window is over
                self._closing.add(held)
                held = None
        if held is None:
            held = self._held[key] = Holding(workspace, account, limit, now)
        held.limit, held.touched = limit, now
        return held

    @staticmethod
    def _hear(held: Holding, snapshot: Snapshot | None) -> None:
        fact = snapshot.leases.get(held.id) if snapshot is not None else None
        if fact is not None and fact is not held.fact:
            held.hear(fact)

    def _want(self, held: Holding, need: int, now: float, *, known: bool = False) -> None:
        """A call waits for so much of a lease; ``known``: it has said so before."""
        held.wanted += 0 if known else need
        if not held.pending or now - held.asked_at >= _AGAIN_S:
            self._ask(held, now, need, max(held.wanted, need))

    def _ask(self, held: Holding, now: float, need: int, want: int, *, final: bool = False) -> None:
        """Tells the control plane what was used and what is wanted. What is neither used nor reserved of a lease that
        is over is kept no longer."""
        kept = 0 if final or now >= held.deadline else held.granted
        held.granted = max(kept, held.used + held.reserved)
        held.serial += 1
        held.asked_at, held.pending, held.wanted = now, not final, 0
        data: dict[str, Any] = {
            "lease": held.id,
            "account": held.account,
            "limit": held.limit.id,
            "serial": held.serial,
            "used": held.used,
            "ceiling": held.granted,
            "need": need,
            "want": want,
        }
        if final:
            data["final"] = True
        event = Event(
            id=new_id(),
            type="limits.asked",
            time=datetime.now(UTC),
            workspace=held.workspace,
            actor="system:gateway",
            data=data,
        )
        self._spool.append(event, urgent=True)

    def moved(self, charge: Charge, call: Call, principal: Principal, agent: AgentFact, size: int) -> Short | None:
        """Makes a reservation that of another model, which takes the place of the one that was asked for; waits for
        nothing. Why that cannot be, and then it stays as it was."""
        now = self._clock()
        before = charge.parts
        for held, need in before:
            held.reserved -= need
        got = self._take(self._plan(call, principal, agent), call, principal, size, _price(agent, call.resource), now)
        if isinstance(got, Charge):
            charge.parts = got.parts
            return None
        for held, need in before:
            held.reserved += need
        for held, need in got:
            self._want(held, need, now)  # for the next call: this one has no time
        return _short(*got[0])

    @contextmanager
    def kept(self, charge: Charge | None) -> Iterator[Callable[[], Charge | None]]:
        """Releases a reservation at the end, unless what is given was called, which returns it."""
        keeping = False

        def keep() -> Charge | None:
            nonlocal keeping
            keeping = True
            return charge

        try:
            yield keep
        finally:
            if charge is not None and not keeping:
                for held, need in charge.parts:
                    held.reserved -= need

    # -- after a call
    def settle(self, charge: Charge, agent: AgentFact, data: JsonObject, *, made: bool) -> dict[str, int]:
        """What the call came to, by lease, for its Event, which must be spooled next. ``made``: it was acted on; one
        that was not costs nothing. ``data`` are the attributes of its Event."""
        parts, charge.parts = charge.parts, []
        charged: dict[str, int] = {}
        usage = _usage(data) if made else Usage()
        price = _price(agent, str(data.get("tenure.model.served", "")))
        for held, need in parts:
            held.reserved -= need
            if not made or not need:
                continue
            units = 1 if held.limit.of == "calls" else need if usage is None else used(held.limit, usage, price)
            if units:
                held.used += units
                charged[held.id] = units
        return charged

    # -- what policies may know
    def spent(self, call: Call, principal: Principal, agent: AgentFact) -> tuple[int, int, int]:
        """How much of the fullest account for calls, for tokens and for dollars is used, in percent: as the control
        plane knew it when the lease was last granted, and what was used here. 100 for one that is not known."""
        out = [0, 0, 0]
        now, snapshot = self._clock(), self._facts.current
        for account, limit in self._plan(call, principal, agent):
            held = self._holding(principal.workspace, account, limit, snapshot, now)
            share = 100
            if held.known and limit.amount:
                share = (held.others + held.used + held.reserved) * 100 // limit.amount
            kind = _KINDS.get(limit.of, 1)
            out[kind] = max(out[kind], share)
        return out[0], out[1], out[2]

    async def learn(self, call: Call, principal: Principal, agent: AgentFact) -> bool:
        """Waits, at most as long as for a lease, until the control plane has said how full every account is; False when
        that was known."""
        end = self._clock() + WAIT_S
        asked = False
        while (now := self._clock()) < end:
            snapshot = self._facts.current
            plan = self._plan(call, principal, agent)
            held = [self._holding(principal.workspace, account, limit, snapshot, now) for account, limit in plan]
            unknown = [one for one in held if not one.known]
            if not unknown:
                return asked
            asked = True
            for one in unknown:
                self._want(one, 1, now, known=True)
            with suppress(TimeoutError):  # nobody answered; it may be asked for again
                async with asyncio.timeout(min(end - now, _AGAIN_S)):
                    await self._facts.changed()
        return asked

    # -- between calls
    async def run(self) -> None:
        """Tends the leases until it is cancelled."""
        while True:
            await asyncio.sleep(_TEND_S)
            self.tend()

    def tend(self) -> None:
        """Renews the leases that are used, and gives back those that are over, that nobody used for a minute, or that
        nobody used for a second and others want."""
        now, snapshot = self._clock(), self._facts.current
        for key, held in list(self._held.items()):
            self._hear(held, snapshot)
            waits = held.pending and now - held.asked_at < _AGAIN_S
            idle = now - held.touched
            over = held.known and now >= held.deadline and not held.pending
            if over or idle > _IDLE_S or (held.short and idle > _AGAIN_S and not held.reserved and not waits):
                del self._held[key]
                self._closing.add(held)
            elif held.serial and not waits and now - held.asked_at >= _RENEW_S:
                self._ask(held, now, 0, 0)
        for held in list(self._closing):
            if not held.reserved:
                self._closing.discard(held)
                if held.serial:
                    self._ask(held, now, 0, 0, final=True)
            elif now - held.asked_at >= _RENEW_S:
                self._ask(held, now, 0, 0)


def _short(held: Holding, need: int) -> Short:
    limit, whom = held.limit, held.account.partition("|")[2]
    whose = f"{limit.each} {whom.partition(':')[2] if limit.each == 'chain' else whom}".strip()
    if need > limit.amount > 0:
        reason = (
            f"This call may come to {shown(limit.of, need)}, and the limit of {whose} is {words(limit)}: "
            "ask for fewer tokens (max_tokens)."
        )
        return Short(reason, 0.0)
    if not held.known or held.pending:
        return Short(f"No part of the limit of {whose} ({words(limit)}) could be had in time.", _AGAIN_S)
    retry_s = max(held.retry_s, _AGAIN_S)
    if not limit.amount:
        return Short(f"The limit of {whose} is {words(limit)}: nothing at all.", retry_s)
    return Short(f"The limit of {whose} is used up: {words(limit)}. More is to be had in {_time(retry_s)}.", retry_s)


def _time(seconds: float) -> str:
    whole = max(1, round(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def _price(agent: AgentFact, model: str) -> PriceFact | None:
    return next((one.price for one in agent.models if one.name == model), None)


def _usage(data: JsonObject) -> Usage | None:
    """The tokens of a call that was made; None where nobody said: what was reserved is charged then."""
    names = ("input_tokens", "output_tokens", "cache_read.input_tokens", "cache_creation.input_tokens")
    counts = [data.get(f"gen_ai.usage.{name}") for name in names]
    if any(isinstance(count, int) for count in counts[:2]):
        return Usage(*(count if isinstance(count, int) and count > 0 else 0 for count in counts))
    status = data.get("http.response.status_code")
    failed = isinstance(status, int) and status >= 400 and data.get("error.type") not in _UNSURE
    return Usage() if failed else None
