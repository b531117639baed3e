"""``tenure corrections``: where people decided otherwise than agents."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(
    name="corrections", help="Overrides and corrections: list, correct, export as cases.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Which(StrEnum):
    """What kind."""

    CORRECTED = "corrected"
    REJECTED = "rejected"
    EXECUTED = "executed"
    EDITED = "edited"
    DISCARDED = "discarded"
    ELSEWHERE = "elsewhere"
    FORCED = "forced"
    LEVEL = "level"


Kind = Annotated[Which | None, typer.Option(help="Of this kind only.")]
Agent = Annotated[str | None, typer.Option(help="Of this agent only.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def find(
    kind: Kind = None,
    agent: Agent = None,
    by: Annotated[str | None, typer.Option(help="Of this person only: person:EMAIL.")] = None,
    as_json: Json = False,
) -> None:
    """List overrides and corrections, newest first: who, why, before and after."""
    with connect() as client:
        found = client.get(
            "/v1/corrections", list[dict[str, Any]], what=kind.value if kind is not None else None, agent=agent, by=by
        )

    def render() -> None:
        if not found:
            console.print("None.")
            return
        rows = [
            (
                one["at"][:16],
                one["kind"],
                one["by"],
                one["agent"],
                one["resource"],
                _short(one["before"]),
                _short(one["after"]),
                one["reason"],
            )
            for one in found
        ]
        table(("at", "kind", "by", "agent", "resource", "before", "after", "why"), rows)

    emit(found, as_json, render)


def _short(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)[:40]


@commands.command()
@handle_errors
def make(
    call: Annotated[str, typer.Argument(help="The call, as traces show it.")],
    reason: Annotated[str, typer.Option(help="What was wrong; it is kept.")],
    right: Annotated[str, typer.Option(help="What would have been right, as JSON; null for nothing at all.")] = "null",
    as_json: Json = False,
) -> None:
    """Say that a call, or a model's answer, was wrong, and what would have been right."""
    try:
        wanted = json.loads(right)
    except ValueError as error:
        raise Refused("bad_json", f"--right is no JSON: {error}", fix="Put a text into quotes.") from error
    with connect() as client:
        item = client.post("/v1/corrections", dict[str, Any], {"call": call, "reason": reason, "right": wanted})
    emit(item, as_json, lambda: console.print(f"kept: {item['id']} on {item['resource']}", markup=False))


@commands.command()
@handle_errors
def export(
    kind: Kind = None,
    agent: Agent = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file; standard output otherwise.")] = None,
) -> None:
    """Export cases, one JSON object a line: a dataset for `tenure import corrections`."""
    with connect() as client:
        found = client.get(
            "/v1/corrections/export", list[dict[str, Any]], what=kind.value if kind is not None else None, agent=agent
        )
    text = "".join(json.dumps(one, ensure_ascii=False, sort_keys=True) + "\n" for one in found)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise Refused("cannot_write", f"Cannot write {out}: {error.strerror}.", fix="Name another file.") from error
    console.print(f"{len(found)} cases in {out}", markup=False)
