"""``tenure limits``: rate limits and budgets, what was used of them, and setting those of the workspace."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

commands = typer.Typer(name="limits", help="Rate limits and budgets: list, set, remove.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="LIMIT", help="The limit's name: lower-case letters, digits, hyphens.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class Of(StrEnum):
    """What is counted."""

    CALLS = "calls"
    TOKENS = "tokens"
    INPUT = "input_tokens"
    OUTPUT = "output_tokens"
    USD = "usd"


class Per(StrEnum):
    """The window."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Each(StrEnum):
    """Whose account."""

    WORKSPACE = "workspace"
    AGENT = "agent"
    PERSON = "person"
    CHAIN = "chain"
    TOOL = "tool"
    MODEL = "model"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def find(
    agent: Annotated[str, typer.Option(help="Those of this agent's manifest only.")] = "", as_json: Json = False
) -> None:
    """List every limit and what was used of it in the present window."""
    with connect() as client:
        found = client.get("/v1/limits", list[dict[str, Any]])
    found = [item for item in found if agent in ("", item["agent"])]

    def render() -> None:
        if not found:
            console.print(
                "Nothing is limited: an agent's manifest does it under spec.budgets and spec.limits, "
                "`tenure limits set` for the workspace."
            )
            return
        rows = [row for item in found for row in _rows(item)]
        table(("limit", "allowed", "account", "used", "percent", "leased", "until"), rows)
        for item in found:
            if item["unpriced"]:
                names = ", ".join(item["unpriced"])
                console.print(f"{item['id']} does not count {names}: no price is known (TENURE_PRICES).", markup=False)

    emit(found, as_json, render)


def _rows(item: dict[str, Any]) -> list[tuple[str, ...]]:
    only = f" ({item['only']})" if item["only"] else ""
    allowed = f"{item['allowed']}, each {item['each']}{only}" if item["each"] != "workspace" else item["allowed"]
    shown = item["name"] or item["id"]
    if not item["accounts"]:
        return [(shown, allowed, "", "nothing yet", "0", "", "")]
    return [
        (shown, allowed, one["whom"], one["spent_shown"], str(one["percent"]), one["held"], one["ends"])
        for one in item["accounts"]
    ]


@commands.command("set")
@handle_errors
def set_limit(  # noqa: PLR0917 (the parts of one limit, as its words put them)
    name: Name,
    amount: Annotated[str, typer.Argument(help="How much: a whole number, or dollars as in 2.50.")],
    of: Annotated[Of, typer.Option(help="What is counted.")],
    per: Annotated[Per, typer.Option(help="How long the window is.")],
    reason: Reason,
    each: Annotated[Each, typer.Option(help="Whose account is charged: one, or one for each.")] = Each.WORKSPACE,
    only: Annotated[str, typer.Option(help="Only this one of them; a * stands for any letters.")] = "",
    sliding: Annotated[bool, typer.Option("--sliding", help="Any stretch of time, not the calendar's.")] = False,
    zone: Annotated[str, typer.Option(help="Time zone in which days and months begin.")] = "UTC",
    as_json: Json = False,
) -> None:
    """Set a limit of the workspace, in place of another of that name."""
    body = {
        "of": of.value,
        "amount": amount,
        "per": per.value,
        "each": each.value,
        "only": only,
        "sliding": sliding,
        "zone": zone,
        "reason": reason,
    }
    with connect() as client:
        item = client.put(f"/v1/limits/{name}", dict[str, Any], body)
    emit(item, as_json, lambda: console.print(f"set: {item['name']}, {item['allowed']}", markup=False))


@commands.command()
@handle_errors
def remove(name: Name, reason: Reason, *, yes: Yes = False, as_json: Json = False) -> None:
    """Take a limit of the workspace back."""
    confirm(f"Limit {name} will hold nobody back any more.", yes)
    with connect() as client:
        item = client.delete(f"/v1/limits/{name}", dict[str, Any], reason=reason)
    emit(item, as_json, lambda: console.print(f"removed: {item['name']}, which was {item['allowed']}", markup=False))
