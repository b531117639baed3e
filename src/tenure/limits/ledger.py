"""One account's sums and leases, and what becomes of a gateway's request for more. Pure.

What a lease counts is the greater of what was granted under it and what its gateway's Events tell of; after its time,
what they tell of alone. So the rest of a gateway that was killed comes back by itself, and whatever it had used and was
told later is added all the same: nothing is lost, and nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tenure.kernel.budgets import LeaseFact, LimitFact
from tenure.limits.model import GRACE_S, TTL_S, period, slice_of


@dataclass(frozen=True, slots=True)
class Lease:
    """``granted`` and ``told`` are sums since it was made; ``serial`` is the number of the request that it answered
    last. ``period``: Unix seconds at which the period begins that it is of. ``others``, ``ttl_s``, ``retry_s`` and
    ``short`` are what the gateway is told with it."""

    id: str
    workspace: str
    account: str
    period: int
    until: datetime
    granted: int = 0
    told: int = 0
    serial: int = 0
    others: int = 0
    ttl_s: float = 0.0
    retry_s: float = 0.0
    short: bool = False

    def counts(self, now: datetime) -> int:
        """How much of the account it takes."""
        return max(self.granted, self.told) if now < self.until else self.told


@dataclass(frozen=True, slots=True)
class Sum:
    """What was used of an account in one period under leases that are over. ``alerted``: percent that were told of."""

    period: int
    settled: int = 0
    alerted: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """A gateway's request: it has used ``used`` under the lease and keeps itself to ``ceiling`` until it is answered.
    ``need`` is what the first call that waits needs, ``want`` what all of them want and what is to come. ``final``: the
    lease is given back and will not be used again."""

    lease: str
    serial: int
    used: int
    ceiling: int
    need: int = 0
    want: int = 0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What counts in the period that begins at ``start``: sums and leases, of earlier periods too where the window is a
    sliding one."""

    limit: LimitFact
    sums: tuple[Sum, ...] = ()
    leases: tuple[Lease, ...] = ()

    @property
    def spent(self) -> int:
        """What is known to have been used."""
        return sum(one.settled for one in self.sums) + sum(one.told for one in self.leases)

    def taken(self, now: datetime, but: str = "") -> int:
        """What is used or granted, without the lease ``but``."""
        return sum(one.settled for one in self.sums) + sum(one.counts(now) for one in self.leases if one.id != but)


def answer(account: Account, lease: Lease, ask: Ask, now: datetime) -> Lease:
    """The lease after a request, which is one that was not answered yet. The gateway is believed in what it used and
    keeps itself to; it is granted more only in the period that the lease is of."""
    limit = account.limit
    start, end = period(limit, now)
    told = max(lease.told, ask.used)
    lease = replace(lease, told=told, granted=max(ask.ceiling, told), serial=ask.serial, short=False, retry_s=0.0)
    current, more, taken = lease.period == start, 0, account.taken(now, lease.id)
    if current and ask.want > 0:
        left = limit.amount - taken - lease.granted
        holders = len({one.id for one in account.leases if now < one.until} | {lease.id})
        more = slice_of(limit.amount, left, ask.need, ask.want, holders)
        if more < ask.need:
            idle = sum(one.counts(now) - one.told for one in account.leases if one.id != lease.id)
            lease = replace(lease, retry_s=1.0 if idle >= ask.need - max(left, 0) > 0 else float(_seconds(end, now)))
        lease = replace(lease, short=more < ask.want)
    return replace(
        lease,
        granted=lease.granted + more,
        until=now + timedelta(seconds=TTL_S + GRACE_S),
        ttl_s=min(TTL_S, end - now.timestamp()) if current else 0.0,
        others=_others(account, lease.id),
    )


def _others(account: Account, but: str) -> int:
    return account.spent - sum(one.told for one in account.leases if one.id == but)


def _seconds(end: int, now: datetime) -> int:
    return max(1, int(-(-(end - now.timestamp()) // 1)))


def reached(account: Account, alerted: Iterable[int], alerts: Iterable[int]) -> int:
    """The highest of the ``alerts`` (percent) that the account has reached and that was not told of yet; 0 for none."""
    done = max(alerted, default=0)
    amount = max(account.limit.amount, 1)
    return max((mark for mark in alerts if mark > done and account.spent * 100 >= mark * amount), default=0)


def lease_facts(running: Sequence[Lease]) -> dict[str, LeaseFact]:
    """What gateways hear of the leases that hold, by their ids. Of an account that somebody could not have enough of,
    each is short."""
    short = {(one.workspace, one.account) for one in running if one.short}
    return {
        one.id: LeaseFact(
            id=one.id,
            workspace=one.workspace,
            account=one.account,
            serial=one.serial,
            granted=one.granted,
            ttl_s=one.ttl_s,
            others=one.others,
            short=(one.workspace, one.account) in short,
            retry_s=one.retry_s,
        )
        for one in running
    }
