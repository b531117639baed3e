"""``tenure agents keys``: the keys that agents prove themselves with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from joserfc.jwk import ECKey

from tenure.base import files
from tenure.client.cli import confirm, connect, console, emit, group, handle_errors, table
from tenure.kernel.errors import Refused
from tenure.oauth.login import cli as login

keys = typer.Typer(
    name="keys", help="Keys that an agent proves itself with: list, new, add, revoke.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Agent = Annotated[str, typer.Argument(help="Name of the agent.")]
Label = Annotated[str, typer.Option("--name", help="What people call the key: where it is used.")]
Days = Annotated[int, typer.Option("--days", help="How long it is good for; at most 365.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group(app, "agents").add_typer(keys)
    login.register(app)


@keys.command("list")
@handle_errors
def find(agent: Agent, *, as_json: AsJson = False) -> None:
    """List the keys of an agent."""
    with connect() as client:
        found = client.get(f"/v1/agents/{agent}/keys", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print(
                f"{agent} has no keys. Make one: tenure agents keys new {agent} --to {agent}.key", markup=False
            )
            return
        table(
            ("key", "name", "alg", "state", "last used", "good until"),
            [
                (
                    k["thumbprint"],
                    k["name"],
                    k["alg"],
                    _state(k),
                    (k["last_used_at"] or "never")[:19],
                    k["expires_at"][:10],
                )
                for k in found
            ],
        )

    emit(found, as_json, render)


def _state(key: dict[str, Any]) -> str:
    return "live" if key["live"] else "revoked" if key["revoked_at"] else "expired"


@keys.command()
@handle_errors
def new(
    agent: Agent,
    *,
    to: Annotated[Path, typer.Option(help="File for the private key (JWK); it must not exist yet.")],
    name: Label = "",
    days: Days = 365,
    as_json: AsJson = False,
) -> None:
    """Make a key pair: the private half goes to a file of mode 0600, the public half is registered."""
    if to.exists():
        raise Refused("file_exists", f"{to} is there already.", fix="Name another file.")
    pair = ECKey.generate_key("P-256", auto_kid=True)
    public = pair.as_dict(private=False)
    with connect() as client:
        made = client.post(f"/v1/agents/{agent}/keys", dict[str, Any], {"jwk": public, "name": name, "days": days})
    files.create(to, json.dumps(pair.as_dict(private=True)).encode() + b"\n")
    emit(made, as_json, lambda: _made(made, f"the private key is in {to}"))


@keys.command()
@handle_errors
def add(
    agent: Agent,
    file: Annotated[Path, typer.Argument(help="The public key as a JWK.")],
    *,
    name: Label = "",
    days: Days = 365,
    as_json: AsJson = False,
) -> None:
    """Register the public half of a key that the agent holds."""
    try:
        jwk = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Refused("bad_key_file", f"{file} holds no JWK.", fix="Give a file with a public JWK.") from error
    with connect() as client:
        made = client.post(f"/v1/agents/{agent}/keys", dict[str, Any], {"jwk": jwk, "name": name, "days": days})
    emit(made, as_json, lambda: _made(made, "the private half stays where it is"))


def _made(key: dict[str, Any], where: str) -> None:
    console.print(f"{key['thumbprint']} ({key['alg']}) proves {key['agent']} until {key['expires_at'][:10]}; {where}")
    console.print(f"client_id: {key['client_id']}", markup=False, soft_wrap=True)


@keys.command()
@handle_errors
def revoke(
    agent: Agent,
    key: Annotated[str, typer.Argument(help="Its thumbprint or kid.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End a key at once, with every token that it was shown for."""
    confirm(f"Whoever holds key {key} can no longer act as {agent}.", yes)
    with connect() as client:
        done = client.post(f"/v1/agents/{agent}/keys/{key}/revoke", dict[str, Any])
    emit(done, as_json, lambda: console.print(f"{done['thumbprint']} of {agent} is revoked", markup=False))
