"""``tenure blame``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors


@handle_errors
def blame(
    trace_id: Annotated[str, typer.Argument(help="As `traces list` prints it.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="At most so many steps.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which step and which agent most likely failed a run, and what in its record says so."""
    with connect() as client:
        answer = client.get(f"/v1/traces/{trace_id}/blame", dict[str, Any], limit=limit)

    def render() -> None:
        if not answer["judged"]:
            console.print("Nobody has judged this run. If it failed, then most likely here:", style="dim")
        agents = ", ".join(f"{each['agent'] or '–'} {each['share']:.0%}" for each in answer["agents"][:4])
        console.print(f"Agents: {agents}", markup=False)
        for one in answer["suspects"]:
            console.print(
                f"Step {one['step'] + 1}, {one['agent'] or '–'}, {one['share']:.0%} "
                f"({one['name']}, span {one['span_id']})",
                style="bold",
                markup=False,
                highlight=False,
            )
            for each in one["evidence"]:
                console.print(f"  {each['words']}", markup=False, highlight=False)

    emit(answer, as_json, render)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(blame)
