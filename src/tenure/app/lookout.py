"""Looks which Flows have something to do, and lets these run beside each other.

A look at many costs as much as at one, and a look in vain costs the same as any: so all are asked together, and a Flow
that named nothing, not even for half a minute from now, is left alone until then unless somebody writes. Whether
somebody did, in whatever process, the database says for next to nothing (``Database.version``); it is asked all the
time, and everybody who waits for news hears of it by the bell.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime, timedelta

from tenure.base import durable, log
from tenure.base.room import Flow, World
from tenure.kernel.errors import Failed

logger = log.get("engine")

_STEP_S = 0.25
"""Between two looks at least: often enough for the shortest ``Flow.every``."""
_REST_S = 0.5
"""And at most: so soon is found what other processes write."""
_AHEAD = timedelta(seconds=30)
_NEVER = None, None, datetime.min.replace(tzinfo=UTC)


class Lookout:
    """Looks after ``flows``; steps are taken under leases that ``holder`` takes."""

    def __init__(self, world: World, flows: Sequence[Flow], holder: str) -> None:
        self._world = world
        self._holder = holder
        self._due = dict.fromkeys(flows, 0.0)
        self._idle: dict[Flow, tuple[Hashable, Hashable, datetime]] = {}
        """Those that have nothing to do until that time, as far as the database of that version says, and what was to
        be seen at a glance."""
        self._version: Hashable = None
        self._running: dict[Flow, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Goes on until it is cancelled. A slow step holds up no other Flow."""
        flag, now = self._world.bell.attach(), asyncio.get_running_loop().time
        try:
            while True:
                next_due = await self.look()
                looked = now()
                rest = min(next_due - looked, _REST_S)
                if rest > _STEP_S:
                    await self._world.bell.wait(flag, rest)
                if (early := looked + _STEP_S - now()) > 0:
                    await asyncio.sleep(early)
        finally:
            self._world.bell.detach(flag)
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def look(self) -> float:
        """One look; when the next is due, if nobody writes before."""
        now = asyncio.get_running_loop().time
        for flow in [flow for flow, task in self._running.items() if task.done()]:
            del self._running[flow]
            self._due[flow] = now() + flow.every
        due = [flow for flow, at in self._due.items() if at <= now() and flow not in self._running]
        asked, found = await asyncio.to_thread(self._asked, due)
        for flow in asked:
            self._due[flow] = now() + flow.every
        for flow in found:
            self._running[flow] = asyncio.create_task(self._run_flow(flow))
        if self._running:
            return 0.0
        awake = (at for flow, at in self._due.items() if self._idle.get(flow, _NEVER)[0] != self._version)
        return min(awake, default=math.inf)

    def _asked(self, due: Sequence[Flow]) -> tuple[Sequence[Flow], Sequence[Flow]]:
        """Those that were asked, and of these the ones that have something to do. Everybody hears of it if somebody has
        written."""
        try:
            version = self._world.db.version()
        except Failed:  # the looks will say so; nothing that was known before may be relied on
            version = None
        if version != self._version:
            self._version = version
            self._world.bell.ring()
        now = self._world.clock()
        asked = [flow for flow in due if not self._is_idle(flow, now)]
        return asked, self._found(asked)

    def _is_idle(self, flow: Flow, now: datetime) -> bool:
        version, seen, until = self._idle.get(flow, _NEVER)
        return version is not None and version == self._version and until > now and seen == flow.glance()

    def _found(self, flows: Sequence[Flow]) -> list[Flow]:
        """Those that have something to do, asked in one read; one whose look fails is asked again at its next time."""
        left, found = list(flows), []
        while left:
            try:
                with self._world.read() as connection:
                    while left:
                        flow = left.pop(0)
                        now, seen = self._world.clock(), flow.glance()
                        self._idle.pop(flow, None)
                        if flow.find(connection, now):
                            found.append(flow)
                        elif not flow.find(connection, now + _AHEAD):
                            self._idle[flow] = self._version, seen, now + _AHEAD
            except Exception as error:  # noqa: BLE001 (as below; the others are asked in a read of their own)
                logger.warning("a look failed, trying again", flow=flow.name, error=repr(error))
        return found

    async def _run_flow(self, flow: Flow) -> None:
        try:
            while await asyncio.to_thread(durable.run_due, self._world, flow, self._holder):
                self._world.bell.ring()  # and again at once: a step often makes the next one due
        except Exception as error:  # noqa: BLE001 (the next step starts from state and facts)
            logger.warning("a step failed, trying again", flow=flow.name, error=repr(error))
