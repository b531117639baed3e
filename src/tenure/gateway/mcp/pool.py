"""How many child processes a gateway runs at most: those that nobody uses make room for those that somebody needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tenure.base import log
from tenure.kernel.errors import Failed

if TYPE_CHECKING:
    from tenure.gateway.mcp.upstream import Server

_log = log.get("gateway.mcp")


class Pool:
    """``most`` processes. One who needs a further one waits at most ``wait_s`` seconds until one is idle."""

    def __init__(self, most: int, wait_s: float) -> None:
        self._most = most
        self._wait_s = wait_s
        self._held: dict[Server, None] = {}
        self._bell: asyncio.Future[None] | None = None

    async def take(self, server: Server) -> None:
        """Gives ``server`` a place for its process; the idle one that was used least recently loses its own. Raises
        Failed (upstream_busy) when all are at work."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait_s
        while server not in self._held and len(self._held) >= self._most:
            idle = [held for held in self._held if held.idle]
            if idle:
                victim = min(idle, key=lambda held: held.used)
                del self._held[victim]
                self._held[server] = None
                _log.info("mcp_server_rests", server=victim.name)
                await victim.rest()
                return
            if loop.time() >= end:
                text = f"All {self._most} processes that this gateway runs for MCP servers are at work."
                raise Failed("upstream_busy", f"{text} TENURE_MCP_PROCESSES is how many there are.", retry=True)
            if self._bell is None or self._bell.done():
                self._bell = loop.create_future()
            await asyncio.wait([self._bell], timeout=end - loop.time())
        self._held[server] = None

    def leave(self, server: Server) -> None:
        """The process of ``server`` has ended."""
        self._held.pop(server, None)
        self.ring()

    def ring(self) -> None:
        """A server may have become idle."""
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)
