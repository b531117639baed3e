"""``tenure import``, ``tenure report`` and ``tenure replay``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tenure.base.clock import system_clock
from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.evaluation import importer, recorded
from tenure.evaluation import replay as replaying
from tenure.evaluation.formats import corrections, tau_bench, who_and_when
from tenure.kernel.json import Json
from tenure.kernel.values import Event

S = TypeVar("S")
File = Annotated[Path, typer.Argument(help="The recorded sessions, plain or xz.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelName = Annotated[
    str, typer.Option("--model", help="The model that was recorded; by default the file's name says.")
]

imports = typer.Typer(help="Bring recorded sessions in as traces with outcomes.", no_args_is_help=True)
reports = typer.Typer(help="Figures: how reliable agents are, what a period came to.", no_args_is_help=True)
replays = typer.Typer(help="Play recorded sessions through the live gateway.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds this room's commands."""
    app.add_typer(imports, name="import")
    app.add_typer(reports, name="report")
    app.add_typer(replays, name="replay")


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    """A progress bar on standard error, so that ``--json`` stays JSON; yields what advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _import(source: str, sessions: Sequence[S], events: Callable[[S, str], list[Event]], as_json: bool) -> None:
    with connect() as client:
        workspace = replaying.workspace(client)
        with _progress(f"importing {source}", len(sessions)) as advance:
            sent = importer.send(client, (events(session, workspace) for session in sessions), advance)

    def render() -> None:
        console.print(f"{sent.sessions} sessions, {sent.events} events, {sent.new} of them new.")

    emit({"source": source, **asdict(sent)}, as_json, render)


@imports.command("tau-bench")
@handle_errors
def import_tau_bench(file: File, model: ModelName = "", as_json: AsJson = False) -> None:
    """Import sessions of tau-bench. Can be stopped anywhere and done again: nothing is doubled."""
    sessions = tau_bench.parse(importer.read(file))
    known, now = model or tau_bench.model_of(file.name), system_clock()

    def events(session: tau_bench.Session, workspace: str) -> list[Event]:
        outcome = tau_bench.outcome_event(session, workspace, known, now)
        return [*tau_bench.trace_events(session, workspace, known, now), outcome]

    _import(tau_bench.SOURCE, sessions, events, as_json)


@imports.command("who-and-when")
@handle_errors
def import_who_and_when(file: File, as_json: AsJson = False) -> None:
    """Import the multi-agent sessions of Who&When, with the agent and the step that failed. Can be repeated."""
    sessions = who_and_when.parse(importer.read(file))
    now = system_clock()

    def events(session: who_and_when.Session, workspace: str) -> list[Event]:
        outcome = who_and_when.outcome_event(session, workspace, now)
        return [*who_and_when.trace_events(session, workspace, now), outcome]

    _import(who_and_when.SOURCE, sessions, events, as_json)


@imports.command("corrections")
@handle_errors
def import_corrections(file: File, as_json: AsJson = False) -> None:
    """Import cases of `tenure corrections export`, each a task that the agent failed. Can be repeated."""
    now = system_clock()
    _import(
        corrections.SOURCE,
        corrections.parse(importer.read(file)),
        lambda case, workspace: [corrections.outcome_event(case, workspace, now)],
        as_json,
    )


@reports.command("reliability")
@handle_errors
def reliability(
    source: Annotated[str, typer.Option(help="Only sessions of this source, for example tau-bench.")] = "",
    as_json: AsJson = False,
) -> None:
    """pass^k: how likely it is that all of k trials of a task succeed, with 95% intervals."""
    with connect() as client:
        answer = client.get("/v1/reports/reliability", dict[str, Any], source=source or None)

    def render() -> None:
        if not answer["reports"]:
            console.print("No outcomes yet. `tenure import tau-bench FILE` brings some in.")
        for item in answer["reports"]:
            _print_reliability(item)

    emit(answer, as_json, render)


def _print_reliability(item: Json) -> None:
    title = " ".join(filter(None, (item["source"], item["label"], item["dataset"][:12])))
    console.print(f"{title}: {item['sessions']} sessions of {item['tasks']} tasks", markup=False)
    rows = [
        (
            f"pass^{row['k']}",
            _rate(row["value"]),
            f"{_rate(row['low'])} to {_rate(row['high'])}",
            row["tasks"],
            row["sessions"],
        )
        for row in item["estimates"]
    ]
    table(("", "estimate", "95% interval", "tasks", "sessions"), rows)
    console.print(item["method"], style="dim", markup=False)


def _rate(value: float) -> str:
    """``.420``, as the literature prints rates."""
    return f"{value:.3f}".removeprefix("0")


@replays.command("tau-bench")
@handle_errors
def replay_tau_bench(
    file: File,
    sessions: Annotated[int, typer.Option(min=0, help="How many sessions, from the first on; 0 for all.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="How many sessions at once.")] = 4,
    model: ModelName = "",
    as_json: AsJson = False,
) -> None:
    """Drive recorded sessions through the live gateway and compare the traces; exit status 1 on any difference.

    The recorded traces are imported first (without outcomes, so that a report does not change by it).
    """
    chosen = tau_bench.parse(importer.read(file))[: sessions or None]
    model, now = model or tau_bench.model_of(file.name), system_clock()
    with connect() as client:
        workspace = replaying.workspace(client)
        with _progress("importing the record", len(chosen)) as advance:
            importer.send(client, [tau_bench.trace_events(item, workspace, model, now) for item in chosen], advance)
        with (
            recorded.running("tenure.evaluation.recorded_model", file) as model_url,
            recorded.running("tenure.evaluation.recorded_tools", file) as tools_url,
            replaying.agent(client, replaying.upstreams(model, model_url, tools_url, chosen)) as agent,
        ):
            with _progress("replaying", len(chosen)) as advance:
                began = time.monotonic()
                played = asyncio.run(replaying.play(agent, model, chosen, concurrency, advance))
                seconds = time.monotonic() - began
            with _progress("comparing", len(played)) as advance:
                compared = []
                for item in played:
                    compared.append(replaying.compare(client, workspace, item))
                    advance(1)
    report = replaying.report(agent.name, model, compared, seconds, concurrency)
    emit(asdict(report), as_json, lambda: _render_replay(report))
    if report.equal != report.sessions:
        raise typer.Exit(1)


def _render_replay(report: replaying.Report) -> None:
    decisions = ", ".join(f"{count} {effect}" for effect, count in sorted(report.decisions.items())) or "none"
    console.print(f"{report.equal} of {report.sessions} sessions came out as they went in.")
    console.print(f"{report.calls} calls governed: {report.chats} chats, {report.tools} tool calls.")
    console.print(f"Decisions: {decisions}.")
    console.print(
        f"{report.sessions_per_second} sessions per second ({report.seconds:.1f} s, {report.concurrency} at once).",
        highlight=False,
    )
    for verdict in report.verdicts:
        if verdict.problem:
            console.print(f"{verdict.session}: {verdict.problem}", markup=False)
        elif verdict.difference:
            where = f"step {verdict.difference.step}, {verdict.difference.path}"
            expected, actual = (repr(side)[:300] for side in (verdict.difference.expected, verdict.difference.actual))
            console.print(f"{verdict.session}: {where}: recorded {expected}, now {actual}", markup=False)
