"""``tenure drafts``: calls that agents prepared and did not make."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(
    name="drafts", help="Calls that agents prepared and did not make: list, make, discard.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Ident = Annotated[str, typer.Argument(help="The draft, as `tenure drafts list` shows it.")]
Why = Annotated[str, typer.Option(help="Why; it is kept.")]


class Wanted(StrEnum):
    """Which ones to list."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    DISCARDED = "discarded"
    ELSEWHERE = "elsewhere"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def find(
    state: Annotated[Wanted, typer.Option(help="Which ones.")] = Wanted.OPEN,
    agent: Annotated[str | None, typer.Option(help="Of this agent only.")] = None,
    work: Annotated[str | None, typer.Option(help="Of this task or session only.")] = None,
    as_json: Json = False,
) -> None:
    """List prepared calls, those of a task or session together; those that wait for a person unless told otherwise."""
    wanted = None if state is Wanted.ALL else state.value
    with connect() as client:
        found = client.get("/v1/drafts", list[dict[str, Any]], state=wanted, agent=agent, work=work)
    found.sort(key=lambda one: (one["agent"], one["work"], one["drafted_at"]))

    def render() -> None:
        if not found:
            console.print("Nothing waits." if state is Wanted.OPEN else "None.")
            return
        rows = [
            (
                one["id"],
                one["kind"],
                one["state"],
                one["agent"],
                one["work"],
                one["resource"],
                json.dumps(one["edited"] or one["arguments"], ensure_ascii=False)[:60],
            )
            for one in found
        ]
        table(("id", "kind", "state", "agent", "task or session", "resource", "arguments"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def show(ident: Ident, as_json: Json = False) -> None:
    """Show one prepared call: what exactly, what for, and what became of it."""
    with connect() as client:
        one = client.get(f"/v1/drafts/{ident}", dict[str, Any])
    emit(one, as_json, lambda: _render(one))


def _render(one: dict[str, Any]) -> None:
    keys = ("kind", "state", "agent", "work", "resource", "why", "justification", "times", "decided_by", "reason")
    for key in (*keys, "trace_id", "event", "digest"):
        if one[key]:
            console.print(f"{key.replace('_', ' '):<13} {one[key]}", markup=False, soft_wrap=True)
    for note in one["notes"]:
        console.print(f"{'note':<13} {note}", markup=False, soft_wrap=True)
    if not one["whole"]:
        console.print("not whole     what the agent gave was not kept in full; give arguments to make it")
    for key in ("arguments", "edited", "outcome"):
        if one[key] is not None:
            console.print(key)
            console.print(json.dumps(one[key], indent=2, ensure_ascii=False), markup=False, soft_wrap=True)


@commands.command()
@handle_errors
def execute(
    ident: Ident,
    *,
    arguments: Annotated[str | None, typer.Option(help="Other arguments: JSON, or @FILE with it.")] = None,
    reason: Annotated[str, typer.Option(help="Why; needed with other arguments.")] = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Have a prepared call made, once, in the agent's place and as yourself; policy decides on it anew."""
    given = _given(arguments) if arguments is not None else None
    with connect() as client:
        one = client.get(f"/v1/drafts/{ident}", dict[str, Any])
        if not as_json:
            _render(one)
        confirm("This call will be made.", yes)
        body = {"decision": "execute", "digest": one["digest"], "reason": reason, "arguments": given}
        done = client.post(f"/v1/drafts/{ident}/decision", dict[str, Any], body)
    told = f"{done['state']}: {done['resource']}; `tenure drafts show {ident}` says what came of it"
    emit(done, as_json, lambda: console.print(told, markup=False))


def _given(text: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise Refused("bad_arguments", f"These are no arguments: {error}", fix="Write a JSON object.") from error
    if not isinstance(found, dict):
        raise Refused("bad_arguments", "Arguments are a JSON object.", fix='As in {"amount": 5}.')
    return found


@commands.command()
@handle_errors
def discard(ident: Ident, reason: Why, as_json: Json = False) -> None:
    """Throw a prepared call away."""
    _say(ident, "discard", reason, as_json)


@commands.command()
@handle_errors
def elsewhere(ident: Ident, reason: Why, as_json: Json = False) -> None:
    """Say that what was prepared was done by other means."""
    _say(ident, "elsewhere", reason, as_json)


def _say(ident: str, decision: str, reason: str, as_json: bool) -> None:
    with connect() as client:
        one = client.get(f"/v1/drafts/{ident}", dict[str, Any])
        body = {"decision": decision, "digest": one["digest"], "reason": reason}
        done = client.post(f"/v1/drafts/{ident}/decision", dict[str, Any], body)
    emit(done, as_json, lambda: console.print(f"{done['state']}: {done['agent']} {done['resource']}", markup=False))
