"""Text in content that lies under keys: found by the marks of its words, and then looked at.

A query is put into marks under the key of every subject that there is in the time in question. Engines find the rows
that have them all, the newest pieces of the store first, so that what is common is found at once and what is rare is
looked for everywhere. What was found is opened and looked at: other words may have the same marks, and only the text
tells what stands together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tenure.base.blind import Blind
from tenure.base.events import Logged
from tenure.base.subjects import Keyring
from tenure.telemetry.model import span_of
from tenure.telemetry.traces import content
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.interface import Which
from tenure.telemetry.traces.questions import condition
from tenure.telemetry.traces.rows import EVENT_COLUMNS, event_of
from tenure.telemetry.traces.terms import Found, Hit, Query, found_in

FIRST, GROWTH = 100_000, 4
"""Events of the first piece that is looked through, and how much greater each next one is."""
OPENED = 5_000
"""The most Events whose content one search looks at."""
OPENED_AT_ONCE = 250

_SELECT = ", ".join(EVENT_COLUMNS)


class Finding:
    """``TraceStore.find``; an engine adds its ``dialect``, ``_all`` and ``_beside``."""

    dialect: Dialect
    _keyring: Keyring

    @abstractmethod
    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query answers. Raises Failed while the engine does not answer."""

    @abstractmethod
    def _beside(self, columns: Mapping[str, str]) -> str:
        """The query that makes a table of as many lists, one ``?`` for each of ``columns`` (name -> type)."""

    def find(self, workspace: str, which: Which, query: Query, before: int | None, limit: int) -> Found:
        which = replace(which, workspace=workspace)
        where, values = condition(which)
        ends = self._all(f"SELECT min(seq), max(seq) FROM event WHERE {where}", values)  # noqa: S608 (only our own column names)
        lowest, highest = ends[0]
        if not highest:
            return Found(())
        upper = highest + 1 if before is None else min(before, highest + 1)
        hits: list[Hit] = []
        left, size = OPENED, FIRST
        while upper > lowest:
            lower = max(lowest, upper - size)
            found, upper, left = self._piece((where, values), query, (lower, upper), limit - len(hits), left)
            hits += found
            if len(hits) >= limit or left <= 0:
                break
            size *= GROWTH
        return Found(tuple(hits), upper if upper > lowest else None)

    def _piece(
        self, which: tuple[str, list[Any]], query: Query, between: tuple[int, int], limit: int, left: int
    ) -> tuple[list[Hit], int, int]:
        """(hits among these numbers, the number that everything above or at was looked through, how many may still be
        looked at)."""
        lower, upper = between
        where = f"{which[0]} AND seq >= ? AND seq < ?"
        values = [*which[1], lower, upper]
        marked = self._marked(where, values, query, left)
        hits: list[Hit] = []
        for start in range(0, len(marked), OPENED_AT_ONCE):
            some = marked[start : start + OPENED_AT_ONCE]
            for logged in self._opened(some):
                upper, left = logged.seq, left - 1
                hit = _hit(logged, query)
                if hit is not None:
                    hits.append(hit)
                if len(hits) >= limit or left <= 0:
                    return hits, upper, left
        return hits, lower, left

    def _marked(self, where: str, values: Sequence[Any], query: Query, limit: int) -> list[int]:
        """The numbers of Events whose content has the marks of every word, the newest first."""
        sql = f"SELECT DISTINCT subject FROM event WHERE words IS NOT NULL AND {where}"  # noqa: S608 (only our own column names)
        blinds = self._keyring.blinds([row[0] for row in self._all(sql, values)])
        if not blinds:
            return []
        marks = _marks(blinds, query)
        columns = {"whom": "BIGINT", **{f"mark{number}": "VARCHAR" for number in range(len(marks))}}
        every = " AND ".join(f"position(mark{number} IN words) > 0" for number in range(len(marks)))
        sql = f"""SELECT seq FROM event JOIN ({self._beside(columns)}) AS sought ON subject = whom
            WHERE {where} AND {every} ORDER BY seq DESC LIMIT ?"""  # noqa: S608 (only our own column names)
        return [row[0] for row in self._all(sql, [list(blinds), *marks, *values, limit])]

    def _opened(self, numbers: Sequence[int]) -> list[Logged]:
        among = self.dialect.among_numbers.format("seq")
        sql = f"SELECT {_SELECT} FROM event WHERE {among} AND seq >= ? AND seq <= ? ORDER BY seq DESC"  # noqa: S608 (only our own column names)
        rows = self._all(sql, [list(numbers), numbers[-1], numbers[0]])
        found = [dict(zip(EVENT_COLUMNS, row, strict=True)) for row in rows]
        ciphers = self._keyring.opens({row["subject"] for row in found if row["subject"] is not None})
        return [event_of(row, ciphers) for row in found]


def _marks(blinds: Mapping[int, Blind], query: Query) -> list[list[str]]:
    """For each word of a query, its mark under every key."""
    return [[blind.marks([word]) for blind in blinds.values()] for word in query.words]


def _hit(logged: Logged, query: Query) -> Hit | None:
    event = logged.event
    snippet = found_in(content.split(event)[1].values(), query)
    if snippet is None:
        return None
    span = span_of(event)
    return Hit(
        seq=logged.seq,
        event=event.id,
        type=event.type,
        time=event.time,
        agent=event.agent,
        session=event.session,
        trace_id=event.trace_id,
        span_id=span.span_id,
        name=span.name,
        status=event.status,
        snippet=snippet,
    )
