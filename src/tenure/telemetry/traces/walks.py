"""The steps of whole runs, as facts: for whoever asks which ways runs go."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from tenure.telemetry.measured import Walked
from tenure.telemetry.model import CALL_TYPES
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.rows import micros, time_of

MOST_STEPS = 50_000
"""So many steps are answered at most."""
_CALLS = "(" + ", ".join(f"'{kind}'" for kind in sorted(CALL_TYPES)) + ")"
_KINDS = "('llm', 'tool', 'agent', 'retrieval', 'embedding')"


class Walks:
    """Those of ``TraceStore`` that tell of whole runs; an engine adds its ``dialect`` and ``_all``."""

    dialect: Dialect

    @abstractmethod
    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query answers. Raises Failed while the engine does not answer."""

    def walked(self, workspace: str, since: datetime, agent: str | None, source: str | None, runs: int) -> list[Walked]:
        text = self.dialect.text.format
        step = f"""(type IN {_CALLS} OR type IN ('import.message', 'import.outcome')
                    OR (type = 'otlp.span' AND {text("otlp.step")} IN {_KINDS}))"""
        which = "".join(
            f" AND {name} = ?" for name, value in (("agent", agent), ("source", source)) if value is not None
        )
        sql = f"""
            SELECT trace_id, coalesce(session, ''), coalesce({text("gen_ai.conversation.id")}, ''), coalesce(agent, ''),
                   type, name, coalesce({text("tenure.kind")}, {text("otlp.step")}, ''),
                   coalesce(resource, {text("gen_ai.tool.name")}, {text("gen_ai.agent.name")}, ''),
                   coalesce({text("gen_ai.request.model")}, model, ''), time_us, coalesce(duration_us, 0),
                   error, cost_usd, coalesce({text("tenure.outcome.success")}, '')
            FROM event WHERE workspace = ? AND {step} AND trace_id IN (
                SELECT trace_id FROM event
                WHERE workspace = ? AND trace_id IS NOT NULL AND time_us >= ?{which} AND {step}
                GROUP BY trace_id ORDER BY max(seq) DESC LIMIT ?)
            ORDER BY time_us, seq LIMIT {MOST_STEPS}"""  # noqa: S608 (only our own names)
        given = [value for value in (agent, source) if value is not None]
        rows = self._all(sql, [workspace, workspace, micros(since), *given, runs])
        return [_walked(row) for row in rows]


def _walked(row: tuple[Any, ...]) -> Walked:
    trace, session, conversation, agent, kind, name, step, reached, model, at, took, error, cost, solved = row
    return Walked(
        trace_id=trace,
        session=session,
        conversation=conversation,
        agent=agent,
        type=kind,
        name=name,
        kind=step,
        reached=reached,
        model=model,
        at=time_of(at),
        duration_us=took,
        failed=error is not None,
        cost_usd=Decimal(cost) if cost is not None else None,
        solved=solved == "true",
    )
