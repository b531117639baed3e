"""``tenure policy``: what runs, whether files are good, load them now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, fault_line, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(name="policy", help="Policies: show, validate, reload.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command()
@handle_errors
def show(
    name: Annotated[str, typer.Argument(help="A file to print, or `schema` for the words policies may use.")] = "",
    as_json: Json = False,
) -> None:
    """Show the running policies: version, files, and why the folder was refused if it was."""
    with connect() as client:
        if name == "schema":
            words = client.get("/v1/policies/schema", dict[str, Any])
            emit(words, as_json, lambda: print(words["cedar"], end=""))
            return
        policies = client.get("/v1/policies", dict[str, Any])
    if name:
        file = next((file for file in policies["files"] if file["name"] == name), None)
        if file is None:
            names = ", ".join(file["name"] for file in policies["files"])
            raise Refused("unknown_policy_file", f"No running policy file is named {name}.", fix=f"There are: {names}.")
        emit(file, as_json, lambda: print(file["text"], end=""))
        return
    emit(policies, as_json, lambda: _render(policies))


def _render(policies: dict[str, Any]) -> None:
    if policies["version"] is None:
        console.print("No policies run: every call is refused.")
    else:
        by = f"{policies['loaded_at']} by {policies['loaded_by']}"
        console.print(f"version {policies['version']}, loaded {by}", markup=False, soft_wrap=True)
        table(("file", "lines"), [(file["name"], file["text"].count("\n")) for file in policies["files"]])
    if problem := policies["last_problem"]:
        console.print(f"The folder was refused at {problem['at']}; the version above stays:", style="red")
        for fault in problem["faults"]:
            console.print(f"  {fault_line(fault)}", markup=False, soft_wrap=True)


def _read(path: Path) -> list[dict[str, str]]:
    paths = sorted(path.glob("*.cedar")) if path.is_dir() else [path]
    if not paths:
        raise Refused("no_policy_files", f"{path} holds no .cedar file.")
    try:
        return [{"name": file.name, "text": file.read_text(encoding="utf-8")} for file in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("unreadable_policy_file", f"{path} cannot be read: {error}.") from error


@commands.command()
@handle_errors
def validate(
    path: Annotated[Path, typer.Argument(help="A Cedar file or a folder of them.")], as_json: Json = False
) -> None:
    """Check files without loading them; exit status 1 and file and line of every fault when they are broken."""
    with connect() as client:
        verdict = client.post("/v1/policies/validate", dict[str, Any], {"files": _read(path)})

    def render() -> None:
        for fault in verdict["faults"]:
            console.print(fault_line(fault), style="red", markup=False, soft_wrap=True)
        if verdict["valid"]:
            rows = [(rule["id"], rule["effect"], rule["obligation"], rule["reason"]) for rule in verdict["policies"]]
            table(("policy", "effect", "obligation", "reason"), rows)
            console.print(f"valid, version {verdict['version']}", soft_wrap=True)

    emit(verdict, as_json, render)
    if not verdict["valid"]:
        raise typer.Exit(1)


@commands.command()
@handle_errors
def reload(as_json: Json = False) -> None:
    """Load the policies folder now, without waiting for the watcher."""
    with connect() as client:
        loaded = client.post("/v1/policies/reload", dict[str, Any])
    word = "loaded" if loaded["changed"] else "unchanged"
    emit(loaded, as_json, lambda: console.print(f"{word}: version {loaded['version']}", soft_wrap=True))
