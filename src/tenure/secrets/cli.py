"""``tenure secrets``: keep, list, rotate, allow, remove; values come from standard input and are never shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused
from tenure.secrets.connector_cli import commands as connectors

commands = typer.Typer(
    name="secrets", help="Credentials of upstreams: put, list, allow, rotate, remove.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The secret's name.")]
Host = Annotated[
    list[str] | None, typer.Option(help="Host that it may be sent to, as in api.example.com or 127.0.0.1:9010.")
]
Program = Annotated[
    list[str] | None, typer.Option(help="How the command line of a server begins that may be started with it.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)
    app.add_typer(connectors)


def _at(name: str) -> str:
    return f"/v1/secrets/{quote(name, safe='')}"


def _value(name: str) -> str:
    """What is piped in, without the newline that ends it, or what somebody types unseen. Never an argument: process
    lists and the shell's history would keep it."""
    if sys.stdin.isatty():
        return str(typer.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True))
    try:
        value = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise Refused("bad_value", "The value is no text.", fix="Encode it, as in base64.") from error
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise Refused("bad_value", "No value was piped in.", fix=f'printf %s "$KEY" | tenure secrets put {name} ...')
    return value


@commands.command()
@handle_errors
def put(name: Name, *, host: Host = None, program: Program = None, as_json: Json = False) -> None:
    """Keep a new secret; its value is read from standard input."""
    body: dict[str, Any] = {"hosts": host or [], "programs": program or []}
    if not host and not program:
        fix = "Name a --host that it may be sent to, or a --program that may be started with it."
        raise Refused("bad_bounds", "A secret needs a place to go.", fix=fix)
    body["value"] = _value(name)
    with connect() as client:
        kept = client.put(_at(name), dict[str, Any], body)
    emit(kept, as_json, lambda: console.print(f"kept {name}, version {kept['version']}: {_places(kept)}", markup=False))


@commands.command()
@handle_errors
def allow(name: Name, *, host: Host = None, program: Program = None, as_json: Json = False) -> None:
    """Set where a secret may go, in place of what was set."""
    body = {"hosts": host or [], "programs": program or []}
    with connect() as client:
        kept = client.put(_at(name), dict[str, Any], body)
    emit(kept, as_json, lambda: console.print(f"{name} may go to {_places(kept)}", markup=False))


@commands.command("list")
@handle_errors
def find(as_json: Json = False) -> None:
    """List secrets, never their values: version, where each may go, last use, and which agents name it."""
    with connect() as client:
        found = client.get("/v1/secrets", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("No secret is kept here. Keep one: tenure secrets put NAME --host api.example.com")
            return
        rows = [
            (
                item["name"],
                str(item["version"]) + (" (the one before until " + item["until"][:19] + "Z)" if item["until"] else ""),
                _places(item),
                (item["last_used_at"] or "never")[:19],
                ", ".join(f"{use['agent']} ({use['where']})" for use in item["uses"]) or "nobody",
                "its key is gone: rotate it" if item["locked"] else "",
            )
            for item in found
        ]
        table(("secret", "version", "may go to", "last used", "named by", ""), rows)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def rotate(
    name: Name,
    *,
    overlap: Annotated[int, typer.Option(help="Seconds for which the old value is still believed.")] = 3600,
    as_json: Json = False,
) -> None:
    """Give a secret a new value, read from standard input. Running calls end with the old one."""
    body = {"value": _value(name), "overlap_s": overlap}
    with connect() as client:
        kept = client.post(f"{_at(name)}/rotate", dict[str, Any], body)
    emit(kept, as_json, lambda: console.print(f"{name} is at version {kept['version']} now", markup=False))


@commands.command()
@handle_errors
def remove(
    name: Name,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also while agents name it.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Forget a secret, for good. Says first which agents break."""
    with connect() as client:
        found = client.get("/v1/secrets", list[dict[str, Any]])
        uses: list[dict[str, str]] = next((item["uses"] for item in found if item["name"] == name), [])
        broken = ", ".join(sorted({use["agent"] for use in uses}))
        confirm(f"{name} is forgotten." + (f" Calls of these break: {broken}." if broken else ""), yes)
        done = client.request("DELETE", _at(name), dict[str, Any], force=force or None)
    emit(done, as_json, lambda: console.print(f"{name} is forgotten", markup=False))


@commands.command("key")
@handle_errors
def show_key(as_json: Json = False) -> None:
    """Show the key that all secrets are kept under, and how far a change of it has come."""
    with connect() as client:
        state = client.get("/v1/secrets-key", dict[str, Any])
    emit(state, as_json, lambda: _print_key(state))


@commands.command()
@handle_errors
def rotate_key(yes: Yes = False, as_json: Json = False) -> None:
    """Make a new key that all secrets are kept under; they follow within seconds."""
    confirm("All secrets of the installation are wrapped by a new key.", yes)
    with connect() as client:
        state = client.post("/v1/secrets-key/rotate", dict[str, Any])
    emit(state, as_json, lambda: _print_key(state))


def _print_key(state: Mapping[str, Any]) -> None:
    waiting = f", {state['waiting']} wait" if state["waiting"] else ""
    console.print(f"{state['source']}: {state['current']} wraps {state['wrapped']}{waiting}", markup=False)


def _places(item: Mapping[str, Any]) -> str:
    return ", ".join([*item["hosts"], *(f"exec:{words}" for words in item["programs"])])
