"""What could not be kept, until it is told: a count for each reason, and the Event that tells of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from tenure.kernel.ids import new_id
from tenure.kernel.values import Event, Status

FULL = "spool_full"  # the spool has as much as it may, because the control plane does not take it
DISK = "disk"  # the spool's disk is full, fails, or is too slow
DAMAGED = "damaged"  # was on disk, and cannot be read any more
REFUSED = "refused"  # the control plane will not have it, not even without its content
NOT_JSON = "not_json"  # cannot be written as JSON, not even without its content


class Losses:
    """Losses of one gateway, ``name``, that no ``gateway.dropped`` has told of yet."""

    def __init__(self, name: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._name = name
        self._now = now
        self._reasons: Counter[str] = Counter()
        self._since: datetime | None = None

    def __bool__(self) -> bool:
        return self._since is not None

    def add(self, reason: str, count: int = 1) -> bool:
        """Counts; says whether this is the first loss since the last was told."""
        first = self._since is None
        self._reasons[reason] += count
        self._since = self._since or self._now()
        return first

    def told(self) -> Event:
        """The Event that tells of all of them; they count as told from here on."""
        reasons, since = self._reasons, self._since or self._now()
        self._reasons, self._since = Counter(), None
        return Event(
            id=new_id(),
            type="gateway.dropped",
            time=since,
            workspace="default",
            actor=f"gateway:{self._name}",
            status=Status.FLAGGED,
            duration_us=max(0, int((self._now() - since).total_seconds() * 1e6)),
            data={"count": reasons.total(), "reasons": dict(reasons)},
        )
