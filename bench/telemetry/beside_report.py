"""What ``beside.py`` found, for people: a page and a picture. Pure but for ``write``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.telemetry.doors import DOORS

Found = Mapping[str, Any]
COLOURS = {"tenure": "#17565b", "phoenix": "#b87a12", "mlflow": "#a2301f"}


def _times(name: str) -> Callable[[Found], str]:
    def told(found: Found) -> str:
        one = found[name]
        hits = f", {one['hits']} hits" if "hits" in one else ""
        return f"{one['first_ms']:,} / {one['median_ms']:,} / {one['slowest_ms']:,}{hits}"

    return told


ROWS: tuple[tuple[str, Callable[[Found], str]], ...] = (
    ("acknowledged, spans a second", lambda f: f"{f['acknowledged_per_s']:,}"),
    ("until they can be asked, spans a second", lambda f: f"{f['asked_per_s']:,}"),
    ("asked how long after the last answer, s", lambda f: f"{f['asked_after_s']:,}"),
    ("spans refused for good", lambda f: f"{f['refused_spans']:,}"),
    (
        "acknowledged and gone after kill -9",
        lambda f: f"{f['killed']['gone']:,} of {f['killed']['spans']:,}",
    ),
    (
        "a trace opened, ms: p50 / p99",
        lambda f: "{p50_ms:,} / {p99_ms:,}, {whole} of {opened} whole".format(**f["trace"]),
    ),
    ("the 50 newest traces, ms: first / median / slowest", _times("newest")),
    ("latencies over 30 days, ms", _times("figures")),
    ("a common word in 7 days, ms", _times("search_common")),
    ("a seldom word in 7 days, ms", _times("search_seldom")),
    ("a word that is nowhere, ms", _times("search_nowhere")),
    ("memory while writing, MiB (PSS, the most)", lambda f: f"{f['writing_mib']:,}"),
    ("memory idle, MiB (PSS)", lambda f: f"{f['idle_mib']:,}"),
    ("CPU idle, percent of a core", lambda f: f"{f['idle_cpu_percent']:,}"),
    ("processes", lambda f: str(f["processes"])),
    ("disk, bytes a span", lambda f: f"{f['bytes_per_span']:,}"),
    ("ready after, s", lambda f: f"{f['started_s']:,}"),
    ("load average when it began", lambda f: str(f["load_average"])),
)
BARS: tuple[tuple[str, Callable[[Found], float]], ...] = (
    ("Acknowledged, spans a second", lambda f: float(f["acknowledged_per_s"])),
    ("Until they can be asked, spans a second", lambda f: float(f["asked_per_s"])),
    ("A trace opened, p50, ms", lambda f: float(f["trace"]["p50_ms"])),
    ("The 50 newest traces, median, ms", lambda f: float(f["newest"]["median_ms"])),
    ("A seldom word in 7 days, median, ms", lambda f: float(f["search_seldom"]["median_ms"])),
    ("Memory while writing, MiB", lambda f: float(f["writing_mib"])),
    ("Disk, bytes a span", lambda f: float(f["bytes_per_span"])),
    ("Gone after kill -9, of those acknowledged", lambda f: float(f["killed"]["gone"])),
)


def markdown(report: Mapping[str, Any]) -> str:
    """The page."""
    doors: Mapping[str, Found] = report["doors"]
    machine = report["machine"]
    heads = [f"{DOORS[name].name} {found['version']}" for name, found in doors.items()]
    title = ", ".join(DOORS[name].name for name in doors)
    lines = [
        f"# {title}: the same {report['spans']:,} spans, {report['date']}",
        "",
        f"{machine['cores']} cores, {machine['model']}, {machine['python']}; load average {report['load_average']}",
        f"when it began. OTLP over HTTP, {report['batch']} spans in a request, {report['bytes_sent_per_span']:,} bytes",
        f"a span, {report['senders']} senders, the same bytes for each,",
        "one installation after the other. How each figure is taken is in `bench/telemetry/beside.py`.",
        "",
        f"![The same spans through three doors]({report['date']}-telemetry-beside.svg)",
        "",
        f"| | {' | '.join(heads)} |",
        "|---" * (1 + len(doors)) + "|",
    ]
    lines += [f"| {name} | {' | '.join(told(found) for found in doors.values())} |" for name, told in ROWS]
    lines += ["", "## What is compared", ""]
    for name, found in doors.items():
        door = DOORS[name]
        answers = ", ".join(f"{number:,} {what}" for what, number in sorted(found["answers"].items()))
        lines += [f"**{door.name}.** {door.note}", ""]
        lines += [f"- figures: {door.figures_are}", f"- text: {door.search_is}", f"- requests: {answers}", ""]
    return "\n".join([*lines, *_UNLIKE]) + "\n"


_UNLIKE = (
    "Tenure does for each span what the others do not: takes out secrets and personal data, seals content under its",
    "subject's key, marks its words so that they are found without lying open, and writes it twice (to the event log,",
    "which is kept for a day, and to the trace store), so that its consumers follow the log. Phoenix and MLflow sum",
    "tokens and costs of a trace as it comes, evaluate and annotate; MLflow computes percentiles of a metric by any",
    "dimension in one question. Both can be run on a PostgreSQL server, which they recommend for a team: that was not",
    "measured here.",
)


def picture(report: Mapping[str, Any]) -> str:
    """Bars, each figure on a scale of its own, as SVG."""
    doors: Mapping[str, Found] = report["doors"]
    left, bar, gap, width = 90, 16, 40, 820
    block = gap + len(doors) * (bar + 4)
    half = (len(BARS) + 1) // 2

    def lines() -> Iterator[str]:
        height = 44 + half * block
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
        yield f'<rect width="{width}" height="{height}" fill="#fff"/>'
        yield f'<text x="16" y="26" font-size="15">The same {report["spans"]:,} spans, {report["date"]}</text>'
        for place, (title, value) in enumerate(BARS):
            x, y = (place // half) * width // 2, 44 + (place % half) * block
            values = {name: value(found) for name, found in doors.items()}
            most = max([*values.values(), 1e-9])
            yield f'<text x="{x + 16}" y="{y + 22}" font-size="13">{title}</text>'
            for row, (name, one) in enumerate(values.items()):
                top = y + 30 + row * (bar + 4)
                long = (width / 2 - left - 80) * one / most
                place_of = f'x="{x + left - 6}" y="{top + 12}"'
                yield f'<text {place_of} font-size="12" text-anchor="end">{DOORS[name].name}</text>'
                yield f'<rect x="{x + left}" y="{top}" width="{long:.1f}" height="{bar}" fill="{COLOURS[name]}"/>'
                shown = f"{one:,.0f}" if one >= 100 or one == int(one) else f"{one:,.1f}"
                yield f'<text x="{x + left + long + 5:.1f}" y="{top + 12}" font-size="12">{shown}</text>'
        yield "</svg>\n"

    return "\n".join(lines())


def write(report: Mapping[str, Any], folder: Path) -> None:
    """<date>-telemetry-beside.json, .md and .svg in ``folder``."""
    place = folder / f"{report['date']}-telemetry-beside"
    place.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    place.with_suffix(".md").write_text(markdown(report))
    place.with_suffix(".svg").write_text(picture(report))
