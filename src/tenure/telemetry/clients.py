"""Who is heard of besides registered agents: what the trace store knows of strangers, of MCP clients, of services that
send spans, and of agents that were called and are not there. Aggregated where it lies, since the last look."""

from __future__ import annotations

from typing import Any

from tenure.telemetry.rows import time_of
from tenure.telemetry.seen import Introduced, Spoken, Stranger, UnknownPeer, Used
from tenure.telemetry.store import TraceStore

MOST = 2_000
"""Kinds of each that one look takes in, the most frequent first: a flood of made-up names takes no more."""


def _text(name: str) -> str:
    return f"""coalesce(json_extract_string(data, '$."{name}"'), '')"""


_COUNT = "try_cast(json_extract(data, '$.count') AS BIGINT)"


def strangers(store: TraceStore, after: int, upto: int, since_us: int) -> list[Stranger]:
    """Callers without a credential that counts, who were turned away in Events after ``after`` up to ``upto``;
    ``lately`` is how often they were since ``since_us``."""
    sql = f"""
        SELECT workspace, {_text("user_agent.original")} ua, {_text("client.address")} address,
               {_text("tenure.client.key")} mark, {_text("mcp.client.name")} client,
               {_text("tenure.client.title")} title, {_text("error.type")} error,
               {_text("http.request.method")} method, {_text("url.path")} path,
               coalesce(sum({_COUNT}) FILTER (seq > ?), 0), coalesce(sum({_COUNT}), 0), max(time_us)
        FROM event WHERE type = 'request.refused' AND agent IS NULL AND time_us >= ? AND seq <= ?
        GROUP BY ALL HAVING max(seq) > ? ORDER BY 11 DESC LIMIT ?"""  # noqa: S608 (only our own names)
    return [Stranger(*_timed(row)) for row in store.rows(sql, [after, since_us, upto, after, MOST])]


def introduced(store: TraceStore, after: int, upto: int) -> list[Introduced]:
    """MCP clients that introduced themselves with agents' credentials."""
    sql = f"""
        SELECT workspace, agent, {_text("mcp.client.name")} said, any_value({_text("mcp.client.version")}),
               count(*), max(time_us)
        FROM event WHERE type = 'client.seen' AND agent IS NOT NULL AND seq > ? AND seq <= ?
        GROUP BY ALL ORDER BY 5 DESC LIMIT ?"""  # noqa: S608 (only our own names)
    return [Introduced(*_timed(row)) for row in store.rows(sql, [after, upto, MOST])]


def spoken(store: TraceStore, after: int, upto: int) -> list[Spoken]:
    """Services and agents that spans with models or agents in them name."""
    service = """coalesce(json_extract_string(data, '$."otlp.resource"."service.name"'), '')"""
    sql = f"""
        SELECT workspace, agent, {service} service, {_text("gen_ai.agent.name")} spoken, count(*), max(time_us)
        FROM event WHERE type = 'otlp.span' AND agent IS NOT NULL AND seq > ? AND seq <= ?
          AND (model IS NOT NULL OR contains(data, '"gen_ai.'))
        GROUP BY ALL ORDER BY 5 DESC LIMIT ?"""  # noqa: S608 (only our own names)
    return [Spoken(*_timed(row)) for row in store.rows(sql, [after, upto, MOST])]


def refused_peers(store: TraceStore, after: int, upto: int) -> list[UnknownPeer]:
    """Agents that agents tried to call in vain."""
    sql = f"""
        SELECT workspace, agent, resource, count(*), max(time_us)
        FROM event WHERE type = 'call.refused' AND agent IS NOT NULL AND resource IS NOT NULL
          AND {_text("tenure.kind")} = 'agent' AND seq > ? AND seq <= ?
        GROUP BY ALL ORDER BY 4 DESC LIMIT ?"""  # noqa: S608 (only our own names)
    return [UnknownPeer(*_timed(row)) for row in store.rows(sql, [after, upto, MOST])]


def used(store: TraceStore, after: int, upto: int) -> list[tuple[int | None, Used]]:
    """Which agent used what and how often, by day, each with the number of the key of whom it was for; ``person`` is
    empty."""
    sql = f"""
        SELECT subject, workspace, agent, {_text("tenure.kind")} kind, resource, '' AS person,
               time_us // 86400000000 AS on_day, count(*), count(error), max(time_us)
        FROM event WHERE type IN ('call.completed', 'call.refused') AND agent IS NOT NULL AND resource IS NOT NULL
          AND seq > ? AND seq <= ?
        GROUP BY ALL"""  # noqa: S608 (only our own names)
    return [(subject, Used(*_timed(tuple(row)))) for subject, *row in store.rows(sql, [after, upto])]


def _timed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row whose last column is a time."""
    return (*row[:-1], time_of(row[-1]))
