"""The ``tenure`` command."""

from __future__ import annotations

import os
import sys
from functools import cache

import typer

from tenure.app.commands import register

_COMPLETED = "_TENURE_COMPLETE"
"""Set where a shell asks how a line may go on: then its words are there, and none of them is ours."""

app = typer.Typer(
    name="tenure",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)


@app.callback()
def tenure() -> None:  # without it Typer would take the one command of a process for the whole of its line
    """The control plane for the working life of AI agents."""


@cache
def whole() -> typer.Typer:
    """Every command."""
    register(app, "")
    return app


def main() -> None:
    """Entry point of the console script."""
    words = [] if _COMPLETED in os.environ else [given for given in sys.argv[1:] if not given.startswith("-")]
    register(app, words[0] if words else "")
    app()


if __name__ == "__main__":
    main()
