"""``tenure doctor``: here and not beside the other commands, which wait for nothing that it looks at."""

from __future__ import annotations

from typing import Annotated

import typer

from tenure.app import doctor as examination
from tenure.base import config as settings
from tenure.client.cli import console, emit, handle_errors


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor")(doctor)


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
