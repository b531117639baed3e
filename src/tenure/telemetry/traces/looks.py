"""Who is heard of besides registered agents: what the trace store knows of strangers, of MCP clients, of services that
send spans, and of agents that were called and are not there. Aggregated where it lies, since the last look."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tenure.telemetry.seen import Introduced, Spoken, Stranger, UnknownPeer, Used
from tenure.telemetry.traces.dialect import Dialect
from tenure.telemetry.traces.rows import micros, time_of

MOST = 2_000
"""Kinds of each that one look takes in, the most frequent first: a flood of made-up names takes no more."""


class Looks:
    """Those of ``TraceStore`` that look for what is new; an engine adds its ``dialect`` and ``_all``."""

    dialect: Dialect

    @abstractmethod
    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query answers. Raises Failed while the engine does not answer."""

    def _text(self, name: str) -> str:
        return f"coalesce({self.dialect.text.format(name)}, '')"

    def strangers(self, after: int, upto: int, since: datetime) -> list[Stranger]:
        count = self.dialect.number.format("count")
        sql = f"""
            SELECT workspace, {self._text("user_agent.original")} AS ua, {self._text("client.address")} AS address,
                   {self._text("tenure.client.key")} AS mark, {self._text("mcp.client.name")} AS client,
                   {self._text("tenure.client.title")} AS title, {self._text("error.type")} AS reason,
                   {self._text("http.request.method")} AS method, {self._text("url.path")} AS path,
                   coalesce(sum({count}) FILTER (WHERE seq > ?), 0), coalesce(sum({count}), 0), max(time_us)
            FROM event WHERE type = 'request.refused' AND agent IS NULL AND time_us >= ? AND seq <= ?
            GROUP BY ALL HAVING max(seq) > ? ORDER BY 11 DESC LIMIT ?"""  # noqa: S608 (only our own names)
        return [Stranger(*_timed(row)) for row in self._all(sql, [after, micros(since), upto, after, MOST])]

    def introduced(self, after: int, upto: int) -> list[Introduced]:
        sql = f"""
            SELECT workspace, agent, {self._text("mcp.client.name")} AS said,
                   any_value({self._text("mcp.client.version")}), count(*), max(time_us)
            FROM event WHERE type = 'client.seen' AND agent IS NOT NULL AND seq > ? AND seq <= ?
            GROUP BY ALL ORDER BY 5 DESC LIMIT ?"""  # noqa: S608 (only our own names)
        return [Introduced(*_timed(row)) for row in self._all(sql, [after, upto, MOST])]

    def spoken(self, after: int, upto: int) -> list[Spoken]:
        service = self.dialect.inner.format("otlp.resource", "service.name")
        sql = f"""
            SELECT workspace, agent, coalesce({service}, '') AS service, {self._text("gen_ai.agent.name")} AS spoken,
                   count(*), max(time_us)
            FROM event WHERE type = 'otlp.span' AND agent IS NOT NULL AND seq > ? AND seq <= ?
              AND (model IS NOT NULL OR position('"gen_ai.' IN data) > 0)
            GROUP BY ALL ORDER BY 5 DESC LIMIT ?"""  # noqa: S608 (only our own names)
        return [Spoken(*_timed(row)) for row in self._all(sql, [after, upto, MOST])]

    def refused_peers(self, after: int, upto: int) -> list[UnknownPeer]:
        sql = f"""
            SELECT workspace, agent, resource, count(*), max(time_us)
            FROM event WHERE type = 'call.refused' AND agent IS NOT NULL AND resource IS NOT NULL
              AND {self._text("tenure.kind")} = 'agent' AND seq > ? AND seq <= ?
            GROUP BY ALL ORDER BY 4 DESC LIMIT ?"""  # noqa: S608 (only our own names)
        return [UnknownPeer(*_timed(row)) for row in self._all(sql, [after, upto, MOST])]

    def used(self, after: int, upto: int) -> list[tuple[int | None, Used]]:
        sql = f"""
            SELECT subject, workspace, agent, {self._text("tenure.kind")} AS kind, resource, '' AS person,
                   {self.dialect.day.format("time_us")} AS on_day, count(*), count(error), max(time_us)
            FROM event WHERE type IN ('call.completed', 'call.refused') AND agent IS NOT NULL AND resource IS NOT NULL
              AND coalesce(error, '') <> resource AND seq > ? AND seq <= ?
            GROUP BY ALL"""  # noqa: S608 (only our own names)
        return [(subject, Used(*_timed(tuple(row)))) for subject, *row in self._all(sql, [after, upto])]


def _timed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row whose last column is a time."""
    return (*row[:-1], time_of(row[-1]))
