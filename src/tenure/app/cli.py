"""``tenure up``, ``tenure move-traces`` and ``tenure version``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tenure import __version__
from tenure.client.cli import handle_errors


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("up")(up)
    app.command("move-traces")(move_traces)
    app.command("version")(version)


@handle_errors
def up() -> None:
    """Start the gateway and the control plane, and keep both running until Ctrl-C."""
    # In this process's place, since what only commands need would lie in memory for as long as both run.
    os.execv(sys.executable, (sys.executable, "-m", "tenure.app.up"))  # noqa: S606 (our own module, no shell is meant)


def move_traces(
    former: Annotated[str, typer.Argument(help="Where they are: a file, or clickhouse://USER@HOST:PORT/DATABASE.")],
) -> None:
    """Take the traces of a former place into the one that TENURE_TRACES names, while Tenure is stopped."""
    # Another program in this process's place: no other command is to load an engine.
    os.execv(sys.executable, (sys.executable, "-m", "tenure.telemetry.moving", former))  # noqa: S606 (our own module)


def version() -> None:
    """Print the version."""
    print(__version__)
