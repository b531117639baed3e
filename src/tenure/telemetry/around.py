"""The Events that name no trace and may have their place in one (``beside``), looked up."""

from __future__ import annotations

from dataclasses import replace

from tenure.kernel.values import Event
from tenure.telemetry.beside import AFTER, BEFORE, CHANGES, LOGIN, REQUESTS, Run, asker
from tenure.telemetry.traces.interface import TraceStore, Which

MOST = 500
"""The most changes that are looked at for one trace, the first first: a trace of a month may have met thousands."""
_NAMES = 1000  # the most agents, and instances, that are asked about


def around(store: TraceStore, workspace: str, run: Run | None) -> list[Event]:
    """Those that may concern a trace, in no order. All of it is asked for by time, so that what is read does not grow
    with the store."""
    if run is None:
        return []
    found: list[Event] = []
    before = Which(workspace=workspace, untraced=True, since=run.began - BEFORE, until=run.began)
    if run.first:
        asked = replace(before, types=REQUESTS, instances=sorted(run.first)[:_NAMES])
        found = [logged.event for logged in store.newest(asked, MOST)]
        if who := asker(found):
            found += [one.event for one in store.newest(replace(before, type=LOGIN, actor=who), 1)]
    meanwhile = replace(before, since=run.began, until=run.ended + AFTER, types=sorted(CHANGES))
    changes = store.events(replace(meanwhile, about=sorted(run.agents)[:_NAMES]), MOST)
    return [*found, *(logged.event for logged in changes)]
