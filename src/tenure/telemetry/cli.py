"""Commands of telemetry: ``tenure feed``, ``traces``, ``sessions``, ``stats``."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from tenure.base.scan.rules import kinds_of
from tenure.client import Client
from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.kernel.errors import Failed
from tenure.kernel.money import dollars
from tenure.kernel.values import Status

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")]
Agent = Annotated[str | None, typer.Option("--agent", help="Only of this agent.")]

_COLOURS = {"allowed": "green", "flagged": "yellow", "violation": "red", "anomaly": "magenta"}
_BAR = 32
_VALUE = 120  # characters of a value that was changed
_AGAIN_S = 1.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@handle_errors
def feed(
    agent: Agent = None,
    status: Annotated[Status | None, typer.Option(help="Only calls of this status.")] = None,
    last: Annotated[int, typer.Option("--last", min=0, max=200, help="Begin with so many that were before.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Follow what agents do, as it happens, until Ctrl-C."""
    with connect() as client, contextlib.suppress(KeyboardInterrupt):
        client.get("/v1/me", dict[str, Any])  # says now, not after "Listening", that nobody answers or lets us in
        if not as_json:
            console.print("Listening. Calls appear as agents make them; Ctrl-C ends this.", style="dim")
        for data in _followed(client, agent=agent, status=status, last=last or None):
            if as_json:
                sys.stdout.write(data + "\n")
                sys.stdout.flush()
            else:
                console.print(_feed_line(json.loads(data)), soft_wrap=True)


def _followed(client: Client, **asked: Any) -> Iterator[str]:
    """The items of the feed, for ever: a stream that ends is taken up again after the last one."""
    after: dict[str, Any] = {}
    while True:
        try:
            for message in client.stream("/v1/feed", **asked, **after):
                after = {"after": message.id} if message.id else after
                if message.event == "message":
                    yield message.data
        except Failed as error:
            console.print(f"{error.message} Trying again.", style="dim")
            time.sleep(_AGAIN_S)


def _feed_line(item: Mapping[str, Any]) -> Text:
    line = Text(f"{_clock(item['time'])}  ", style="dim")
    line.append(f"{item['status']:<9}  ", _COLOURS.get(item["status"], ""))
    line.append(f"{item['agent'] or item['actor'] or '–':<20} ", "bold")
    line.append(item["title"], "default not dim")
    line.append(f"  {_length(item['duration_us'])}" if item["duration_us"] else "")
    return line.append(f"  {item['detail']}" if item["detail"] else "")


