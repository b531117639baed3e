"""Figures that rules are held against: what agents did over a time, where it comes from, and what was changed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from tenure.telemetry.measured import CHANGES, OVERRIDES, Cause, Changed, Measured
from tenure.telemetry.model import CALL_TYPES
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.rows import micros, time_of

MOST = 200
"""Causes and changes that are answered at most."""


def _listed(names: Sequence[str]) -> str:
    return "(" + ", ".join(f"'{name}'" for name in names) + ")"


_CALLS = _listed(sorted(CALL_TYPES))
_WENT = f"type IN {_CALLS} AND type <> 'call.refused'"
_COUNTED = _listed([*sorted(CALL_TYPES), *OVERRIDES, "approval.requested", "import.outcome"])


class Figures:
    """Those of ``TraceStore`` that count over a time; an engine adds its ``dialect`` and ``_all``."""

    dialect: Dialect

    @abstractmethod
    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query answers. Raises Failed while the engine does not answer."""

    def measured(self, workspace: str, since: datetime, until: datetime) -> list[Measured]:
        solved = f"{self.dialect.text.format('tenure.outcome.success')} = 'true'"
        run = "coalesce(session, trace_id, id)"
        sql = f"""
            SELECT agent, count(*) FILTER (WHERE type IN {_CALLS}), count(*) FILTER (WHERE type = 'call.refused'),
                   count(error) FILTER (WHERE {_WENT}),
                   count(*) FILTER (WHERE type IN {_CALLS} AND status = 'anomaly'),
                   count(*) FILTER (WHERE type = 'approval.requested'),
                   count(*) FILTER (WHERE type IN {_listed(OVERRIDES)}),
                   count(DISTINCT {run}) FILTER (WHERE type IN {_CALLS}),
                   count(DISTINCT {run}) FILTER (WHERE type = 'import.outcome'),
                   count(DISTINCT {run}) FILTER (WHERE type = 'import.outcome' AND {solved}),
                   coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0),
                   coalesce(sum(cost_usd), 0),
                   {self.dialect.percentiles.format("duration_us", _WENT)}
            FROM event WHERE workspace = ? AND agent IS NOT NULL AND time_us >= ? AND time_us < ? AND type IN {_COUNTED}
            GROUP BY agent ORDER BY agent"""  # noqa: S608 (only our own names)
        rows = self._all(sql, [workspace, micros(since), micros(until)])
        return [_measured(row) for row in rows]

    def causes(self, workspace: str, since: datetime, until: datetime, agent: str | None) -> list[Cause]:
        sql = f"""
            SELECT coalesce(resource, name) AS reached, error, count(*) AS calls, coalesce(sum(cost_usd), 0),
                   {self.dialect.latest.format("trace_id")}
            FROM event WHERE workspace = ? AND time_us >= ? AND time_us < ? AND type IN {_CALLS}
              AND {"agent = ?" if agent is not None else "agent IS NOT NULL"}
            GROUP BY reached, error ORDER BY calls DESC, reached, error LIMIT {MOST}"""  # noqa: S608 (only our own names)
        values: list[Any] = [workspace, micros(since), micros(until), *([agent] if agent is not None else [])]
        return [Cause(row[0], row[1], row[2], Decimal(row[3]), row[4]) for row in self._all(sql, values)]

    def changes(self, workspace: str, since: datetime, until: datetime, agent: str | None) -> list[Changed]:
        text = self.dialect.text
        sql = f"""
            SELECT type, time_us, actor, agent,
                   coalesce({text.format("resource")}, {text.format("to")}, {text.format("version")},
                            {text.format("name")}, "release", '')
            FROM event WHERE workspace = ? AND time_us >= ? AND time_us < ? AND type IN {_listed(CHANGES)}
              {"AND (agent = ? OR agent IS NULL)" if agent is not None else ""}
            ORDER BY seq DESC LIMIT {MOST}"""  # noqa: S608 (only our own names)
        values: list[Any] = [workspace, micros(since), micros(until), *([agent] if agent is not None else [])]
        rows = self._all(sql, values)
        return [Changed(row[0], time_of(row[1]), row[2], row[3] or None, row[4]) for row in rows]


def _measured(row: tuple[Any, ...]) -> Measured:
    *counts, tokens, cost, latency = row
    names = ("agent", "calls", "refused", "errors", "anomalies", "held", "overridden", "runs", "judged", "solved")
    found = Measured(**dict(zip(names, counts, strict=True)))
    p95 = latency[1] if latency and found.refused < found.calls else None
    return replace(found, tokens=int(tokens), cost_usd=Decimal(cost), p95_us=p95)
