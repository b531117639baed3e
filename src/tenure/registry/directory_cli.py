"""``tenure agents export`` and ``import``: to and from other directories of agents."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tenure.client.cli import connect, handle_errors
from tenure.kernel.errors import Refused
from tenure.registry import directories


class Format(StrEnum):
    """Whose shape."""

    ENTRA = "entra"
    OKTA = "okta"


Shape = Annotated[Format, typer.Option("--format", help="entra (Microsoft Entra Agent ID) or okta (AI agents).")]


def register(agents: typer.Typer) -> None:
    """Adds the commands."""
    agents.command("export")(export)
    agents.command("import")(take)


@handle_errors
def export(
    shape: Shape,
    blueprint: Annotated[str, typer.Option(help="entra: the appId of the agent identity blueprint.")] = "",
    app: Annotated[str, typer.Option(help="okta: the id of the connected app.")] = "",
) -> None:
    """Print the agents as another directory's API takes them: each member is the body of one request to it.

    Nothing is sent. No live tenant of either was used to try this; it keeps to what their makers publish.
    """
    if shape is Format.ENTRA and not blueprint:
        raise Refused("no_blueprint", "An agent identity is made of a blueprint.", fix="Name it with --blueprint.")
    with connect() as client:
        found = client.get("/v1/agents", list[dict[str, Any]])
    told = directories.to_entra(found, blueprint) if shape is Format.ENTRA else directories.to_okta(found, app)
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


@handle_errors
def take(
    listing: Annotated[Path, typer.Argument(help="What the directory's API answered, as JSON.")],
    shape: Shape,
    workspace: Annotated[str | None, typer.Option(help="Workspace to name in the manifests.")] = None,
) -> None:
    """Print the beginning of a manifest for each agent that another directory lists.

    A directory does not know models, instructions or risk: fill them in; `tenure apply` names what is missing.
    """
    try:
        document = json.loads(listing.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Refused("bad_directory", f"{listing} cannot be read as JSON: {error}", fix="Give a JSON file.") from error
    read = directories.from_entra if shape is Format.ENTRA else directories.from_okta
    for draft in read(document, workspace):
        name = draft.manifest["metadata"]["name"]
        if not draft.enabled:
            sys.stderr.write(f"{name}: left out, it may not act there\n")
            continue
        known = f"# {shape.value}: {draft.ident}\n" if draft.ident.isprintable() and draft.ident else ""
        sys.stdout.write(f"---\n{known}{yaml.safe_dump(draft.manifest, sort_keys=False, allow_unicode=True)}")
