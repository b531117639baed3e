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
"""Between two looks while there is something to do: often enough for the shortest ``Flow.every``."""
_REST_S = 0.25
"""So much longer while there is nothing: what other processes write is found within the sum of both."""
_AHEAD = timedelta(seconds=30)
_NEVER = None, datetime.min.replace(tzinfo=UTC)


class Lookout:
    """Looks after ``flows``; steps are taken under leases that ``holder`` takes."""

    def __init__(self, world: World, flows: Sequence[Flow], holder: str) -> None:
        self._world = world
        self._flows = tuple(flows)
        self._holder = holder
        self._due = dict.fromkeys(self._flows, 0.0)
        self._idle: dict[Flow, tuple[Hashable, datetime]] = {}
        """Those that have nothing to do until that time, as far as the database of that version says."""
        self._version: Hashable = None
        self._running: dict[Flow, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Goes on until it is cancelled. A slow step holds up no other Flow."""
        flag = self._world.bell.attach()
        try:
            while True:
                next_due = await self.look()
                await asyncio.sleep(_STEP_S)
                rest = min(next_due - asyncio.get_running_loop().time(), _REST_S)
                if rest > 0:
                    await self._world.bell.wait(flag, rest)
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
        version = await asyncio.to_thread(self._asked)
        if version != self._version:
            self._version = version
            self._world.bell.ring()
        wanted = [flow for flow in self._awake() if self._due[flow] <= now()]
        found = await asyncio.to_thread(self._found, wanted) if wanted else ()
        for flow in wanted:
            self._due[flow] = now() + flow.every
        for flow in found:
            self._running[flow] = asyncio.create_task(self._run_flow(flow))
        return 0.0 if self._running else min((self._due[flow] for flow in self._awake()), default=math.inf)

    def _awake(self) -> list[Flow]:
        return [flow for flow in self._flows if flow not in self._running and not self._is_idle(flow)]

    def _asked(self) -> Hashable:
        try:
            return self._world.db.version()
        except Failed:  # the looks will say so; nothing that was known before may be relied on
            return None

    def _is_idle(self, flow: Flow) -> bool:
        version, until = self._idle.get(flow, _NEVER)
        return version is not None and version == self._version and until > self._world.clock()

    def _found(self, flows: Sequence[Flow]) -> list[Flow]:
        """Those that have something to do, asked in one read; one whose look fails is asked again at its next time."""
        left, found = list(flows), []
        while left:
            try:
                with self._world.read() as connection:
                    while left:
                        flow = left.pop(0)
                        now = self._world.clock()
                        self._idle.pop(flow, None)
                        if flow.find(connection, now):
                            found.append(flow)
                        elif not flow.outward and not flow.find(connection, now + _AHEAD):
                            self._idle[flow] = self._version, now + _AHEAD
            except Exception as error:  # noqa: BLE001 (as below; the others are asked in a read of their own)
                logger.warning("a look failed, trying again", flow=flow.name, error=repr(error))
        return found

    async def _run_flow(self, flow: Flow) -> None:
        try:
            while await asyncio.to_thread(durable.run_due, self._world, flow, self._holder):
                self._world.bell.ring()  # and again at once: a step often makes the next one due
        except Exception as error:  # noqa: BLE001 (the next step starts from state and facts)
            logger.warning("a step failed, trying again", flow=flow.name, error=repr(error))
