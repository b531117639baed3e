"""The gateways that hear facts from this control plane, and when each of them has surely stopped acting on older ones.

A gateway acts on facts for ``max_age_s`` seconds from when it *sent* the confirmation that was answered last. The
answer is the only thing that keeps its facts alive, so by our own clock they are dead ``max_age_s`` after we took that
confirmation, whatever became of the gateway, of its connection, or of what was on its way. From the moment somebody
waits for a version, no confirmation of an older one is answered. So every change is in force after ``max_age_s`` at the
latest, and at once when all gateways confirm it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenure.base import files

_MARGIN_S = 0.1
"""For clocks that do not run alike."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Whether a change is in force at every gateway. ``gateways``: how many act on facts; ``waiting``: how many of them
    may act on older ones yet, for ``within_s`` seconds at most; ``took_ms``: how long it was waited."""

    complete: bool
    gateways: int
    waiting: int
    within_s: float
    took_ms: float


@dataclass(slots=True)
class _Seat:
    """``until``: when its facts are dead unless it confirms again; ``run``: which process it is."""

    run: str
    version: int
    until: float


class Replicas:
    """Of one control plane. ``path`` keeps the names of the gateways over a restart, None keeps nothing. May be used
    from any thread."""

    def __init__(
        self, path: Path | None = None, max_age_s: float = 15.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.publisher: tuple[Callable[[], int], Callable[[], object]] | None = None
        """Builds the facts as they are now and returns their version; has every gateway hear what is new."""
        self._path = path
        self._max_age_s = max_age_s
        self._clock = clock
        self._changed = threading.Condition()
        self._floor = 0
        self._seats: dict[str, _Seat] = {}
        self._left: deque[str] = deque(maxlen=256)
        for name, age in self._read().items():
            # It may have been answered just before we were started, by the process before this one.
            self._seats[name] = _Seat("", 0, clock() + age + _MARGIN_S)

    @property
    def floor(self) -> int:
        """The newest version that somebody waits for, or waited for: older ones are not confirmed any more."""
        return self._floor

    def confirm(self, name: str, run: str, version: int) -> bool:
        """Gateway ``name`` decides by ``version`` from now on. ``run`` names its process: only one at a time can be
        that gateway, so another one proves that the process before it has ended. False when the version is too old:
        then the gateway may not believe its facts for any longer."""
        with self._changed:
            now = self._clock()
            seat = self._seats.get(name)
            if run in self._left:
                return False
            if version < self._floor:
                if seat is not None and seat.run not in ("", run):
                    self._forget(name)
                return False
            if seat is None:
                self._seats[name] = _Seat(run, version, now + self._max_age_s + _MARGIN_S)
                self._write()
            else:
                seat.run, seat.version = run, max(version, seat.version if seat.run == run else 0)
                seat.until = now + self._max_age_s + _MARGIN_S
            self._changed.notify_all()
            return True

    def leave(self, name: str, run: str) -> None:
        """A gateway has let its last call go and is ending."""
        with self._changed:
            self._left.append(run)  # a confirmation of its may still be on its way
            seat = self._seats.get(name)
            if seat is not None and seat.run in ("", run):
                self._forget(name)

    def settle(self, wait_s: float | None = None) -> Settled:
        """Publishes the facts as they are now and waits until no gateway acts on older ones; at most ``wait_s`` seconds
        (None: as long as it can take). Blocks."""
        begun = self._clock()
        if self.publisher is None:
            return Settled(complete=True, gateways=0, waiting=0, within_s=0.0, took_ms=0.0)
        build, announce = self.publisher
        version = build()
        with self._changed:
            self._floor = max(self._floor, version)
            announce()
            while True:
                now = self._clock()
                behind = [seat for seat in self._seats.values() if seat.version < version and seat.until > now]
                left = max((seat.until for seat in behind), default=now) - now
                over = wait_s is not None and now - begun >= wait_s
                if not behind or over:
                    alive = sum(seat.until > now for seat in self._seats.values())
                    took = round((now - begun) * 1000, 3)
                    return Settled(not behind, alive, len(behind), round(left, 3), took)
                limit = left if wait_s is None else min(left, wait_s - (now - begun))
                self._changed.wait(max(limit, 0.001))

    # -- kept over a restart
    def _forget(self, name: str) -> None:
        del self._seats[name]
        self._write()
        self._changed.notify_all()

    def _read(self) -> dict[str, float]:
        try:
            text = self._path.read_text("utf-8") if self._path is not None else "{}"
            return {str(name): float(age) for name, age in json.loads(text).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError):
            return {"?": self._max_age_s}  # nobody knows who: as if there were one

    def _write(self) -> None:
        now = self._clock()
        self._seats = {name: seat for name, seat in self._seats.items() if seat.until > now - self._max_age_s}
        if self._path is not None:
            files.replace(self._path, json.dumps(dict.fromkeys(self._seats, self._max_age_s)).encode())
