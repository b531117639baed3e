"""The newest lines of the live feed, made once in this process for all who listen.

Lines are made from the event log and never from the trace store: what is durable is shown, however slow the store is.
While nobody listens nothing is read and nothing is kept.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from tenure.base import events as log
from tenure.base import log as logs
from tenure.base.events import Logged
from tenure.base.room import World
from tenure.kernel.values import Event, Status
from tenure.telemetry.words import feed_item

KEPT = 4_000
"""Lines that are kept for whoever comes back after a moment; who was away for longer is read to from the log."""
BATCH = 1_000
_LOOK_S = 0.25  # for what another process appended: it rings no bell here
_PAUSE_S = 1.0
_encode = msgspec.json.Encoder().encode
_logger = logs.get("feed")


@dataclass(frozen=True, slots=True)
class Line:
    """One Event as it goes over the wire: ``item`` is its FeedItem as JSON, made once for all who listen."""

    seq: int
    workspace: str
    agent: str | None
    type: str
    status: Status
    item: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody listens for, in their own workspace."""

    workspace: str
    agent: str | None = None
    type: str | None = None
    status: Status | None = None

    def has(self, one: Line | Event) -> bool:
        """Whether a line, or an Event, is among it."""
        return (
            one.workspace == self.workspace
            and self.agent in (None, one.agent)
            and self.type in (None, one.type)
            and self.status in (None, one.status)
        )


def line(logged: Logged) -> Line:
    """The line of an Event."""
    seq, event = logged.seq, logged.event
    return Line(seq, event.workspace, event.agent, event.type, event.status, _encode(feed_item(seq, event)))


def message(lines: Sequence[Line], *, together: bool) -> bytes:
    """Lines as server-sent events: one each, or one for all of them, with a JSON array as its data and the last one's
    number as its id. Empty for none."""
    if together and lines:
        return b"id: %d\ndata: [%s]\n\n" % (lines[-1].seq, b",".join(one.item for one in lines))
    return b"".join(b"id: %d\ndata: %s\n\n" % (one.seq, one.item) for one in lines)


class Tail:
    """For one control plane and one event loop. ``listening`` keeps it going."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._lines: list[Line] = []
        self._numbers: list[int] = []
        self._from = 0  # the number of the last Event that is not in it any more
        self._upto = 0
        self._wake: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.Event]:
        """A flag that is set when there are new lines; the tail goes on while anybody has one."""
        flag = asyncio.Event()
        self._wake.add(flag)
        if self._task is None:
            self._ready.clear()
            self._task = asyncio.create_task(self._run())
        try:
            await self._ready.wait()
            yield flag
        finally:
            self._wake.discard(flag)
            if not self._wake:
                self._task.cancel()
                self._task = None

    def after(self, seq: int) -> Sequence[Line] | None:
        """The lines after a number, in order; None when the tail does not reach so far back."""
        if seq < self._from:
            return None
        return self._lines[bisect_right(self._numbers, seq) :]

    @property
    def upto(self) -> int:
        """The number of the newest Event that was read."""
        return self._upto

    def _head(self) -> int:
        with self.world.read() as connection:
            return log.head(connection)

    def _read(self) -> list[Line]:
        with self.world.read() as connection:
            batch = log.read(connection, self._upto, BATCH)
        return [line(logged) for logged in batch]

    async def _run(self) -> None:
        self._lines, self._numbers = [], []
        loop, flag = asyncio.get_running_loop(), self.world.bell.attach()
        # A thread of its own: what the server does for pages and rooms may take every thread that they share.
        thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        try:
            self._from = self._upto = await loop.run_in_executor(thread, self._head)
            self._ready.set()
            while not self.world.bell.closed:
                try:
                    fresh = await loop.run_in_executor(thread, self._read)
                except Exception as error:  # noqa: BLE001 (a database that is away comes back; who listens waits)
                    _logger.warning("feed_not_read", problem=repr(error))
                    await asyncio.sleep(_PAUSE_S)
                    continue
                self._take(fresh)
                if len(fresh) < BATCH:
                    await self.world.bell.wait(flag, _LOOK_S)
        finally:
            self._ready.set()
            for one in self._wake:
                one.set()
            self.world.bell.detach(flag)
            thread.shutdown(wait=False)

    def _take(self, fresh: list[Line]) -> None:
        if not fresh:
            return
        self._upto = fresh[-1].seq
        self._lines += fresh
        self._numbers += [one.seq for one in fresh]
        if len(self._lines) > 2 * KEPT:
            self._forget(len(self._lines) - KEPT)
        if any(one.type == "content.erased" for one in fresh):  # what was said before may be about whoever it was
            self._forget(len(self._lines) - len(fresh))
        for flag in self._wake:
            flag.set()

    def _forget(self, count: int) -> None:
        if count > 0:
            self._from = self._numbers[count - 1]
            del self._lines[:count], self._numbers[:count]


_tails: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Path, Tail]] = WeakKeyDictionary()


def tail_of(world: World) -> Tail:
    """The tail of this world for the running event loop."""
    here = _tails.setdefault(asyncio.get_running_loop(), {})
    folder = world.config.data_dir.resolve()
    if folder not in here or here[folder].world is not world:
        here[folder] = Tail(world)
    return here[folder]
