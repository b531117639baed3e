"""``tenure hook``: what coding agents call before and after each of their tools."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tenure.client.cli import handle_errors
from tenure.kernel.errors import Refused
from tenure.sdk.door import Door
from tenure.sdk.hooks import AGENTS
from tenure.sdk.hooks import hook as answer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(hook)


@handle_errors
def hook(agent: Annotated[str, typer.Argument(help="claude-code or codex.")]) -> None:
    """Decide on a tool call of a coding agent: its hook's JSON on standard input, its answer on standard output."""
    if agent not in AGENTS:
        raise Refused("unknown_agent", f"{agent} is no coding agent known here.", fix=f"Name {' or '.join(AGENTS)}.")
    said = answer(agent, sys.stdin.read(), Door.from_environment)
    sys.stdout.write(said.out)
    sys.stderr.write(said.err)
    raise typer.Exit(said.status)
