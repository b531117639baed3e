"""``tenure connectors``: set up where people let agents in, see who has, and let them in no longer."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

commands = typer.Typer(
    name="connectors", help="Upstreams where people let agents in: list, put, remove, disconnect.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The connector's name.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


_THERE = {
    "revoked": "the upstream has revoked your tokens",
    "pending": "the upstream has not revoked your tokens yet, and is asked again",
    "not_revoked": "the upstream has not revoked your tokens: they are good there until they expire",
}


def _at(name: str) -> str:
    return f"/v1/connectors/{quote(name, safe='')}"


@commands.command("list")
@handle_errors
def find(as_json: Json = False) -> None:
    """List connectors, and whether you have let agents in."""
    with connect() as client:
        found = client.get("/v1/connectors", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("There is no connector here. Set one up: tenure connectors put NAME --authorize-url ...")
            return
        rows = [
            (one["name"], ", ".join(one["hosts"]), "yes" if one["connected"] else "no", one["problem"]) for one in found
        ]
        table(("connector", "leads to", "you let agents in", ""), rows)
        console.print(f"Let agents in, or no longer, at {client.url}/connectors", markup=False)

    emit(found, as_json, render)


@commands.command()
@handle_errors
def put(
    name: Name,
    *,
    authorize_url: Annotated[str, typer.Option(help="Where its authorization server asks people.")],
    token_url: Annotated[str, typer.Option(help="Its token endpoint.")],
    client_id: Annotated[str, typer.Option(help="What Tenure is called there.")],
    host: Annotated[list[str], typer.Option(help="Host that people's tokens may be sent to.")],
    client_secret: Annotated[str, typer.Option(help="The secret of this name is the client's.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="A scope to ask for.")] = None,
    as_json: Json = False,
) -> None:
    """Set up how people let agents in at an upstream."""
    body = {"authorize_url": authorize_url, "token_url": token_url, "client_id": client_id, "hosts": host}
    body |= {"client_secret": client_secret, "scopes": scope or []}
    with connect() as client:
        kept = client.put(_at(name), dict[str, Any], body)
        back = f"{client.url}/connectors/{name}/back"
    emit(kept, as_json, lambda: console.print(f"{name} is set up; register {back} as its redirect URI", markup=False))


@commands.command()
@handle_errors
def remove(name: Name, *, yes: Yes = False, as_json: Json = False) -> None:
    """Forget a connector, and every token that was got by it."""
    confirm(f"{name} and the tokens of all people there are forgotten.", yes)
    with connect() as client:
        done = client.request("DELETE", _at(name), dict[str, Any])
    emit(done, as_json, lambda: console.print(f"{name} is forgotten", markup=False))


@commands.command()
@handle_errors
def disconnect(name: Name, *, yes: Yes = False, as_json: Json = False) -> None:
    """Let agents in no longer, for yourself."""
    confirm(f"Your tokens of {name} are forgotten, and it is asked to revoke them.", yes)
    with connect() as client:
        done = client.request("DELETE", f"{_at(name)}/mine", dict[str, Any])

    def render() -> None:
        console.print(f"agents are not let in at {name} for you any more; {_THERE[done['upstream']]}", markup=False)
        if done["problem"]:
            console.print(done["problem"], markup=False)

    emit(done, as_json, render)
