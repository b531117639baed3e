"""How many calls are under way at an upstream at once, and who waits for one of them to end."""

from __future__ import annotations

import asyncio
from collections import deque
from urllib.parse import urlsplit

from tenure.gateway.upstream import UpstreamError
from tenure.kernel.snapshot import Concurrency, Upstream


class _Gate:
    """One upstream. ``waiting``: how many at once each of those that wait would be content with, oldest first."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def wake(self) -> None:
        """Lets in whom the limit that it brought along allows; one that is stricter than another's keeps waiting."""
        for waiter in tuple(self.waiting):
            calls, turn = waiter
            if self.running < calls:
                self.waiting.remove(waiter)
                if not turn.done():
                    self.running += 1
                    turn.set_result(None)


class Slots:
    """Limits are those of the agents' manifests. Calls without one are neither counted nor kept waiting."""

    def __init__(self) -> None:
        self._gates: dict[Upstream, _Gate] = {}

    async def enter(self, upstream: Upstream, limit: Concurrency) -> None:
        """Returns when one more call may be under way; ``leave`` must follow. Raises UpstreamError (busy) when too many
        wait already, or when none has ended in time."""
        gate = self._gates.get(upstream)
        if gate is None:
            gate = self._gates[upstream] = _Gate()
        if gate.running < limit.calls:
            gate.running += 1
            return
        shown = f"{gate.running} calls are under way at {urlsplit(upstream.base_url).netloc}"
        if len(gate.waiting) >= limit.queue:
            raise UpstreamError("busy", f"{shown} and {len(gate.waiting)} wait already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (limit.calls, turn)
        gate.waiting.append(waiter)
        try:
            await asyncio.wait((turn,), timeout=limit.wait_s)
        except asyncio.CancelledError:
            self._give_up(upstream, gate, waiter)
            raise
        if not turn.done():
            self._give_up(upstream, gate, waiter)
            raise UpstreamError("busy", f"{shown}, and none of them ended within {limit.wait_s:g} s")

    def _give_up(self, upstream: Upstream, gate: _Gate, waiter: tuple[int, asyncio.Future[None]]) -> None:
        if waiter[1].done():  # its turn came in the moment in which it was given up
            self.leave(upstream)
        else:
            waiter[1].cancel()
            gate.waiting.remove(waiter)

    def leave(self, upstream: Upstream) -> None:
        """A call that had entered has ended, however it did."""
        gate = self._gates[upstream]
        gate.running -= 1
        gate.wake()
        if gate.running == 0 and not gate.waiting:
            del self._gates[upstream]
