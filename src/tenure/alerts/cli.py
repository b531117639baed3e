"""``tenure alerts`` and ``tenure report period``: rules over what agents did, what they found, a period on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
import yaml

from tenure.client.cli import connect, console, emit, group, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(
    name="alerts",
    help="Rules over what agents did: list, show, see, rules, put, try, off, remove.",
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The rule's name.")]
Ident = Annotated[str, typer.Argument(help="The alert's id, as list shows it.")]
File = Annotated[Path, typer.Argument(help="A rule as YAML: name, measure, way, bound, over, against, at_least ...")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)
    group(app, "report").command("period")(period)


@commands.command("list")
@handle_errors
def list_(
    *,
    agent: Annotated[str | None, typer.Option(help="Of this agent only.")] = None,
    state: Annotated[str | None, typer.Option(help="open or over; both without it.")] = None,
    as_json: Json = False,
) -> None:
    """What rules found: alerts that go on, then those that are over."""
    asked = {name: value for name, value in (("agent", agent), ("state", state)) if value}
    with connect() as client:
        found = client.get("/v1/alerts", dict[str, Any], **asked)["alerts"]

    def show() -> None:
        if not found:
            console.print("No alerts. `tenure alerts rules` shows what is looked at once a minute.")
            return
        columns = ("id", "severity", "rule", "agent", "raised", "state", "words")
        rows = [
            [
                one["id"],
                one["severity"],
                one["rule"],
                one["agent"] or "all",
                one["raised_at"],
                _state(one),
                one["words"],
            ]
            for one in found
        ]
        table(columns, rows)

    emit(found, as_json, show)


def _state(one: dict[str, Any]) -> str:
    if one["over_at"]:
        return "over"
    return f"open, seen by {one['seen_by']}" if one["seen_by"] else "open"


@commands.command("show")
@handle_errors
def show_(ident: Ident, *, as_json: Json = False) -> None:
    """One alert: where it comes from, and what was changed before."""
    with connect() as client:
        found = client.get(f"/v1/alerts/{quote(ident, safe='')}", dict[str, Any])

    def show() -> None:
        console.print(f"{found['severity']}: {found['words']}")
        if found["about"]:
            console.print(found["about"])
        causes = found["evidence"]["causes"]
        if causes:
            table(
                ("where", "error", "calls", "share", "trace"),
                [[one["resource"], one["error"], one["calls"], f"{one['share']:.0%}", one["trace"]] for one in causes],
            )
        changes = found["evidence"]["changes"]
        if changes:
            table(
                ("changed", "when", "by", "agent", "what"),
                [[one["type"], one["time"], one["by"], one["agent"], one["name"]] for one in changes],
            )

    emit(found, as_json, show)


@commands.command()
@handle_errors
def see(
    ident: Ident,
    *,
    note: Annotated[str, typer.Option(help="What you do about it.")] = "",
    quiet: Annotated[str, typer.Option(help="Raise no further one for so long: 1h, 7d.")] = "",
    as_json: Json = False,
) -> None:
    """Says that you look after it, so that others need not."""
    with connect() as client:
        found = client.post(f"/v1/alerts/{quote(ident, safe='')}/see", dict[str, Any], {"note": note, "quiet": quiet})
    emit(found, as_json, lambda: console.print(f"{found['rule']}: seen by {found['seen_by']}."))


@commands.command()
@handle_errors
def rules(*, as_json: Json = False) -> None:
    """What is looked at: your own rules, and the standard ones."""
    with connect() as client:
        found = client.get("/v1/alerts/rules", dict[str, Any])["rules"]

    def show() -> None:
        columns = ("name", "condition", "severity", "whose", "about")
        rows = [
            [one["name"], one["condition"], "off" if one["off"] else one["severity"], _whose(one), one["about"]]
            for one in found
        ]
        table(columns, rows)

    emit(found, as_json, show)


def _whose(one: dict[str, Any]) -> str:
    return "standard" if one["standard"] else str(one["set_by"])


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused("bad_file", f"{file} cannot be read: {error}", fix="Name a file of YAML.") from error
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise Refused("bad_rule", f"{file} is no rule with a name.", fix="`tenure alerts rules --json` shows some.")
    return found.pop("name"), found


@commands.command()
@handle_errors
def put(file: File, *, as_json: Json = False) -> None:
    """Sets a rule, in place of another (also a standard one) of its name."""
    name, body = _read(file)
    with connect() as client:
        kept = client.put(f"/v1/alerts/rules/{quote(name, safe='')}", dict[str, Any], body)
    emit(kept, as_json, lambda: console.print(f"{kept['name']}: {kept['condition']}."))


@commands.command("try")
@handle_errors
def try_(
    file: File,
    *,
    days: Annotated[int, typer.Option(help="Over how many of the last days.")] = 7,
    as_json: Json = False,
) -> None:
    """Says when a rule would have raised an alert, without setting it."""
    name, body = _read(file)
    with connect() as client:
        found = client.post(f"/v1/alerts/rules/{quote(name, safe='')}/try?days={days}", dict[str, Any], body)

    def show() -> None:
        if not found["found"]:
            console.print(f"It would have raised nothing in the last {days} days (looked at {found['looks']} times).")
            return
        table(("when", "agent", "what"), [[one["time"], one["agent"] or "all", one["words"]] for one in found["found"]])

    emit(found, as_json, show)


@commands.command()
@handle_errors
def off(name: Name) -> None:
    """Turns a rule off; `put` sets it again, `remove` brings a standard one back."""
    with connect() as client:
        client.post(f"/v1/alerts/rules/{quote(name, safe='')}/off", dict[str, Any])
    console.print(f"{name} is off.")


@commands.command()
@handle_errors
def remove(name: Name) -> None:
    """Removes a rule of your own; the standard one of its name, if there is one, holds again."""
    with connect() as client:
        found = client.delete(f"/v1/alerts/rules/{quote(name, safe='')}", dict[str, Any])
    standard = found["standard"]
    console.print(
        f"{name} is gone." + (f" The standard rule holds again: {standard['condition']}." if standard else "")
    )


@handle_errors
def period(
    *,
    days: Annotated[int, typer.Option(help="How many of the last days.")] = 7,
    as_json: Json = False,
) -> None:
    """A period on one page, for those who were not there: figures beside the period before, alerts, changes."""
    with connect() as client:
        found = client.get("/v1/report", dict[str, Any], days=days)

    def show() -> None:
        for line in found["summary"]:
            console.print(line)
        table(
            ("figure", "now", "before"),
            [[one["name"], one["now_words"], one["before_words"]] for one in found["figures"]],
        )
        if found["agents"]:
            columns = ("agent", "calls", "runs", "cost_usd", "unpriced")
            table(columns, [[one[column] for column in columns] for one in found["agents"]])
        if found["alerts"]:
            table(
                ("raised", "severity", "agent", "what"),
                [[one["raised_at"], one["severity"], one["agent"] or "all", one["words"]] for one in found["alerts"]],
            )

    emit(found, as_json, show)
