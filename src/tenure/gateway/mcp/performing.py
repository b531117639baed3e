"""Prepared calls that people have told the gateways to make: claimed, so that one gateway makes each, and made once."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

from tenure.base import log
from tenure.gateway.mcp.calls import ToolCalls
from tenure.gateway.pipeline import Pipeline
from tenure.kernel.drafts import DraftFact
from tenure.kernel.ids import new_id
from tenure.kernel.json import digest
from tenure.kernel.values import Event

_log = log.get("gateway")
_AGAIN_S = 2.0  # a claim that was not heard is made again; a second one of the same gateway harms nothing


class Performing:
    """One for the process. ``name`` of this gateway's run: what another run has claimed is never made here."""

    def __init__(self, pipeline: Pipeline, calls: ToolCalls) -> None:
        self._pipeline = pipeline
        self._calls = calls
        self._name = new_id()
        self._begun: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follows the facts until it is cancelled; then what is under way is cancelled as well, and recorded so."""
        try:
            while True:
                changed = self._pipeline.facts.bell()
                waits = self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_S if waits else None):
                        await asyncio.shield(changed)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look(self) -> bool:
        """One look at the facts; says whether a claim waits for its answer."""
        snapshot = self._pipeline.facts.current
        drafts = snapshot.drafts if snapshot is not None else {}
        self._begun &= drafts.keys()
        waits = False
        for fact in drafts.values():
            if fact.state == "released":
                waits = True
                self._claim(fact)
            elif fact.claim == self._name and fact.id not in self._begun:
                self._begun.add(fact.id)
                if digest(fact.arguments) != fact.digest:
                    _log.error("a prepared call is not the one that was to be made", draft=fact.id)
                    continue
                task = asyncio.create_task(self._calls.perform(fact))
                self._tasks.add(task)
                task.add_done_callback(self._done)
        return waits

    def _claim(self, fact: DraftFact) -> None:
        event = Event(
            id=new_id(),
            type="draft.claimed",
            time=datetime.now(UTC),
            workspace=fact.workspace,
            actor="system:gateway",
            agent=fact.principal.agent,
            trace_id=fact.trace_id or None,
            span_id=fact.parent or None,
            data={"draft": fact.id, "claim": self._name, "resource": fact.resource},
        )
        self._pipeline.spool.append(event, urgent=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a prepared call came to no end", problem=repr(error))
