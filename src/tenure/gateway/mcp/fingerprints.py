"""Definitions that the control plane has not heard of: telling it, waiting for its word, and looking ahead.

Whether a tool may be called under the definition that its server gives now is policy's to say, from the pin in the
facts; here it is only made sure that what is seen is told, often enough and never without bound.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from tenure.gateway.mcp.attempt import Attempts
from tenure.gateway.mcp.tools import Tool
from tenure.gateway.pipeline import Pipeline
from tenure.kernel.errors import Failed
from tenure.kernel.ids import new_id
from tenure.kernel.snapshot import AgentFact, ToolFact
from tenure.kernel.values import Event, LifecycleState, Status

SETTLE_S = 2.0
"""How long a call waits for the control plane to hear of a tool that it did not know."""
_TOLD_PER_HOUR = 5
"""Of one tool of one agent: a server that describes it otherwise at each list is not worth more."""
_AGAIN_S = 30.0
_TOLD_KEPT = 20_000
_DEFINITION_BYTES = 128 << 10
_LOOK_AT_ONCE = 2
_LOOK_AGAIN_S = 10.0
_LOOK_PAUSE_S = 0.2
_ACTING = frozenset({LifecycleState.STAGING, LifecycleState.PRODUCTION, LifecycleState.DRAINING})


@dataclass(slots=True)
class _Told:
    digest: str = ""
    at: list[float] = field(default_factory=list)


class Fingerprints:
    """One for the whole process."""

    def __init__(self, pipeline: Pipeline, attempts: Attempts) -> None:
        self._facts = pipeline.facts
        self._spool = pipeline.spool
        self._attempts = attempts
        self._told: OrderedDict[tuple[str, str, str, str], _Told] = OrderedDict()
        self._looked: dict[tuple[str, str, str], tuple[list[str], float]] = {}

    def unsettled(self, fact: ToolFact, tool: Tool) -> bool:
        """Whether there is anything to tell of a tool, or to wait for."""
        pin = fact.pin
        known = pin is not None and pin.digest == tool.fingerprint.digest and bool(pin.parts) and not fact.seen
        return not known and fact.seen != tool.fingerprint.digest

    async def settle(self, agent: AgentFact, offers: Iterable[tuple[ToolFact, Tool]]) -> None:
        """Tells the control plane what it does not know of ``offers``, and waits a moment for its word on those that
        are not pinned at all. Returns in any case; what is not pinned by then is refused."""
        waits: list[tuple[str, str]] = []
        for fact, tool in offers:
            if self.unsettled(fact, tool):
                self._tell(agent, fact, tool)
                if fact.pin is None:
                    waits.append((fact.server, fact.name))
        if not waits:
            return
        try:
            async with asyncio.timeout(SETTLE_S):
                while self._unheard(agent, waits):
                    await self._facts.changed()
        except TimeoutError:
            return

    def _unheard(self, agent: AgentFact, waits: Iterable[tuple[str, str]]) -> bool:
        snapshot = self._facts.current
        now = snapshot.agents.get(f"{agent.workspace}/{agent.name}") if snapshot is not None else None
        found = {(fact.server, fact.name): fact for fact in now.tools} if now is not None else {}
        return any(place in found and found[place].pin is None and not found[place].seen for place in waits)

    def _tell(self, agent: AgentFact, fact: ToolFact, tool: Tool) -> None:
        key, now, digest = (
            (agent.workspace, agent.name, fact.server, fact.name),
            time.monotonic(),
            tool.fingerprint.digest,
        )
        told = self._told.setdefault(key, _Told())
        self._told.move_to_end(key)
        if len(self._told) > _TOLD_KEPT:
            self._told.popitem(last=False)
        told.at = [at for at in told.at if now - at < 3600]
        if (told.digest == digest and told.at and now - told.at[-1] < _AGAIN_S) or len(told.at) >= _TOLD_PER_HOUR:
            return
        told.digest = digest
        told.at.append(now)
        text = msgspec.json.encode(tool.definition).decode()
        whole = {"definition": text} if len(text) <= _DEFINITION_BYTES else {"definition.bytes": len(text)}
        self._spool.append(
            Event(
                id=new_id(),
                type="tool.seen",
                time=datetime.now(UTC),
                workspace=agent.workspace,
                actor="system:gateway",
                agent=agent.name,
                release=agent.release,
                status=Status.ALLOWED,
                data={"server": fact.server, "tool": fact.name, "fingerprint": digest, **whole},
            ),
            urgent=True,
        )

    async def look_ahead(self) -> None:
        """Lists the servers of agents that were put to work and have tools that nobody has seen yet, until it is
        cancelled: so that a person who decides can read what the tools say before the first call."""
        room = asyncio.Semaphore(_LOOK_AT_ONCE)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                for agent, server in list(self._unseen()):
                    task = asyncio.create_task(self._look(room, agent, server))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                with suppress(TimeoutError):  # a server that was down may be back
                    async with asyncio.timeout(_LOOK_AGAIN_S):
                        await self._facts.changed()
                await asyncio.sleep(_LOOK_PAUSE_S)  # facts change in bursts
        finally:
            for task in tasks:
                task.cancel()

    def _unseen(self) -> Iterator[tuple[AgentFact, str]]:
        snapshot, now = self._facts.current, time.monotonic()
        for agent in snapshot.agents.values() if snapshot is not None else ():
            if agent.state not in _ACTING:
                continue
            unseen: dict[str, list[str]] = {}
            for fact in agent.tools:
                if fact.pin is None and not fact.seen:
                    unseen.setdefault(fact.server, []).append(fact.name)
            for_people = {server.name for server in agent.servers if server.connector}  # and nobody asks yet
            for server, names in unseen.items():
                if server in for_people:
                    continue
                key = (agent.workspace, agent.name, server)
                before, at = self._looked.get(key, ([], now))
                if not set(names) <= set(before) or now - at >= _LOOK_AGAIN_S:
                    self._looked[key] = (names, now)
                    yield agent, server

    async def _look(self, room: asyncio.Semaphore, agent: AgentFact, name: str) -> None:
        server = self._attempts.server(agent, name)
        if server is None:
            return
        async with room:
            try:
                listed = await server.tools()
            except Failed:
                return  # it is looked for again later, and at the first call
        found = ((fact, listed.get(fact.name)) for fact in agent.tools if fact.server == name)
        await self.settle(agent, [(fact, tool) for fact, tool in found if tool is not None])
