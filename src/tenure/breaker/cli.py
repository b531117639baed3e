"""``tenure breaker``: which agents are stopped, and letting one act again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

commands = typer.Typer(name="breaker", help="Breakers: list, reset.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def find(as_json: Json = False) -> None:
    """List every agent's breaker."""
    with connect() as client:
        found = client.get("/v1/breakers", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("No breakers yet: each agent has one from when it is registered.")
            return
        rows = [
            (
                item["agent"],
                "TRIPPED" if item["tripped"] else "closed",
                f"{item['violations']} of {item['threshold']} within {item['window_s']:g} s",
                item["reason"],
            )
            for item in found
        ]
        table(("agent", "breaker", "violations", "reason"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def reset(
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    reason: Annotated[str, typer.Option(help="Why it is safe; kept in the audit.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Let an agent act again after its breaker has tripped."""
    confirm(f"Agent {agent} will be able to act again, and its violations are counted anew.", yes)
    with connect() as client:
        item = client.post(f"/v1/agents/{agent}/breaker/reset", dict[str, Any], {"reason": reason})
    emit(item, as_json, lambda: console.print(f"reset: {agent}, epoch {item['epoch']}", markup=False))
