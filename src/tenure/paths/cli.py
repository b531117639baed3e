"""``tenure paths``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table


@handle_errors
def paths(
    agent: Annotated[str | None, typer.Option(help="Runs that this agent has a step in.")] = None,
    source: Annotated[str | None, typer.Option(help="Where they were imported from, as tau-bench.")] = None,
    hours: Annotated[int, typer.Option(min=1, help="How far to look back.")] = 168,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most traces that are read, the newest.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which ways runs go: the common paths, loops folded, and the rare ones."""
    with connect() as client:
        found = client.get("/v1/paths", dict[str, Any], agent=agent, source=source, hours=hours, limit=limit)

    def render() -> None:
        if not found["runs"]:
            console.print("No runs in that time. `--hours` looks further back.")
            return
        rows = [
            (
                one["runs"],
                f"{100 * one['share']:.0f} %{' rare' if one['rare'] else ''}",
                one["solved"],
                one["failed"],
                f"{one['median_us'] / 1e6:.2f}",
                one["cost_usd"],
                _way(one["parts"]),
            )
            for one in found["paths"]
        ]
        table(("runs", "share", "solved", "failed", "median s", "mean $", "way"), rows)
        read = f"{found['runs']} runs of {found['traces']} traces (at most {found['most']} are read)"
        console.print(read, markup=False, style="dim")

    emit(found, as_json, render)


def _way(parts: list[Mapping[str, Any]]) -> str:
    said = [
        " ".join(part["nodes"]) if part["count"] == 1 else f"({' '.join(part['nodes'])})×{part['count']}"
        for part in parts
    ]
    return " → ".join(said)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(paths)
