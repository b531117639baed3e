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

from tenure.app.lookout import Lookout
from tenure.app.publish import Publisher
from tenure.base import events, log
from tenure.base.room import Room, World

logger = log.get("engine")

_TURNS = 8
"""So many batches the consumers take before the facts are looked at: however much is before them, a suspension or a
tool that was switched off does not wait behind."""
_REACT_S = 0.025
_SHARE = 3
"""A loop works for a third of the time at most, unless it would pause for longer than four times what it may."""
_PUMP_S = 0.25
"""Whoever reads the trace store brings it up to date before, so nothing is missed meanwhile."""
_PATIENCE_S = (0.5, 5.0)
"""Between two looks while no bell rings, at first and at last: what could not be done, or had to wait for a while, is
tried again soon, and an installation that has nothing to do comes to rest."""
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
        self._spawn(Lookout(self._world, [flow for room in self._rooms for flow in room.flows], self._holder).run())

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
        patience, longest = _PATIENCE_S
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
                rang = await self._world.bell.wait(flag, patience)
                patience = _PATIENCE_S[0] if rang else min(patience * 2, longest)
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
