"""``tenure exports``: where traces are sent on to."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table

commands = typer.Typer(name="exports", help="Where traces are sent on to: list, put, remove.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The destination's name.")]


class Tool(StrEnum):
    """What a destination is."""

    OTLP = "otlp"
    PHOENIX = "phoenix"
    LANGSMITH = "langsmith"
    LANGFUSE = "langfuse"
    WEAVE = "weave"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def list_(*, as_json: Json = False) -> None:
    """Where traces go: what was sent, what waits, and why it does."""
    with connect() as client:
        found = client.get("/v1/exports", dict[str, Any])["exports"]

    def show() -> None:
        if not found:
            console.print(
                "Traces are sent nowhere. `tenure exports put NAME --to phoenix --url http://HOST:6006` adds a place."
            )
            return
        columns = ("name", "kind", "url", "content", "sent", "waiting", "dropped", "problem")
        table(columns, [[one[column] for column in columns] for one in found])

    emit(found, as_json, show)


@commands.command()
@handle_errors
def put(
    name: Name,
    *,
    kind: Annotated[Tool, typer.Option("--to", help="What it is.")],
    url: Annotated[
        str, typer.Option(help="Address of its OTLP/HTTP receiver; without it the cloud of that kind.")
    ] = "",
    secret: Annotated[str, typer.Option(help="Name of the secret that holds its key (Langfuse: public:secret).")] = "",
    project: Annotated[str, typer.Option(help="The project there (Weave: entity/project).")] = "",
    content: Annotated[
        bool, typer.Option("--content", help="Prompts, answers, arguments and results go along, redacted.")
    ] = False,
    whole: Annotated[bool, typer.Option("--whole", help="From the oldest trace that is kept.")] = False,
    as_json: Json = False,
) -> None:
    """Sends traces on to a place, from now."""
    body = {"kind": kind.value, "url": url, "secret": secret, "project": project, "content": content, "whole": whole}
    with connect() as client:
        kept = client.put(f"/v1/exports/{quote(name, safe='')}", dict[str, Any], body)
    emit(kept, as_json, lambda: console.print(f"Traces go to {kept['url']}. `tenure exports list` says how it fares."))


@commands.command()
@handle_errors
def remove(name: Name) -> None:
    """Sends traces there no longer."""
    with connect() as client:
        client.delete(f"/v1/exports/{quote(name, safe='')}", dict[str, Any])
    console.print(f"Nothing is sent to {name} any more.")
