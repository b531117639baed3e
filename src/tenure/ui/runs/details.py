"""What a row of a trace tells when it is opened: names for attributes, findings, what a call used. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tenure.kernel.json import Json, JsonObject
from tenure.ui.model import duration


def facts(raw: JsonObject, data: JsonObject) -> tuple[tuple[str, str], ...]:
    """What is known of a call, as words and values."""
    wanted = (
        ("Model asked for", "gen_ai.request.model"),
        ("Model that served", "tenure.model.served"),
        ("Model that answered", "gen_ai.response.model"),
        ("Attempts", "tenure.attempts"),
        ("Finish", "gen_ai.response.finish_reasons"),
        ("Input tokens", "gen_ai.usage.input_tokens"),
        ("of them from the cache", "gen_ai.usage.cache_read.input_tokens"),
        ("Output tokens", "gen_ai.usage.output_tokens"),
        ("of them for reasoning", "gen_ai.usage.reasoning.output_tokens"),
        ("Cost in US dollars", "tenure.cost_usd"),
        ("First chunk after", "gen_ai.response.time_to_first_chunk"),
        ("Upstream", "server.address"),
        ("HTTP status", "http.response.status_code"),
        ("MCP server", "mcp.server.name"),
        ("Agent that was called", "gen_ai.agent.name"),
        ("A2A method", "a2a.method"),
        ("Task of the agent", "a2a.task.id"),
        ("State of the task", "a2a.task.state"),
        ("Chain of agents", "tenure.chain"),
        ("Task", "tenure.chain.task"),
        ("Effective scope", "tenure.scope"),
        ("Error", "error.type"),
    )
    out: list[tuple[str, str]] = []
    for word, name in wanted:
        value = data.get(name)
        if value is None or value == "":
            continue
        if name.endswith("first_chunk"):
            value = duration(float(value) * 1e6)
        elif isinstance(value, list | tuple):
            value = ", ".join(map(_attempt if name == "tenure.attempts" else str, value))
        elif isinstance(value, int) and "tokens" in name:
            value = f"{value:,}"
        out.append((word, str(value)))
    out += [
        (word, str(raw[name]))
        for word, name in (("Release", "release"), ("Instance", "instance"), ("Memory read from", "memory_snapshot"))
        if raw.get(name)
    ]
    return (*out, ("Span", str(raw.get("span_id") or "")))


def _attempt(told: Json) -> str:
    """One model that was tried, and what came of it."""
    return f"{told.get('model')}: {told.get('outcome')}" if isinstance(told, Mapping) else str(told)


def findings(rows: Json) -> tuple[tuple[str, str, int], ...]:
    """What was found in a call: rule, place and how often."""
    known = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list | tuple) else []
    return tuple((str(row.get("rule")), str(row.get("place")), int(row.get("count") or 0)) for row in known)
