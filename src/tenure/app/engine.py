"""What the control plane does between requests: consumers, the trace store's pump, Flows, and the Snapshot.

Several loops, so that a slow one never delays a fast one: what the gateways wait for (approvals, breaker, facts) must
not queue behind the trace store. A stop waits for none of them. Each loop survives its own errors: it reports and tries
again.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from tenure.app.publish import Publisher
from tenure.base import durable, events, log
from tenure.base.room import Flow, Room, World

logger = log.get("engine")

_TURNS = 8
"""So many batches the consumers take before the facts are looked at: however much is before them, a suspension or a
tool that was switched off does not wait behind."""
_REACT_S = 0.025
_SHARE = 3
"""A loop works for a third of the time at most, unless it would pause for longer than four times what it may."""
_PUMP_S = 0.25
"""Whoever reads the trace store brings it up to date before, so nothing is missed meanwhile."""
_LOOK_S = 0.25
"""How often it is looked whose time has come: often enough for the shortest, and together, since a look costs as much
for one Flow as for ten."""
_UNSETTLED = -1
"""Instead of the number of the Event up to which all is done: something is left to do, whether there is news or not."""


class Engine:
    """Runs the rooms' background work on the running event loop, database work in threads."""

    def __init__(self, world: World, rooms: Sequence[Room], publisher: Publisher) -> None:
        self._world = world
        self._rooms = rooms
        self._publisher = publisher
        self._tasks: list[asyncio.Task[None]] = []
        self._settled = _UNSETTLED
        self._holder = f"{socket.gethostname()}:{os.getpid()}"

    def start(self) -> None:
        """Begins every loop."""
        loop = asyncio.get_running_loop()

        def stop_now() -> None:
            if self._publisher.stop():
                loop.call_soon_threadsafe(self._publisher.announce)

        self._world.alarm.attach(stop_now)
        self._spawn(self._on_news(self._react, _REACT_S))
        pumps = [room.pump for room in self._rooms if room.pump]
        for pump in pumps:
            self._spawn(self._on_news(partial(self._until_dry, pump), _PUMP_S))
        self._spawn(self._look([flow for room in self._rooms for flow in room.flows]))

    async def stop(self) -> None:
        """Ends every loop after the step it is in."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(coroutine))

    async def _on_news(self, work: Callable[[], Awaitable[None]], every: float) -> None:
        """Does the work when there is news: at once after a pause, and then no more often than every ``every`` seconds,
        more seldom when it takes long: a turn costs as much for one Event as for a hundred."""
        now = asyncio.get_running_loop().time
        flag = self._world.bell.attach()
        pause = 0.5
        try:
            while True:
                begun = now()
                try:
                    await work()
                    pause = 0.5
                except Exception as error:  # noqa: BLE001 (a loop that dies would stop enforcement silently)
                    logger.warning("background work failed, trying again", error=repr(error), pause_s=pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 10.0)
                took = now() - begun
                await self._world.bell.wait(flag)
                # What takes long is done less often: more gathers for each turn, and others have the machine meanwhile.
                if (early := begun + max(every, min(_SHARE * took, 4 * every)) - now()) > 0:
                    await asyncio.sleep(early)
                    flag.clear()  # it is looked at all that is new
        finally:
            self._world.bell.detach(flag)

    async def _react(self) -> None:
        if await asyncio.to_thread(self.settle):
            self._publisher.announce()

    def settle(self, *, wholly: bool = False) -> bool:
        """Lets every consumer take what is new, then the Snapshot; says whether a fact changed. A consumer that fails
        is asked again later, and holds up neither the others nor a suspension on its way to the gateways; nor does one
        that has much before it, unless ``wholly``."""
        with self._world.read() as connection:
            if events.head(connection) == self._settled:
                return False
        waiting = [consumer for room in self._rooms for consumer in room.consumers]
        turns, failed = 0, False
        while True:
            turn = events.take_turn(self._world.db, waiting)
            turns += 1
            for name, error in turn.failed.items():
                logger.warning("a consumer failed, trying again", consumer=name, error=repr(error))
                failed = True
            waiting = [consumer for consumer in waiting if consumer.name not in turn.failed]
            if not turn.more or (turns >= _TURNS and not wholly):
                break
        newest, again = _UNSETTLED if failed else turn.upto, turn.more
        changed = self._publisher.refresh()
        self._settled = _UNSETTLED if again else newest
        with self._world.read() as connection:
            again = again or newest not in (_UNSETTLED, events.head(connection))
        if again:  # for the next turn, and for whoever else wants to know what a consumer told
            self._world.bell.ring()
        return changed

    async def _until_dry(self, pump: Callable[[World], int]) -> None:
        while await asyncio.to_thread(pump, self._world):
            pass

    async def _look(self, flows: Sequence[Flow]) -> None:
        """Looks which Flows have something to do, those whose time has come together, and lets these run beside each
        other: a slow step holds up no other Flow, and what has nothing to do costs one query."""
        now = asyncio.get_running_loop().time
        due = dict.fromkeys(flows, 0.0)
        running: dict[Flow, asyncio.Task[None]] = {}
        try:
            while True:
                for flow in [flow for flow, task in running.items() if task.done()]:
                    del running[flow]
                    due[flow] = now() + flow.every
                wanted = [flow for flow in flows if flow not in running and due[flow] <= now()]
                found = await asyncio.to_thread(self._found, wanted) if wanted else ()
                for flow in wanted:
                    due[flow] = now() + flow.every
                for flow in found:
                    running[flow] = asyncio.create_task(self._run_flow(flow))
                await asyncio.sleep(_LOOK_S)
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    def _found(self, flows: Sequence[Flow]) -> list[Flow]:
        """Those that have something to do, asked in one read; one whose look fails is asked again at its next time."""
        left, found = list(flows), []
        while left:
            try:
                with self._world.read() as connection:
                    while left:
                        flow = left.pop(0)
                        if flow.find(connection, self._world.clock()):
                            found.append(flow)
            except Exception as error:  # noqa: BLE001 (as below; the others are asked in a read of their own)
                logger.warning("a look failed, trying again", flow=flow.name, error=repr(error))
        return found

    async def _run_flow(self, flow: Flow) -> None:
        try:
            while await asyncio.to_thread(durable.run_due, self._world, flow, self._holder):
                self._world.bell.ring()  # and again at once: a step often makes the next one due
        except Exception as error:  # noqa: BLE001 (the next step starts from state and facts)
            logger.warning("a step failed, trying again", flow=flow.name, error=repr(error))
