"""``tenure approvals stand-in``: who answers held calls for whom, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tenure.client.cli import connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(name="stand-in", help="Who answers held calls for whom.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def moment(text: str) -> str:
    """A date (to its end) or a moment as the API takes it; without a zone it is UTC. Raises Refused."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(
            "bad_moment", f"{text[:60]!r} is no moment.", fix="As in 2026-08-31 or 2026-08-31T18:00Z."
        ) from None
    if len(text) <= len("2026-08-31"):
        at = at.replace(hour=23, minute=59, second=59)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


@commands.command("list")
@handle_errors
def find(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over as well.")] = False,
    as_json: Json = False,
) -> None:
    """List who answers held calls for whom."""
    with connect() as client:
        found = client.get("/v1/approvals/stand-ins", list[dict[str, Any]], everything=everything)

    def render() -> None:
        if not found:
            console.print("Nobody stands in for anybody: `tenure approvals stand-in add` has somebody answer for you.")
            return
        rows = [
            (
                one["id"],
                one["person"],
                one["stand_in"],
                ", ".join(one["agents"]) or "all",
                ", ".join(one["tools"]) or "all",
                one["begins_at"],
                one["ended_at"] or one["ends_at"],
                "yes" if one["in_force"] else "no",
                one["reason"],
            )
            for one in found
        ]
        table(("id", "for", "answers", "agents", "tools", "from", "until", "now", "reason"), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def add(
    stand_in: Annotated[str, typer.Argument(help="The address of who is to answer for you.")],
    *,
    until: Annotated[str, typer.Option(help="The last day, or the moment, of it: 2026-08-31, 2026-08-31T18:00Z.")],
    reason: Annotated[str, typer.Option(help="Why; both of you and auditors see it.")],
    start: Annotated[str, typer.Option("--from", help="From when on; left out, at once.")] = "",
    agent: Annotated[list[str] | None, typer.Option(help="Only of agents like this (*); may be repeated.")] = None,
    tool: Annotated[list[str] | None, typer.Option(help="Only of tools like this (*); may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Have somebody answer held calls for you, for a while, with what you may decide and no more."""
    body = {
        "stand_in": stand_in,
        "ends_at": moment(until),
        "reason": reason,
        "agents": agent or [],
        "tools": tool or [],
    }
    if start:
        body["begins_at"] = moment(start)
    with connect() as client:
        made = client.post("/v1/approvals/stand-ins", dict[str, Any], body)
    said = f"{made['stand_in']} answers for {made['person']} until {made['ends_at']} ({made['id']})"
    emit(made, as_json, lambda: console.print(said, markup=False))


@commands.command()
@handle_errors
def end(
    ident: Annotated[str, typer.Argument(help="The stand-in, as `tenure approvals stand-in list` shows it.")],
    as_json: Json = False,
) -> None:
    """End it before its time."""
    with connect() as client:
        ended = client.post(f"/v1/approvals/stand-ins/{ident}/end", dict[str, Any])
    said = f"{ended['stand_in']} does not answer for {ended['person']} any more"
    emit(ended, as_json, lambda: console.print(said, markup=False))
