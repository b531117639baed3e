"""From samples to figures, ratios and goals, and their two forms: JSON and Markdown. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Samples:
    """What was seen of one way. One inner list, or one number, for each round; microseconds but for ``per_s``."""

    one: list[list[float]] = field(default_factory=list)  # latencies, one request at a time
    one_cpu: list[float] = field(default_factory=list)  # CPU for each of those
    per_s: list[float] = field(default_factory=list)  # at 32 connections
    cpu: list[float] = field(default_factory=list)  # CPU for each request at 32 connections
    firsts: list[list[float]] = field(default_factory=list)  # until the first chunk of a stream
    chunk_cpu: list[float] = field(default_factory=list)  # CPU for each chunk


@dataclass(frozen=True, slots=True)
class Goal:
    """``found`` compared with ``limit``, as ``at most`` or ``at least``; None where the run had nothing to compare."""

    name: str
    limit: float
    found: float | None
    least: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether it is reached."""
        if self.found is None:
            return None
        return self.found >= self.limit if self.least else self.found <= self.limit


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` (0 to 1) of all are not above."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


def figures(samples: Mapping[str, Samples]) -> dict[str, dict[str, Any]]:
    """The figures of each way, each as {median, low, high}: the median over the rounds, and the quartiles between which
    half of the rounds lie. ``added_*`` are differences to ``direct`` within the same round."""
    direct = samples["direct"]
    out: dict[str, dict[str, Any]] = {}
    for name, seen in samples.items():
        row: dict[str, Any] = {}
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            own = [percentile(values, share) for values in seen.one]
            row[f"{label}_us"] = _spread(own)
            if name != "direct":
                bare = [percentile(values, share) for values in direct.one]
                row[f"added_{label}_us"] = _spread([a - b for a, b in zip(own, bare, strict=True)])
        row["per_s_at_32"] = _spread(seen.per_s)
        firsts = [percentile(values, 0.5) for values in seen.firsts]
        if name == "direct":
            row["first_chunk_us"] = _spread(firsts)
        else:
            bare = [percentile(values, 0.5) for values in direct.firsts]
            row["added_first_chunk_us"] = _spread([a - b for a, b in zip(firsts, bare, strict=True)])
            row["cpu_us_at_32"] = _spread(seen.cpu)
            row["cpu_us_one_at_a_time"] = _spread(seen.one_cpu)
            row["cpu_us_per_chunk"] = _spread(seen.chunk_cpu)
        out[name] = row
    return out


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": round(statistics.median(values), 1), "low": round(low, 1), "high": round(high, 1)}


def goals(rows: Mapping[str, Mapping[str, Any]], own: str = "tenure") -> list[Goal]:
    """What is asked of Tenure with everything on, as ratios within the run; of R090 the absolute millisecond."""

    def ratio(figure: str, other: str) -> float | None:
        if own not in rows or other not in rows:
            return None
        under = rows[other][figure]["median"]
        return round(rows[own][figure]["median"] / under, 4) if under > 0 else None

    added = rows[own]["added_p99_us"]["median"] / 1000 if own in rows else None
    return [
        Goal("added p50 against Envoy's", 0.6, ratio("added_p50_us", "envoy")),
        Goal("added p99 against Envoy's", 1.0, ratio("added_p99_us", "envoy")),
        Goal("CPU per request against nginx's", 2.5, ratio("cpu_us_at_32", "nginx")),
        Goal("CPU per request against LiteLLM's", round(1 / 150, 5), ratio("cpu_us_at_32", "litellm")),
        Goal("CPU per streamed chunk against Envoy's", 1.5, ratio("cpu_us_per_chunk", "envoy")),
        Goal("added p99 in milliseconds (R090: under 1)", 1.0, added and round(added, 3)),
    ]


_COLUMNS: tuple[tuple[str, str], ...] = (
    ("added p50", "added_p50_us"),
    ("added p99", "added_p99_us"),
    ("CPU/request, 32 conn.", "cpu_us_at_32"),
    ("CPU/request, one at a time", "cpu_us_one_at_a_time"),
    ("requests/s, 32 conn.", "per_s_at_32"),
    ("added to first chunk", "added_first_chunk_us"),
    ("CPU/chunk", "cpu_us_per_chunk"),
)


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    machine, rows = report["machine"], report["ways"]
    lines = [
        f"# Gateway, {report['date']}",
        "",
        f"{machine['cores']} cores, {machine['model']}, {machine['python']}; {report['rounds']} rounds, interleaved.",
        "Microseconds unless said otherwise: median over the rounds and, in brackets, the quartiles. Compare ratios",
        "within this run; absolute figures are this machine's, and of this day.",
        "",
        "| | " + " | ".join(title for title, _ in _COLUMNS) + " |",
        "|---" * (len(_COLUMNS) + 1) + "|",
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(row.get(key)) for _, key in _COLUMNS) + " |")
    lines += ["", f"Direct: p50 {_cell(rows['direct']['p50_us'])}, p99 {_cell(rows['direct']['p99_us'])}."]
    lines += ["", "| Tenure, everything on | goal | found | |", "|---|---|---|---|"]
    for goal in report["goals"]:
        sign = "at least" if goal["least"] else "at most"
        lines.append(
            f"| {goal['name']} | {sign} {_short(goal['limit'])} | {_short(goal['found'])} | {_verdict(goal)} |"
        )
    lines += ["", "What was measured:", ""]
    lines += [f"- **{name}**: {about}" for name, about in report["about"].items()]
    return "\n".join(lines) + "\n"


def _cell(spread: Mapping[str, float] | None) -> str:
    if spread is None:
        return ""
    write: Callable[[float], str] = lambda value: f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"  # noqa: E731
    return f"{write(spread['median'])} ({write(spread['low'])}-{write(spread['high'])})"


def _short(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def _verdict(goal: Mapping[str, Any]) -> str:
    return {True: "holds", False: "**does not hold**", None: ""}[goal["holds"]]
