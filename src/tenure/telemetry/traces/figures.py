"""What figures come from: what calls were made to and how they ended, and what was changed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from tenure.telemetry.measured import CHANGES, Cause, Changed
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.rows import micros, time_of
from tenure.telemetry.traces.sums import CALLS, listed

MOST = 200
"""Causes and changes that are answered at most."""


class Figures:
    """Those of ``TraceStore`` that tell causes; an engine adds its ``dialect`` and ``_all``."""

    dialect: Dialect

    @abstractmethod
    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query answers. Raises Failed while the engine does not answer."""

    def causes(self, workspace: str, since: datetime, until: datetime, agent: str | None) -> list[Cause]:
        sql = f"""
            SELECT coalesce(resource, name) AS reached, error, count(*) AS calls, coalesce(sum(cost_usd), 0),
                   {self.dialect.latest.format("trace_id")}
            FROM event WHERE workspace = ? AND time_us >= ? AND time_us < ? AND type IN {CALLS}
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
            FROM event WHERE workspace = ? AND time_us >= ? AND time_us < ? AND type IN {listed(CHANGES)}
              {"AND (agent = ? OR agent IS NULL)" if agent is not None else ""}
            ORDER BY seq DESC LIMIT {MOST}"""  # noqa: S608 (only our own names)
        values: list[Any] = [workspace, micros(since), micros(until), *([agent] if agent is not None else [])]
        rows = self._all(sql, values)
        return [Changed(row[0], time_of(row[1]), row[2], row[3] or None, row[4]) for row in rows]
