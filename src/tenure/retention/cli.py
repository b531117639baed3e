"""``tenure retention``: how long content is kept, whom it is about, and erasing it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

commands = typer.Typer(name="retention", help="How long content is kept; erasing it.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command()
@handle_errors
def show(as_json: Json = False) -> None:
    """Show how long what is kept."""
    with connect() as client:
        found = client.get("/v1/retention", dict[str, Any])

    def render() -> None:
        rows = [("content", f"{found['content']} days")]
        rows += [(f"content of agents with {kind}", f"{days} days") for kind, days in found["by_class"].items()]
        rows += [("content of uneventful traces", f"{found['share']} % beyond the first hour")]
        rows += [("that it happened, and what it cost", f"{found['records']} days")]
        table(("what", "how long"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def subjects(
    like: Annotated[str, typer.Option(help="Only those that have this in their name.")] = "", as_json: Json = False
) -> None:
    """List whom content is kept about."""
    with connect() as client:
        found = client.get("/v1/subjects", list[dict[str, Any]], like=like)

    def render() -> None:
        if not found:
            console.print("There is no content about anybody of that name.")
            return
        rows = [(one["subject"], str(one["events"]), (one["oldest"] or "")[:10]) for one in found]
        table(("subject", "events", "since"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def erasures(as_json: Json = False) -> None:
    """List what was erased."""
    with connect() as client:
        found = client.get("/v1/erasures", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("Nothing was erased. Erase what is kept about somebody: tenure retention erase person:NAME")
            return
        rows = [(one["asked_at"][:16].replace("T", " "), one["subject"], one["asked_by"], _state(one)) for one in found]
        table(("asked", "subject", "by", "state"), rows)

    emit(found, as_json, render)


def _state(erasure: dict[str, Any]) -> str:
    return "done, and the name forgotten" if erasure["done_at"] else "waits until all have read the log"


@commands.command()
@handle_errors
def erase(
    subject: Annotated[str, typer.Argument(help="person:NAME or agent:NAME, as `subjects` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase all content about somebody that was recorded until now, for good."""
    what = f"This destroys the key of {subject}: what they said, were told and had done cannot be read again."
    confirm(f"{what} That it happened, and the audit, stay.", yes)
    with connect() as client:
        done = client.post("/v1/erasures", dict[str, Any], {"subject": subject, "reason": reason})
    emit(done, as_json, lambda: console.print(f"asked for: {done['id']}; done within seconds"))
