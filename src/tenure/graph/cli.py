"""``tenure graph``: what depends on what, and what is hit when something goes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_ROWS = 200

_graph = typer.Typer(no_args_is_help=True, help="What depends on what.")


def register(app: typer.Typer) -> None:
    """Adds the commands of the graph."""
    app.add_typer(_graph, name="graph")


@_graph.command("show")
@handle_errors
def show(
    focus: Annotated[
        str, typer.Option("--focus", help="Only around this node, as agent:clerk or tool:crm/refund.")
    ] = "",
    steps: Annotated[int, typer.Option("--steps", help="How far around it.", min=1, max=5)] = 2,
    as_json: AsJson = False,
) -> None:
    """Show who uses what, the most used first."""
    with connect() as client:
        found = client.get("/v1/graph", dict[str, Any], focus=focus or None, steps=steps)

    def render() -> None:
        rows = [(e["source"], e["target"], e["age"], f"{e['per_day']:g}", e["calls"]) for e in found["edges"][:_ROWS]]
        if rows:
            table(("what", "depends on", "used", "calls a day", "calls"), rows)
            left = len(found["edges"]) + found["cut"] - len(rows)
            console.print(f"{len(found['nodes'])} nodes" + (f"; {left} edges more (--focus, --json)" if left else ""))
        else:
            console.print("Nothing depends on anything yet. Register an agent: tenure apply -f agent.yaml")

    emit(found, as_json, render)


@_graph.command("blast")
@handle_errors
def blast(
    node: Annotated[str, typer.Argument(help="What goes, as agent:clerk, tool:crm/refund or model:gpt-4o.")],
    as_json: AsJson = False,
) -> None:
    """Show who is hit when something is retired or breaks."""
    with connect() as client:
        found = client.get("/v1/graph/blast", dict[str, Any], node=node)

    def render() -> None:
        rows = [(h["node"]["key"], h["steps"], h["via"], f"{h['per_day']:g}") for h in found["hits"]]
        if rows:
            table(("hit", "steps", "through", "calls a day"), rows)
            console.print(f"{len(rows)} hit, {found['per_day']:g} calls a day")
        else:
            console.print(f"Nothing depends on {node}.", markup=False)

    emit(found, as_json, render)
