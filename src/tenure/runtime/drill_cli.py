"""``tenure drill``: not beside ``tenure run``, which stays for as long as its process and needs none of this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenure.client.cli import connect, console, emit, handle_errors
from tenure.runtime.drill import Plan, drill, keep

drills = typer.Typer(name="drill", help="Drills, which keep their evidence: rotation.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(drills)


@drills.command("rotation")
@handle_errors
def rotation(  # noqa: PLR0917 (Typer's: each is an option by its name)
    agent: Annotated[str, typer.Option(help="The agent that calls meanwhile.")],
    model: Annotated[str, typer.Option(help="Model to ask for a word; else models are listed.")] = "",
    seconds: Annotated[float, typer.Option(help="How long.")] = 30.0,
    every: Annotated[float, typer.Option(help="Seconds between rotations.")] = 5.0,
    threads: Annotated[int, typer.Option(help="Calls at once.")] = 4,
    secret: Annotated[str, typer.Option(help="Upstream secret to rotate as well.")] = "",
    values: Annotated[str, typer.Option(help="Command that prints the secret's next value, once a turn.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the evidence.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replace signing keys, gateways' keys, an agent's credentials and a secret under live load, and issue tokens all
    the while; exit 1 if a call failed or a token was refused."""
    evidence = drill(connect, Plan(agent, model, seconds, every, threads, secret, values))
    path = keep(evidence, out)

    def render() -> None:
        counts = f"{evidence['calls']} calls, {evidence['failed']} failed"
        issued = f"{evidence['tokens_issued']} tokens issued, {evidence['tokens_refused']} refused"
        turns = f"{len(evidence['rotations'])} rotations, {evidence['tokens_taken']} tokens taken"
        console.print(f"{counts}; {issued}; {turns}. Evidence: {path}", markup=False)

    emit(evidence, as_json, render)
    bad = evidence["failed"] or evidence["tokens_refused"] or evidence["stopped_early"]
    raise typer.Exit(1 if bad else 0)
