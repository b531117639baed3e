"""Time limits of waits: on time, in their order, and no timer that goes on for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tenure.gateway.deadlines import Deadlines


def test_limits_strike_in_their_order_whenever_they_were_set() -> None:
    async def wait() -> list[str]:
        deadlines, struck, done = Deadlines(), [], asyncio.Event()
        now = deadlines.now()

        def last() -> None:
            struck.append("late")
            done.set()

        deadlines.set("late", now + 0.3, last)
        deadlines.set("never", now + 3600, lambda: struck.append("never"))
        deadlines.set("early", now + 0.1, lambda: struck.append("early"))
        deadlines.set("lifted", now + 0.1, lambda: struck.append("lifted"))
        deadlines.lift("lifted")
        await done.wait()
        assert deadlines.now() >= now + 0.3
        return struck

    assert asyncio.run(wait()) == ["early", "late"]


def test_a_limit_that_a_strike_sets_strikes_too() -> None:
    async def wait() -> None:
        deadlines, done = Deadlines(), asyncio.Event()
        deadlines.set("one", deadlines.now(), lambda: deadlines.set("two", deadlines.now(), done.set))
        await done.wait()

    asyncio.run(wait())


def test_nobody_is_woken_before_the_first_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> None:
        deadlines, loop = Deadlines(), asyncio.get_running_loop()
        timers: list[float] = []
        call_at = loop.call_at

        def counted(at: float, strike: Callable[[], None]) -> asyncio.TimerHandle:
            timers.append(at)
            return call_at(at, strike)

        monkeypatch.setattr(loop, "call_at", counted)
        for number in range(50):
            deadlines.set(number, loop.time() + 3600 + number, lambda: None)
        assert len(timers) == 1
        assert timers[0] > loop.time() + 3000

    asyncio.run(wait())
