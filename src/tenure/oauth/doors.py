"""How often somebody may knock. In memory: what is counted here need not outlive the process, and other control planes
on the same database count for themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

from tenure.base.db import Database

_KEPT = 10_000


class Buckets:
    """Token buckets by key: ``burst`` at once, then ``rate`` a second. Bounded: of more than 10,000 keys the ones that
    came longest ago are forgotten, which fills their buckets again."""

    def __init__(self, burst: float, rate: float) -> None:
        self._burst, self._rate = burst, rate
        self._left: dict[str, tuple[float, float, int]] = {}  # tokens left, when, how many were turned away since
        self._lock = threading.Lock()

    def take(self, key: str, now: float) -> int | None:
        """Takes one: how many were turned away since the last that was not, or None to be turned away."""
        with self._lock:
            left, when, skipped = self._left.pop(key, (self._burst, now, 0))
            left = min(self._burst, left + max(0.0, now - when) * self._rate)
            good = left >= 1
            self._left[key] = (left - 1, now, 0) if good else (left, now, skipped + 1)
            if len(self._left) > _KEPT:
                del self._left[next(iter(self._left))]
            return skipped if good else None

    def empty(self, key: str, now: float) -> bool:
        """Whether the next one would be turned away."""
        with self._lock:
            left, when, _ = self._left.get(key, (self._burst, now, 0))
            return min(self._burst, left + max(0.0, now - when) * self._rate) < 1


class Doors:
    """What one control plane counts. ``given``: tokens of one client; ``failed``: requests of one address for one
    client that showed nothing good; ``told``: Events of refusals."""

    def __init__(self) -> None:
        self.given = Buckets(60, 2.0)
        self.failed = Buckets(60, 5.0)
        self.told = Buckets(20, 1.0)


def doors() -> Callable[[Database], Doors]:
    """What finds the Doors of a control plane by its database, as long as that is open."""
    known: WeakKeyDictionary[Database, Doors] = WeakKeyDictionary()
    lock = threading.Lock()

    def of(database: Database) -> Doors:
        with lock:
            return known.setdefault(database, Doors())

    return of


doors_of = doors()
