"""What one upstream server is subscribed to, for all agents at once, and who is told of its changes.

However many agents listen, the server has one subscription to each resource. It is made anew when the server has
started again or its stream broke off; as something may have changed meanwhile, all are then told to look.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from tenure.gateway.mcp.connection import CHANGES, UPDATED, Connection, Limits
from tenure.kernel.errors import Failed
from tenure.kernel.json import JsonObject

Listener: TypeAlias = Callable[[str, JsonObject], None]
"""Given the method of a change notification and its params. Must not raise."""


class Watch:
    """``connect`` opens the server's connection where ``present`` has none. ``eager``: also for those who only listen,
    once the server was needed for something else."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        present: Callable[[], Connection | None],
        limits: Limits,
        *,
        eager: bool,
    ) -> None:
        self._connect = connect
        self._present = present
        self._limits = limits
        self._eager = eager
        self._listeners: dict[Listener, None] = {}
        self._uris: Counter[str] = Counter()
        self._lock = asyncio.Lock()
        self._on: Connection | None = None  # where the subscriptions of the last time were made
        self._made: frozenset[str] | None = None
        self._taken: Mapping[str, str] = {}
        self._blind = False  # something may have been missed
        self._keeper: asyncio.Task[None] | None = None
        self._known = False  # it has been connected once

    @property
    def pinned(self) -> bool:
        """Whether somebody waits for changes of a resource, for which the server has to run."""
        return bool(self._uris)

    def listen(self, listener: Listener) -> None:
        """Tells ``listener`` of every change, from now on or from the next start of the server on."""
        self._listeners[listener] = None
        if self._known:
            self._later()

    def leave(self, listener: Listener) -> None:
        """The opposite of ``listen``."""
        self._listeners.pop(listener, None)

    async def subscribe(self, uri: str) -> None:
        """Has the server tell of changes of ``uri``; to be undone by ``release``. Raises Failed when it does not."""
        self._uris[uri] += 1
        try:
            try:
                taken = await self._make(await self._connect())
            except Failed as error:
                if error.code != "upstream_session_lost":
                    raise
                taken = await self._make(await self._connect())
        except BaseException:
            self.release(uri)
            raise
        if problem := taken.get(uri, "The server takes no subscription to it."):
            self.release(uri)
            raise Failed("upstream_refused", problem)

    def release(self, uri: str) -> None:
        """One who subscribed to ``uri`` does not want it any more."""
        self._uris[uri] -= 1
        if self._uris[uri] <= 0:
            del self._uris[uri]
            self._later()

    def tell(self, method: str, params: JsonObject) -> None:
        """Passes on what the server told."""
        for listener in tuple(self._listeners):
            listener(method, params)

    def connected(self) -> None:
        """The server has been started, for whatever reason."""
        self._known = True
        if self._listeners or self._uris:
            self._later()

    def lost(self) -> None:
        """Its connection, or the stream on which it tells of changes, has ended."""
        self._made = None
        if self._listeners or self._uris:
            self._blind = True
            self._later()

    def asleep(self) -> None:
        """The server was stopped because nobody used it: what it would have told is not missed."""
        self._made, self._blind, self._known = None, False, False

    async def stop(self) -> None:
        """Nothing is watched any more."""
        self._listeners.clear()
        self._uris.clear()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _make(self, connection: Connection) -> Mapping[str, str]:
        """Makes the server's subscriptions what is wanted."""
        async with self._lock:
            wanted = frozenset(self._uris)
            if connection is not self._on or self._made != wanted:
                self._made = None
                self._taken = await connection.watch(wanted)
                self._on, self._made = connection, wanted
                if self._blind:
                    self._blind = False
                    self._tell_all(wanted)
            return self._taken

    def _tell_all(self, uris: frozenset[str]) -> None:
        for method in CHANGES:
            self.tell(method, {})
        for uri in uris:
            self.tell(UPDATED, {"uri": uri})

    def _later(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Brings the server's subscriptions up to date; with growing pauses, for as long as that fails and somebody
        wants it."""
        pause, most = self._limits.backoff_s
        while self._made != frozenset(self._uris):
            needed = bool(self._uris) or (bool(self._listeners) and self._eager and self._known)
            connection = self._present()
            if connection is None and not needed:
                return
            try:
                await self._make(connection or await self._connect())
            except Failed as error:
                if error.code == "upstream_refused" or not needed:
                    return  # it offers no subscriptions
                await asyncio.sleep(pause)
                pause = min(most, pause * 2.0)
