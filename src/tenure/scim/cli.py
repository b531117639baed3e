"""``tenure people directory``: whom a directory has spoken of over SCIM."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, group, handle_errors, table


def register(app: typer.Typer) -> None:
    """Adds the command to those of ``tenure people``."""
    group(app, "people").command("directory")(directory)


@handle_errors
def directory(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List whom a directory (Entra, Okta) says may log in, and who has left."""
    with connect() as client:
        found = client.get("/v1/directory", dict[str, Any])

    def render() -> None:
        if not found["users"]:
            console.print(
                f"No directory has spoken of anybody. It finds Tenure at {found['address']}, with a key made by:\n"
                "tenure services add directory --role operator\n"
                "tenure services key directory --name scim --scope people:provision"
            )
            return
        rows = [(one["user_name"], one["email"], "here" if one["active"] else "left") for one in found["users"]]
        table(("user name", "logs in as", "state"), rows)

    emit(found, as_json, render)
