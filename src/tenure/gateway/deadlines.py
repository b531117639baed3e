"""Time limits of many waits on one timer. A timer of its own for each wait costs as much as deciding on a call."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

_STEP_S = 0.05


class Deadlines:
    """A limit strikes on time or a twentieth of a second late. To be used by one event loop."""

    def __init__(self) -> None:
        self._limits: dict[object, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf  # when the timer goes off; no limit is before it
        self._loop: asyncio.AbstractEventLoop | None = None  # asking asyncio for it asks the kernel for the process

    def now(self) -> float:
        """The event loop's time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    def set(self, wait: object, at: float, strike: Callable[[], None]) -> None:
        """Calls ``strike`` when ``at`` (the event loop's time) has passed, unless it is lifted before. A ``wait`` has
        one limit."""
        self._limits[wait] = at, strike
        if at < self._next:
            self._wake(at)

    def lift(self, wait: object) -> None:
        """The wait is over."""
        self._limits.pop(wait, None)

    def _look(self) -> None:
        now = self.now()
        self._next = math.inf  # a strike may set limits, and wants to be woken for them
        due = [(wait, strike) for wait, (at, strike) in self._limits.items() if at <= now]
        for wait, strike in due:
            if self._limits.pop(wait, None) is not None:
                strike()
        if self._limits:
            self._wake(min(at for at, _ in self._limits.values()))

    def _wake(self, at: float) -> None:
        """Looks at that time, or a step from now if that is later: those that end close together share a look."""
        at = max(at, self.now() + _STEP_S)
        if at >= self._next:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = asyncio.get_running_loop().call_at(at, self._look)