def _clock(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S")


def _moment(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _length(micros: float | None) -> str:
    if micros is None:
        return "–"
    for size, unit in ((1_000_000, "s"), (1000, "ms")):
        if micros >= size:
            return f"{micros / size:.3g} {unit}"
    return f"{micros:.0f} µs"


traces = typer.Typer(name="traces", help="What agents did, call by call.", no_args_is_help=True)


@traces.command("list")
@handle_errors
def list_traces(
    agent: Agent = None,
    session: Annotated[str | None, typer.Option(help="Only of this session.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List traces, the newest first."""
    with connect() as client:
        answer = client.get("/v1/traces", dict[str, Any], agent=agent, session=session, limit=limit)

    def render() -> None:
        if not answer["traces"]:
            console.print("No traces yet. Run an agent: tenure run --agent NAME -- COMMAND", markup=False)
            return
        rows = [
            (
                trace["trace_id"],
                _moment(trace["started"]),
                trace["agent"] or "–",
                trace["status"],
                trace["calls"],
                _length(trace["duration_us"]),
                trace["name"],
            )
            for trace in answer["traces"]
        ]
        table(("trace", "began", "agent", "worst", "calls", "length", "began with"), rows)
        console.print(f"Open one: tenure traces show {rows[0][0]}", style="dim", markup=False)

    emit(answer, as_json, render)


@traces.command("show")
@handle_errors
def show_trace(
    trace_id: Annotated[str, typer.Argument(help="As `traces list` prints it.")], as_json: Json = False
) -> None:
    """Draw one trace as a waterfall, with each decision, approval and breaker trip at its place."""
    with connect() as client:
        answer = client.get(f"/v1/traces/{trace_id}", dict[str, Any])

    def render() -> None:
        console.print(f"trace {answer['trace_id']}  {_length(answer['duration_us'])}", style="bold", markup=False)
        for line in waterfall(answer):
            console.print(line, soft_wrap=True)
        if answer["withheld"]:
            console.print(answer["withheld"], style="yellow", markup=False)

    emit(answer, as_json, render)


@traces.command("search")
@handle_errors
def search_traces(
    words: Annotated[
        str, typer.Argument(help="Words that were said, as refund order; in quotes together: '\"no refund\"'.")
    ],
    *,
    agent: Agent = None,
    session: Annotated[str | None, typer.Option(help="Only of this session.")] = None,
    window: Annotated[str, typer.Option(help="How far to look back: 30m, 24h, 7d.")] = "7d",
    before: Annotated[int | None, typer.Option(help="Go on below this number, as the last line says.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """Find prompts, answers, arguments and results by their words, the newest first."""
    asked = {"q": words, "agent": agent, "session": session, "window": _seconds(window), "before": before}
    with connect() as client:
        answer = client.get("/v1/traces/search", dict[str, Any], **asked, limit=limit)

    def render() -> None:
        for hit in answer["hits"]:
            line = Text(f"{_moment(hit['time'])}  ", style="dim")
            line.append(f"{hit['agent'] or '–'}  ", "bold").append(f"{hit['name']}  ", "default not dim")
            line.append(f"{hit['trace_id'] or hit['event']}\n")
            part = {name: " ".join(text.split()) for name, text in hit["snippet"].items()}
            line.append(f"    {part['before']} ").append(part["found"], "bold not dim").append(f" {part['after']}")
            console.print(line, soft_wrap=True)
        if not answer["hits"]:
            console.print(
                "Nothing with these words so far. Whole words are found; look further back with --window 30d."
            )
        if answer["next"] is not None:
            console.print(f"Go on: the same with --before {answer['next']}", style="dim", markup=False)

    emit(answer, as_json, render)


def waterfall(trace: Mapping[str, Any]) -> list[Text]:
    """The lines of a trace: a bar at its time, the name at its depth, the length, what was found in it, and why it was
    not just allowed."""
    spans = trace["spans"]
    total = max(trace["duration_us"], 1)
    lines = []
    for index, span in enumerate(spans):
        start = max(0, min(int(span["offset_us"] / total * _BAR), _BAR - 1))
        width = max(1, min(round(span["duration_us"] / total * _BAR), _BAR - start))
        bar = "█" * width if span["duration_us"] else "◆"
        colour = "red" if span["status_code"] == "error" else _COLOURS.get(span["status"], "")
        line = Text("│", style="dim")
        line.append(" " * start + bar + " " * (_BAR - start - len(bar)), colour)
        line.append("│ ", "dim").append(_branch(spans, index), "dim")
        line.append(span["name"], "bold" if span["type"].startswith("call.") else "default")
        line.append(f"  {_length(span['duration_us'])}" if span["duration_us"] else "", "dim")
        why = span["status_message"] or span["attributes"].get("reason")
        found = kinds_of(row["rule"] for row in span["attributes"].get("tenure.findings") or [])
        line.append(f"  [{', '.join(found)}]" if found else "", "yellow")
        memory = span.get("memory")
        line.append(f"  {memory['words']}" if memory else "", "cyan")
        lines.append(line.append(f"  {why}" if why else "", colour))
        lines += [line for one in span.get("altered") or () for line in _altered(one)]
    return lines


_ALTERED = {
    "edited": "asked for, and approved otherwise",
    "redacted": "redacted by policy before it was sent",
    "unrecorded": "sent, and kept out of the record",
    "retried": "changed against the call before",
    "forked": "other than in the run that is played again",
}


def _altered(one: Mapping[str, Any]) -> Iterator[Text]:
    """What became of a call's arguments: a line that says why, and one for each field."""
    margin = " " * (_BAR + 4)
    who = one["by"].removeprefix("person:")
    said = _ALTERED[one["kind"]] + (f" by {who}" if who else "") + (f": {one['reason']}" if one["reason"] else "")
    yield Text(f"{margin}{said}", style="yellow")
    for place in one["places"]:
        line = Text(f"{margin}  {place['path'] or 'all'}  ", style="dim")
        line.append(_value(place["before"], there=place["before_there"], kept=place["kept"]), "red not dim")
        yield line.append(" → ").append(_value(place["after"], there=place["after_there"]), "green not dim")
    if one["more"]:
        yield Text(f"{margin}  and more: --json has both sides", style="dim")


def _value(value: Any, *, there: bool, kept: bool = True) -> str:
    if not there or not kept:
        return "nothing" if not there else "(not kept)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 1]}…"


def _branch(spans: list[Mapping[str, Any]], index: int) -> str:
    """``├─ `` and ``└─ `` as a tree has them, with ``│`` where an elder branch goes on below."""
    depth = spans[index]["depth"]
    marks = []
    for level in range(1, depth + 1):
        below = next((span["depth"] for span in spans[index + 1 :] if span["depth"] <= level), 0)
        goes_on = below == level
        marks.append(("├─ " if goes_on else "└─ ") if level == depth else ("│  " if goes_on else "   "))
    return "".join(marks)


@handle_errors
def sessions(
    agent: Agent = None,
    source: Annotated[str | None, typer.Option(help="Where they were imported from, as tau-bench.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List sessions with how they ended, the newest first."""
    with connect() as client:
        answer = client.get("/v1/sessions", dict[str, Any], agent=agent, source=source, limit=limit)

    def render() -> None:
        if not answer["sessions"]:
            console.print(
                "No sessions yet. Run an agent: tenure run --agent NAME -- COMMAND, or bring recorded ones: "
                "tenure import tau-bench FILE",
                markup=False,
            )
            return
        table(
            ("session", "agent", "began", "calls", "flagged", "violations", "tokens", "cost", "outcome"),
            [
                (
                    item["session"],
                    item["agent"] or item["source"] or "–",
                    _moment(item["started"]),
                    item["calls"],
                    item["flagged"],
                    item["violations"],
                    item["input_tokens"] + item["output_tokens"],
                    _cost(item),
                    _outcome(item["outcome"]),
                )
                for item in answer["sessions"]
            ],
        )

    emit(answer, as_json, render)


def _cost(item: Mapping[str, Any]) -> str:
    """What it cost; a plus where calls of models without a known price are not in it."""
    return dollars(item["cost_usd"]) + ("+" if item["unpriced"] else "")


def _outcome(outcome: Mapping[str, Any] | None) -> str:
    if outcome is None:
        return "–"
    return f"{'solved' if outcome['success'] else 'not solved'} (task {outcome['task']}, trial {outcome['trial']})"


def _seconds(window: str) -> int:
    number, unit = window[:-1], window[-1:]
    if not number.isdigit() or unit not in _UNITS:
        raise typer.BadParameter(
            f"{window!r} is not a length of time; write it as 30m, 24h or 7d", param_hint="--window"
        )
    return int(number) * _UNITS[unit]


@handle_errors
def stats(
    window: Annotated[str, typer.Option(help="How far to look back: 30m, 24h, 7d.")] = "24h", as_json: Json = False
) -> None:
    """Each agent's calls in figures: statuses, errors, latency, tokens, cost."""
    with connect() as client:
        answer = client.get("/v1/stats", dict[str, Any], window=_seconds(window))

    def render() -> None:
        if not answer["agents"]:
            console.print(
                f"No calls in the last {window} (until {datetime.now(UTC):%H:%M} UTC). "
                "Look further back with --window 7d, or run an agent: tenure run --agent NAME -- COMMAND",
                markup=False,
            )
            return
        table(
            (
                "agent",
                "calls",
                "allowed",
                "flagged",
                "violations",
                "anomalies",
                "errors",
                "p50",
                "p95",
                "tokens",
                "cost",
            ),
            [
                (
                    item["agent"],
                    item["calls"],
                    item["allowed"],
                    item["flagged"],
                    item["violation"],
                    item["anomaly"],
                    f"{item['errors']} ({item['error_rate']:.1%})",
                    _length(item["p50_us"]),
                    _length(item["p95_us"]),
                    item["input_tokens"] + item["output_tokens"],
                    _cost(item),
                )
                for item in answer["agents"]
            ],
        )

    emit(answer, as_json, render)


def register(app: typer.Typer) -> None:
    """Adds these commands to ``tenure``."""
    app.command()(feed)
    app.add_typer(traces)
    app.command()(sessions)
    app.command()(stats)
