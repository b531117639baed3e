"""The ``tenure`` command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tenure import __version__
from tenure.app import doctor as examination
from tenure.app.commands import COMMANDS
from tenure.base import config as settings
from tenure.client.cli import console, emit, handle_errors

app = typer.Typer(
    name="tenure",
    help="The control plane for the working life of AI agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)


@app.command()
@handle_errors
def up() -> None:
    """Start the gateway and the control plane, and keep both running until Ctrl-C."""
    # In this process's place, since what only commands need would lie in memory for as long as both run.
    os.execv(sys.executable, (sys.executable, "-m", "tenure.app.up"))  # noqa: S606 (our own module, no shell is meant)


@app.command()
@handle_errors
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is wrong with this installation and how to mend it; exit status 1 when something is."""
    findings = list(examination.examine(settings.load()))

    def render() -> None:
        colours = {"ok": "green", "note": "yellow", "problem": "red"}
        for finding in findings:
            console.print(
                f"[{colours[finding.level]}]{finding.level:<8}[/] {finding.check}: {finding.found}", highlight=False
            )
            if finding.fix and finding.level != "ok":
                console.print(f"         {finding.fix}", highlight=False)

    emit([finding.as_json() for finding in findings], as_json, render)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


@app.command()
def move_traces(
    former: Annotated[str, typer.Argument(help="Where they are: a file, or clickhouse://USER@HOST:PORT/DATABASE.")],
) -> None:
    """Take the traces of a former place into the one that TENURE_TRACES names, while Tenure is stopped."""
    # Another program in this process's place: no other command is to load an engine.
    os.execv(sys.executable, (sys.executable, "-m", "tenure.telemetry.moving", former))  # noqa: S606 (our own module)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


for register in COMMANDS:
    register(app)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
