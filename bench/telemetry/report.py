"""The benchmark's figures against their goals, and for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GOALS = (
    ("durable spans a second, with readers", 25_000, ("fill", "durable_per_s"), True),
    ("a trace opened, p99, ms", 100, ("ask", "trace", "p99_ms"), False),
    ("the fleet's figures over 30 days, ms", 500, ("ask", "dashboard_30d", "median_ms"), False),
    ("the tools of all agents, 24 h against 30 days, ms", 1000, ("ask", "tools_24h_of_30d", "median_ms"), False),
    ("text of 7 days: a seldom word, ms", 1000, ("ask", "search_seldom_7d", "median_ms"), False),
    ("text of 7 days: a word that is nowhere, ms", 1000, ("ask", "search_nowhere_7d", "median_ms"), False),
    ("text of 7 days: a common word, ms", 1000, ("ask", "search_common_7d", "median_ms"), False),
    ("memory while writing, MiB", 1024, ("fill", "peak_mib"), False),
    ("memory while reading, MiB", 1024, ("ask", "peak_mib"), False),
    ("idle: percent of a core", 1, ("idle", "cpu_percent"), False),
    ("idle: memory of everything, MiB (PSS)", 250, ("idle", "pss_mib"), False),
)


def goals(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each goal with what was found, None where this run did not look."""
    rows = []
    for name, limit, path, least in _GOALS:
        found: Any = report
        for step in path:
            found = found.get(step) if isinstance(found, Mapping) else None
        holds = None if found is None else (found >= limit if least else found <= limit)
        rows.append({"goal": name, "limit": limit, "least": least, "found": found, "holds": holds})
    return rows


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    machine = report["machine"]
    lines = [
        f"# The trace store with {report['spans']:,} spans, {report['date']}",
        "",
        f"{machine['cores']} cores, {machine['model']}, {machine['python']}; load average {report['load_average']}",
        "when it began. 1,000 agents over 30 days; how each figure is taken is in `bench/telemetry/__main__.py`.",
        "",
        "| | goal | found | |",
        "|---|---|---|---|",
    ]
    copied = report["spans"] - report.get("fill", {}).get("written", report["spans"])
    if copied:
        lines.insert(4, f"{copied:,} of them were copied in SQL, not written (`bench/telemetry/multiply.py`).\n")
    for row in report["goals"]:
        sign = "at least" if row["least"] else "at most"
        verdict = "not looked at" if row["holds"] is None else ("reached" if row["holds"] else "**missed**")
        found = "" if row["found"] is None else f"{row['found']:,}"
        lines.append(f"| {row['goal']} | {sign} {row['limit']:,} | {found} | {verdict} |")
    for part in ("fill", "ask", "whole", "idle", "peers"):
        if part in report:
            lines += ["", f"## {part}", "", *_lines(report[part])]
    return "\n".join(lines) + "\n"


def _lines(figures: Mapping[str, Any]) -> list[str]:
    return [f"- {name}: {_value(value)}" for name, value in figures.items()]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items())
    return f"{value:,}" if isinstance(value, int | float) else str(value)
