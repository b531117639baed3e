"""What agents did, call by call or counted by tool, as facts: for whoever asks what is usual of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from tenure.telemetry.measured import SIGNALS, Act, Reasoned, Signal, ToolShare
from tenure.telemetry.model import CALL_TYPES
from tenure.telemetry.shapes import ARGUMENTS, RESULT
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.rows import micros, time_of

_CALLS = "(" + ", ".join(f"'{kind}'" for kind in sorted(CALL_TYPES)) + ")"
_RUN = "coalesce(session, trace_id, id)"
_KINDS = "('llm', 'tool', 'agent', 'retrieval', 'embedding')"
_TO_PEOPLE = (
    "(transfer|handoff|handover|hand|escalate|route|forward|delegate)(call|chat|conversation|ticket|case|)to(a|the|)"
    "(human|person|operator|representative|support|liveagent|staff|supervisor|manager)"
    "|(ask|contact|request|page)(a|the|)human|human(handoff|handover|input|review|approval|intheloop)|escalat(e|ion)"
)
"""How tools are called by which agents hand over to people, in small letters and without what separates words."""
_MEMORY = (
    "(create|update|upsert|delete|add|save|store|write|set|put|insert|append|forget)[a-z]*(memor|knowledge|observation)"
    "|(memor(y|ies)|knowledge)[a-z]*(create|update|upsert|delete|add|save|store|write|set|put|insert|append)|remember"
)
"""How tools are called by which agents write what they will remember."""


class Acts:
    """Those of ``TraceStore`` that tell what agents did; an engine adds its ``dialect`` and ``_all``."""

    dialect: Dialect

    @abstractmethod
    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query answers. Raises Failed while the engine does not answer."""

    def handed(self) -> str:
        """The condition that an Event tells of an agent that handed over to a person: it asked for an approval, left a
        call for a person to make, or called a tool that brings one in."""
        left = f"CASE WHEN type = 'call.refused' THEN {self.dialect.text.format('tenure.mode')} ELSE '' END"
        return f"""(type = 'approval.requested' OR {left} IN ('draft', 'offer')
            OR ((type IN {_CALLS} OR type = 'otlp.span') AND {self._called(_TO_PEOPLE)}))"""

    def _called(self, pattern: str) -> str:
        name = "replace(replace(replace(lower(name), '_', ''), '-', ''), ' ', '')"
        return self.dialect.matches.format(name, pattern)

    def acts(  # noqa: PLR0917 (whose, when, how many)
        self, workspace: str, agent: str, since: datetime, until: datetime, most: int, release: str | None
    ) -> list[Act]:
        text, inner = self.dialect.text.format, self.dialect.inner.format
        kind = f"coalesce({text('tenure.kind')}, {text('otlp.step')}, '')"
        sql = f"""
            SELECT {_RUN}, coalesce(trace_id, ''), coalesce(span_id, ''), coalesce("release", ''), type, {kind},
                   CASE WHEN {kind} = 'llm' THEN coalesce({text("gen_ai.request.model")}, model, '')
                        ELSE coalesce(resource, {text("gen_ai.tool.name")}, {text("gen_ai.agent.name")}, name) END,
                   time_us, duration_us, coalesce(error, ''), input_tokens, output_tokens, cost_usd,
                   {self.dialect.inner_number.format(ARGUMENTS, "size")}, coalesce({inner(ARGUMENTS, "fields")}, ''),
                   coalesce({inner(ARGUMENTS, "mark")}, ''), coalesce({inner(RESULT, "mark")}, '')
            FROM event WHERE workspace = ? AND agent = ? AND time_us >= ? AND time_us < ?
              AND (type IN {_CALLS} OR (type = 'otlp.span' AND {text("otlp.step")} IN {_KINDS}))
              {'AND "release" = ?' if release is not None else ""}
            ORDER BY seq DESC LIMIT ?"""  # noqa: S608 (only our own names)
        given = [release] if release is not None else []
        rows = self._all(sql, [workspace, agent, micros(since), micros(until), *given, most])
        return [_act(row) for row in reversed(rows)]

    def actors(self, workspace: str, trace_id: str) -> list[tuple[str, datetime, datetime]]:
        sql = f"""
            SELECT agent, min(time_us), max(time_us) FROM event
            WHERE workspace = ? AND trace_id = ? AND agent IS NOT NULL AND (type IN {_CALLS} OR type = 'otlp.span')
            GROUP BY agent ORDER BY count(*) DESC, agent"""  # noqa: S608 (only our own names)
        return [(agent, time_of(first), time_of(last)) for agent, first, last in self._all(sql, [workspace, trace_id])]

    def toolbox(self, workspace: str, since: datetime, until: datetime) -> list[ToolShare]:
        went = f"""FROM event WHERE workspace = ? AND time_us >= ? AND time_us < ? AND agent IS NOT NULL
            AND type IN {_CALLS} AND name LIKE 'execute_tool%' AND resource IS NOT NULL"""
        sql = f"""
            SELECT agent, tool, calls, runs FROM (
                SELECT agent, resource AS tool, count(*) AS calls, count(DISTINCT {_RUN}) AS runs {went}
                GROUP BY agent, resource
                UNION ALL SELECT agent, '' AS tool, count(*) AS calls, count(DISTINCT {_RUN}) AS runs {went}
                GROUP BY agent) AS counted
            ORDER BY agent, tool"""  # noqa: S608 (only our own names)
        bounds = [workspace, micros(since), micros(until)]
        return [ToolShare(*row) for row in self._all(sql, [*bounds, *bounds])]

    def reasoned(self, workspace: str, since: datetime, until: datetime) -> list[Reasoned]:
        inner = self.dialect.inner.format
        mark = inner(ARGUMENTS, "mark")
        sql = f"""
            SELECT agent, count(*), count(*) FILTER (WHERE error IS NULL AND nth > 1),
                   count(*) FILTER (WHERE error IS NOT NULL AND nth > 1)
            FROM (SELECT agent, error, row_number() OVER (
                      PARTITION BY agent, type, {_RUN}, resource, {mark}, coalesce(error, {inner(RESULT, "mark")}, '')
                      ORDER BY time_us, seq) AS nth
                  FROM event WHERE workspace = ? AND time_us >= ? AND time_us < ? AND agent IS NOT NULL
                    AND type IN {_CALLS} AND name LIKE 'execute_tool%' AND {mark} IS NOT NULL) AS done
            GROUP BY agent ORDER BY agent"""  # noqa: S608 (only our own names)
        bounds = [workspace, micros(since), micros(until)]
        found = {row[0]: Reasoned(*row) for row in self._all(sql, bounds)}
        sql = f"""
            SELECT agent, count(DISTINCT {_RUN}) FROM event
            WHERE workspace = ? AND time_us >= ? AND time_us < ? AND agent IS NOT NULL AND {self.handed()}
            GROUP BY agent"""  # noqa: S608 (only our own names)
        handed = dict(self._all(sql, bounds))
        every = sorted({*found, *handed})
        return [replace(found.get(agent, Reasoned(agent)), handed=handed.get(agent, 0)) for agent in every]

    def signals(self, workspace: str, agent: str, since: datetime, grave: Sequence[str]) -> list[Signal]:
        text = self.dialect.text.format
        tool = f"(type IN {_CALLS} OR type = 'otlp.span') AND name LIKE 'execute_tool%'"
        memory = self._called(_MEMORY)
        planned = self._called("(think|plan|todo)")
        told = {
            "tool_calls": tool,
            "policy_rejections": "type = 'call.refused'",
            "memory_writes": f"{tool} AND {memory}",
            "escalations": self.handed(),
            "irreversible_effects": f"type = 'call.completed' AND {self.dialect.among.format('resource')}",
            "planning": f"({tool} AND {planned}) OR {text('otlp.step')} = 'chain'",
            "retrieval": f"{text('otlp.step')} IN ('retrieval', 'embedding') OR name LIKE 'embeddings%'",
            "retries": f"{self.dialect.inner.format(ARGUMENTS, 'mark')} IS NOT NULL AND error IS NOT NULL",
            "satisfaction": "type IN ('call.corrected', 'approval.rejected', 'approval.granted', 'draft.released')",
            "outcomes": "type = 'import.outcome'",
        }
        newest = self.dialect.latest.format("trace_id")
        columns = ", ".join(
            f"count(*) FILTER (WHERE {is_one}), max(time_us) FILTER (WHERE {is_one}), {newest} FILTER (WHERE {is_one})"
            for is_one in SIGNALS
        )
        marked = ", ".join(f"({told[name]}) AS {name}" for name in SIGNALS)
        sql = f"""
            SELECT {columns} FROM (SELECT seq, time_us, trace_id, {marked}
                FROM event WHERE workspace = ? AND agent = ? AND time_us >= ?) AS mine"""  # noqa: S608 (only our own names)
        [row] = self._all(sql, [list(grave), workspace, agent, micros(since)])
        found = [(name, *row[3 * place : 3 * place + 3]) for place, name in enumerate(SIGNALS)]
        return [Signal(name, count, time_of(last), trace or "") for name, count, last, trace in found if count]


def _act(row: tuple[Any, ...]) -> Act:
    run, trace, span, release, type_, kind, reached, at, took, error, given, made, cost, *shape = row
    size, fields, mark, answer = shape
    tokens = None if given is None and made is None else (given or 0) + (made or 0)
    return Act(
        run=run,
        trace_id=trace,
        span_id=span,
        release=release,
        type=type_,
        kind=kind,
        reached=reached,
        at=time_of(at),
        duration_us=took,
        error=error,
        tokens=tokens,
        cost_usd=Decimal(cost) if cost is not None else None,
        size=size,
        fields=fields,
        mark=mark,
        answer=answer,
    )
