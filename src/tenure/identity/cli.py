"""``tenure login-link``, ``tenure workspaces``, ``tenure people``, ``tenure tokens``, ``tenure keys``."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_workspaces = typer.Typer(no_args_is_help=True, help="The workspaces that you belong to.")
_people = typer.Typer(no_args_is_help=True, help="Who may log in.")
_tokens = typer.Typer(no_args_is_help=True, help="Your API tokens, for programs of yours.")
_keys = typer.Typer(no_args_is_help=True, help="The keys that sign agents' tokens.")


def register(app: typer.Typer) -> None:
    """Adds identity's commands."""
    app.command("login-link")(login_link)
    app.add_typer(_workspaces, name="workspaces")
    app.add_typer(_people, name="people")
    app.add_typer(_tokens, name="tokens")
    app.add_typer(_keys, name="keys")


@handle_errors
def login_link(
    email: Annotated[str, typer.Option("--email", help="Whose link; yours if not given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a one-time login link for the console, good for 10 minutes."""
    with connect() as client:
        whose = email or str(client.get("/v1/me", dict[str, Any])["name"]).removeprefix("person:")
        link = client.post(f"/v1/people/{quote(whose, safe='@')}/login-link", dict[str, Any])

    def render() -> None:
        console.print(link["url"], markup=False, soft_wrap=True)

    emit(link, as_json, render)


@_workspaces.command("list")
@handle_errors
def workspaces_list(as_json: AsJson = False) -> None:
    """List the workspaces that you belong to."""
    with connect() as client:
        found = client.get("/v1/workspaces", dict[str, Any])["workspaces"]
    rows = [("*" if w["current"] else "", w["name"], " ".join(w["roles"]), w["since"][:10]) for w in found]
    emit(found, as_json, lambda: table(("", "workspace", "your roles", "since"), rows))


@_workspaces.command("create")
@handle_errors
def workspaces_create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    as_json: AsJson = False,
) -> None:
    """Make a workspace, in which you have every role."""
    with connect() as client:
        made = client.post("/v1/workspaces", dict[str, Any], json={"name": name})

    def render() -> None:
        console.print(f"workspace {made['name']} is made; you have every role in it", markup=False)
        console.print(
            f"commands work in it with TENURE_TOKEN=$(tenure tokens create {name}-shell --workspace {name})",
            markup=False,
            soft_wrap=True,
        )

    emit(made, as_json, render)


@_people.command("list")
@handle_errors
def people_list(as_json: AsJson = False) -> None:
    """List everybody who may log in."""
    with connect() as client:
        found = client.get("/v1/people", dict[str, Any])["people"]
    emit(
        found,
        as_json,
        lambda: table(
            ("email", "roles", "since"), [(p["email"], " ".join(p["roles"]), p["created_at"][:10]) for p in found]
        ),
    )


@_people.command("add")
@handle_errors
def people_add(
    email: Annotated[str, typer.Argument(help="Address of the person.")],
    role: Annotated[
        list[str], typer.Option("--role", help="owner, approver, operator, auditor or viewer; repeat for several.")
    ],
    as_json: AsJson = False,
) -> None:
    """Let somebody in, or give somebody other roles."""
    with connect() as client:
        person = client.post("/v1/people", dict[str, Any], json={"email": email, "roles": role})
    emit(
        person,
        as_json,
        lambda: console.print(f"{person['email']} is {', '.join(person['roles'])}", markup=False),
    )


@_people.command("remove")
@handle_errors
def people_remove(
    email: Annotated[str, typer.Argument(help="Address of the person.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take somebody's place away; sessions and API tokens for it end at once."""
    confirm(f"{email} will no longer be able to do anything here.", yes)
    with connect() as client:
        done = client.request("DELETE", f"/v1/people/{quote(email, safe='@')}", dict[str, Any])
    emit(done, as_json, lambda: console.print(f"{email} is no longer let in", markup=False))


@_tokens.command("list")
@handle_errors
def tokens_list(as_json: AsJson = False) -> None:
    """List your API tokens. Their secrets are nowhere to be listed."""
    with connect() as client:
        found = client.get("/v1/tokens", dict[str, Any])["tokens"]
    rows = [(t["id"], t["name"], t["created_at"][:10], (t["expires_at"] or "never")[:10]) for t in found]
    emit(found, as_json, lambda: table(("id", "name", "made", "expires"), rows))


@_tokens.command("create")
@handle_errors
def tokens_create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    days: Annotated[int, typer.Option("--days", help="How long it lives; 0: until it is revoked.", min=0)] = 90,
    workspace: Annotated[str, typer.Option("--workspace", help="Another workspace that you belong to.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make an API token and print it, once. Programs send it as `Authorization: Bearer`."""
    with connect() as client:
        body = {"name": name, "ttl_s": days * 86_400 or None, "workspace": workspace}
        made = client.post("/v1/tokens", dict[str, Any], json=body)
    emit(made, as_json, lambda: console.print(made["token"], markup=False, soft_wrap=True))


@_tokens.command("revoke")
@handle_errors
def tokens_revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, from `tenure tokens list`.")], as_json: AsJson = False
) -> None:
    """End one of your API tokens."""
    with connect() as client:
        done = client.request("DELETE", f"/v1/tokens/{quote(token_id, safe='')}", dict[str, Any])
    emit(done, as_json, lambda: console.print(f"{token_id} is no longer accepted", markup=False))


@_keys.command("rotate")
@handle_errors
def keys_rotate(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: AsJson = False
) -> None:
    """Sign agents' tokens with a new key from now on. Tokens that are out hold until they expire."""
    confirm("A new key will sign agents' tokens. The old one is believed for another day.", yes)
    with connect() as client:
        made = client.post("/v1/keys/rotate", dict[str, Any])
    emit(made, as_json, lambda: console.print(f"key {made['kid']} signs from now on", markup=False))
