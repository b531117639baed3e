"""What agents did over a time, counted: of days from their sums, of the rest from the rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from tenure.telemetry.measured import OVERRIDES, Measured
from tenure.telemetry.model import AgentStats, ToolUse
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.rows import micros, stats_of, time_of
from tenure.telemetry.traces.sums import CALLED, CALLS, DAY, RAN, TOOK, WENT, Bounds, Reach, Sums, duration_of, listed

_MEASURED = (
    ("calls", "n", f"type IN {CALLS}"),
    ("refused", "n", "type = 'call.refused'"),
    ("errors", "failed", WENT),
    ("anomalies", "anomaly", f"type IN {CALLS}"),
    ("held", "n", "type = 'approval.requested'"),
    ("overridden", "n", f"type IN {listed(OVERRIDES)}"),
    ("unpriced", "unpriced", "TRUE"),
)
"""Counts of ``Measured``: which column is added up, of which Events."""


class Counted:
    """Those of ``TraceStore`` that count; an engine adds its ``dialect``, ``_all`` and ``_bounds``."""

    dialect: Dialect

    @abstractmethod
    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query answers. Raises Failed while the engine does not answer."""

    @abstractmethod
    def _bounds(self) -> Bounds:
        """Which Events there are sums of. Sums up to there stay readable, whatever is summed meanwhile."""

    def _over(self, table: Sums, workspace: str, reach: Reach) -> tuple[str, list[Any]]:
        """All that ``table`` sums, of a workspace over a time, as a query of sums and its values."""
        pieces = [(table.of_rows(self.dialect, f"workspace = ? AND {where}"), v) for where, v in reach.rows()]
        if reach.has_sums:
            where, values = reach.days()
            pieces.append((table.of_days(f"workspace = ? AND {where}"), values))
        sql = " UNION ALL ".join(piece for piece, _ in pieces)
        return sql, [value for _, values in pieces for value in (workspace, *values)]

    def stats(self, workspace: str, since: datetime | None = None) -> list[AgentStats]:
        reach = Reach.over(self._bounds(), micros(since) if since is not None else None, None)
        part, values = self._over(CALLED, workspace, reach)
        sql = f"""
            SELECT agent, sum(n), sum(allowed), sum(flagged), sum(violation), sum(anomaly),
                   coalesce(sum(failed) FILTER (WHERE {WENT}), 0),
                   sum(tokens_in), sum(tokens_out), sum(tokens_cached), sum(tokens_thought), sum(cost), sum(unpriced),
                   count(DISTINCT reached) FILTER (WHERE operation = 'execute_tool ' AND reached <> ''), max(last_us)
            FROM ({part}) AS part WHERE type IN {CALLS} GROUP BY agent ORDER BY agent"""  # noqa: S608 (only our own names)
        found, took = self._all(sql, values), self._durations(workspace, reach)
        return [stats_of(workspace, row, took.get(row[0], (None, None))) for row in found if row[0]]

    def _durations(self, workspace: str, reach: Reach) -> dict[str, tuple[int, int]]:
        """The median and the 95th percentile of how long each agent's calls took."""
        part, values = self._over(TOOK, workspace, reach)
        sql = f"""
            SELECT agent, min(bucket) FILTER (WHERE 2 * upto_here >= of_all),
                   min(bucket) FILTER (WHERE 20 * upto_here >= 19 * of_all)
            FROM (SELECT agent, bucket, sum(of_bucket) OVER (PARTITION BY agent ORDER BY bucket) AS upto_here,
                         sum(of_bucket) OVER (PARTITION BY agent) AS of_all
                  FROM (SELECT agent, bucket, sum(n) AS of_bucket FROM ({part}) AS part GROUP BY agent, bucket) AS each)
                 AS whole
            GROUP BY agent"""  # noqa: S608 (only our own names)
        return {agent: (duration_of(p50), duration_of(p95)) for agent, p50, p95 in self._all(sql, values)}

    def tool_uses(self, workspace: str, since: datetime, operation: str = "execute_tool") -> list[ToolUse]:
        bounds = self._bounds()
        ever, lately = Reach.over(bounds, None, None), Reach.over(bounds, micros(since), None)
        row = """SELECT coalesce(agent, '') AS agent_, coalesce(resource, '') AS reached, {recent} AS recent,
                {last} AS last_us FROM event WHERE workspace = ? AND type = 'call.completed' AND agent IS NOT NULL
                AND resource IS NOT NULL AND left(name, ?) = ? AND """
        start = f"{operation} "
        about: list[Any] = [workspace, len(start), start]
        pieces, values = [], []
        for where, given in ever.rows():
            pieces.append(row.format(recent="CASE WHEN time_us >= ? THEN 1 ELSE 0 END", last="time_us") + where)
            values += [lately.low, *about, *given]
        if ever.has_sums:
            where, given = ever.days()
            pieces.append(
                f"""SELECT agent AS agent_, reached, CASE WHEN on_day >= ? THEN n ELSE 0 END AS recent, last_us
                FROM {CALLED.name} WHERE workspace = ? AND type = 'call.completed' AND reached <> ''
                AND operation = ? AND {where}"""  # noqa: S608 (only our own names)
            )
            values += [lately.first, workspace, start, *given]
            rest = max(lately.low, ever.first * DAY), lately.first * DAY  # of a day whose sum is not wholly recent
            if rest[0] < rest[1]:
                pieces.append(row.format(recent="1", last="time_us") + "seq <= ? AND time_us >= ? AND time_us < ?")
                values += [*about, bounds.summed, *rest]
        sql = f"""SELECT agent_, reached, sum(recent), max(last_us) FROM ({" UNION ALL ".join(pieces)}) AS part
            GROUP BY agent_, reached"""  # noqa: S608 (only our own names)
        return [
            ToolUse(agent, name, int(recent), time_of(last)) for agent, name, recent, last in self._all(sql, values)
        ]

    def measured(self, workspace: str, since: datetime, until: datetime) -> list[Measured]:
        reach = Reach.over(self._bounds(), micros(since), micros(until))
        part, values = self._over(CALLED, workspace, reach)
        counts = ", ".join(f"coalesce(sum({name}) FILTER (WHERE {of}), 0)" for _, name, of in _MEASURED)
        sql = f"""SELECT agent, {counts}, sum(tokens_in) + sum(tokens_out), sum(cost) FROM ({part}) AS part
            GROUP BY agent ORDER BY agent"""  # noqa: S608 (only our own names)
        found = self._all(sql, values)
        runs, took = self._runs(workspace, reach), self._durations(workspace, reach)
        return [_measured(row, runs.get(row[0], (0, 0, 0)), took.get(row[0])) for row in found if row[0]]

    def _runs(self, workspace: str, reach: Reach) -> dict[str, tuple[int, int, int]]:
        """How many of each agent's runs had calls, were judged, were solved. One that goes on over days counts once."""
        part, values = self._over(RAN, workspace, reach)
        sql = f"""SELECT agent, sum(called), sum(judged), sum(solved)
            FROM (SELECT agent, run, max(called) AS called, max(judged) AS judged, max(solved) AS solved
                  FROM ({part}) AS part GROUP BY agent, run) AS once GROUP BY agent"""  # noqa: S608 (only our own names)
        return {
            agent: (int(called), int(judged), int(solved)) for agent, called, judged, solved in self._all(sql, values)
        }


def _measured(row: tuple[Any, ...], runs: tuple[int, int, int], took: tuple[int, int] | None) -> Measured:
    agent, *counts, tokens, cost = row
    figures: dict[str, Any] = {name: int(count) for (name, _, _), count in zip(_MEASURED, counts, strict=True)}
    found = Measured(agent, **figures)
    called, judged, solved = runs
    return replace(
        found,
        runs=called,
        judged=judged,
        solved=solved,
        tokens=int(tokens),
        cost_usd=Decimal(cost),
        p95_us=took[1] if took is not None else None,
    )
