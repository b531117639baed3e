"""``tenure search``: one question over agents, tools and policies."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("search")(search)


@handle_errors
def search(
    words: Annotated[list[str], typer.Argument(help="What to look for.")],
    *,
    kind: Annotated[str | None, typer.Option(help="agent, tool or policy; all without it.")] = None,
    limit: Annotated[int, typer.Option(help="The most that is shown.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Finds agents, tools and policies by what they are about."""
    asked: dict[str, Any] = {"q": " ".join(words), "limit": limit, **({"what": kind} if kind else {})}
    with connect() as client:
        found = client.get("/v1/search", dict[str, Any], **asked)

    def show() -> None:
        if found["problem"]:
            console.print(f"By words only: {found['problem']}")
        if not found["hits"]:
            console.print("Nothing is about that. `tenure traces search` looks into what agents said.")
            return
        rows = [[hit["kind"], hit["name"], hit["about"], " and ".join(hit["by"])] for hit in found["hits"]]
        table(("kind", "name", "about", "found by"), rows)

    emit(found, as_json, show)
