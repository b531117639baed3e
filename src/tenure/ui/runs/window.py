"""A long trace a window at a time: which rows are shown, and a drawn trace kept while somebody scrolls."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.ui.gate import Api
from tenure.ui.model import items
from tenure.ui.runs import waterfall
from tenure.ui.runs.rows import Row, Trace

ROWS = 200
"""Rows of a page: what is drawn before anything is scrolled, and all that a browser without scripts shows at once."""
PIECE = 50
"""Rows that are asked for at once while scrolling; ``ROWS`` is a multiple of it."""
RESETS = 200  # of an agent, the newest, among which those of a trace's trips are looked for
KEPT = 4
KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """A trace as it was drawn, and whether somebody judged its run a failure."""

    trace: Trace
    failed: bool


@dataclass(slots=True)
class Shelf:
    """The last traces that were drawn, for a minute: drawing 10,000 rows for each piece that comes into sight would
    cost as much each time. What was drawn for one person is given to nobody else, nor to the same person after a
    change of what they may do; whoever asks has been let in again before (``me``)."""

    found: OrderedDict[str, tuple[float, Drawn]] = field(default_factory=OrderedDict)

    def get(self, key: str) -> Drawn | None:
        """What was drawn under a key within the last minute."""
        kept = self.found.get(key)
        return kept[1] if kept and kept[0] > time.monotonic() else None

    def put(self, key: str, drawn: Drawn) -> None:
        """Keeps what was drawn; the oldest goes."""
        self.found[key] = (time.monotonic() + KEPT_S, drawn)
        self.found.move_to_end(key)
        while len(self.found) > KEPT:
            self.found.popitem(last=False)


_shelf = Shelf()


def _key(api: Api, me: JsonObject, trace_id: str) -> str:
    told = json.dumps([api.cookie, me, trace_id], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


async def drawn_again(api: Api, trace_id: str) -> Drawn:
    """A trace for somebody who scrolls in it: as it was drawn for them within the last minute, or anew."""
    me = await api.get("/v1/me")
    return _shelf.get(_key(api, me, trace_id)) or await drawn(api, me, trace_id)


async def drawn(api: Api, me: JsonObject, trace_id: str) -> Drawn:
    """A trace with its approvals and what ended its trips. Raises Refused for one that nothing is known of."""
    answer = await api.get(f"/v1/traces/{trace_id}", decisions="false", retries="false")
    spans = items(answer, "spans")
    waits = await asyncio.gather(*(api.maybe(f"/v1/approvals/{one}") for one in waterfall.approval_ids(spans)[:50]))
    approvals = [found.get("approval", found) for found in waits if isinstance(found, Mapping)]
    agents = waterfall.tripped_agents(spans)
    resets = await asyncio.gather(
        *(api.maybe("/v1/events", agent=agent, type="breaker.reset", limit=RESETS, content="false") for agent in agents)
    )
    shown = {span.get("event") for span in spans}
    told = [entry["event"] for found in resets for entry in items(found, "events")]
    told = [event for event in told if event.get("id") not in shown]
    # In a thread: 10,000 rows take a second, in which everybody else's pages would wait.
    everything = [*spans, *waterfall.resets_of(spans, told)]
    trace = await asyncio.to_thread(waterfall.draw, trace_id, everything, approvals)
    if trace is None:
        raise Refused("no_such_trace", f"There is no trace {trace_id}, or nothing of it has arrived yet.", status=404)
    trace = replace(trace, withheld=str(answer.get("withheld") or ""))
    result = Drawn(trace, waterfall.judged_failure(spans))
    _shelf.put(_key(api, me, trace_id), result)
    return result


def matching(rows: Sequence[Row], wanted: str) -> Sequence[Row]:
    """The rows that hold ``wanted`` in their name, their reason, their arguments, their result or what was said."""
    wanted = wanted.strip().lower()
    return tuple(row for row in rows if wanted in _text(row)) if wanted else rows


def _text(row: Row) -> str:
    said = [str(part.text) for message in row.messages for part in message.parts]
    found = [row.kind, row.name, row.status, row.note, row.agent, row.span_id, *said]
    found += [json.dumps(value, ensure_ascii=False) for value in (row.arguments, row.result) if value is not None]
    return "\n".join(found).lower()


def start_of(rows: Sequence[Row], start: int, span: str) -> int:
    """Where the page begins: at ``start``, or at the page that holds the row of ``span``."""
    if span:
        start = next((place for place, row in enumerate(rows) if row.span_id == span), start)
        return start // ROWS * ROWS
    return max(0, min(start, max(0, len(rows) - 1))) // PIECE * PIECE
