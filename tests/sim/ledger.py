"""The accounts of limits as the control plane keeps them, in memory and with a clock of one's own, for gateways under
test: the room's own rules over what gateways tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tenure.kernel.budgets import LeaseFact, LimitFact
from tenure.limits.ledger import Account, Ask, Lease, Sum, answer, lease_facts
from tenure.limits.model import counted, period


class Ledger:
    """``limits`` by their ids. ``now`` is the machine's clock unless it is set."""

    def __init__(self, limits: Mapping[str, LimitFact], now: datetime | None = None) -> None:
        self.limits = dict(limits)
        self.now = now
        self.sums: dict[tuple[str, int], int] = {}
        self.leases: dict[str, Lease] = {}

    @property
    def clock(self) -> datetime:
        """The present."""
        return self.now or datetime.now(UTC)

    def take(self, kind: str, data: Mapping[str, Any]) -> bool:
        """One Event; says whether it may have changed a lease that a gateway hears of."""
        if kind == "limits.asked":
            self._ask(data)
            return True
        for ident, units in data.get("tenure.charged", {}).items():
            if ident in self.leases:
                lease = self.leases[ident]
                self.leases[ident] = replace(lease, told=lease.told + units)
        return False

    def spent(self, account: str) -> int:
        """What is known to be used of an account, in all its periods."""
        settled = sum(units for (name, _), units in self.sums.items() if name == account)
        return settled + sum(one.told for one in self.leases.values() if one.account == account)

    def _ask(self, data: Mapping[str, Any]) -> None:
        limit = self.limits[data["limit"]]
        serial, used, ceiling, need, want = (data[name] for name in ("serial", "used", "ceiling", "need", "want"))
        ask = Ask(data["lease"], serial, used, ceiling, need, want, data.get("final") is True)
        lease = self.leases.get(ask.lease)
        if lease is None:
            if ask.final:
                return
            start, _ = period(limit, self.clock)
            lease = Lease(ask.lease, "default", data["account"], start, self.clock)
        if ask.serial <= lease.serial:
            return
        if ask.final:
            key = (lease.account, lease.period)
            self.sums[key] = self.sums.get(key, 0) + max(lease.told, ask.used)
            self.leases.pop(ask.lease, None)
            return
        first, last = counted(limit, lease.period)
        here = [one for one in self.leases.values() if one.account == lease.account and first <= one.period <= last]
        sums = [
            Sum(at, units) for (name, at), units in self.sums.items() if name == lease.account and first <= at <= last
        ]
        self.leases[ask.lease] = answer(Account(limit, tuple(sums), tuple(here)), lease, ask, self.clock)

    def facts(self) -> dict[str, LeaseFact]:
        """The leases that hold."""
        return lease_facts([one for one in self.leases.values() if self.clock < one.until])
