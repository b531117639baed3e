"""``tenure hook``: what coding agents call before and after each of their tools.

They wait for it each time: it loads what speaks to the gateway, and not what other commands share.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tenure.sdk.door import Door
from tenure.sdk.hooks import AGENTS
from tenure.sdk.hooks import hook as answer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(hook)


def hook(agent: Annotated[str, typer.Argument(help="claude-code or codex.")]) -> None:
    """Decide on a tool call of a coding agent: its hook's JSON on standard input, its answer on standard output."""
    if agent not in AGENTS:
        raise typer.BadParameter(f"{agent} is no coding agent known here: name {' or '.join(AGENTS)}.")
    said = answer(agent, sys.stdin.read(), Door.from_environment)
    sys.stdout.write(said.out)
    sys.stderr.write(said.err)
    raise typer.Exit(said.status)
