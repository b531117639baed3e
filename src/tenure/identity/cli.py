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
_services = typer.Typer(no_args_is_help=True, help="Service accounts: programs with roles and keys of their own.")
_keys = typer.Typer(no_args_is_help=True, help="The keys that sign agents' tokens.")
_TURN = ("created_at", "signs_at", "retires_at")


def register(app: typer.Typer) -> None:
    """Adds identity's commands."""
    app.command("login-link")(login_link)
    app.add_typer(_workspaces, name="workspaces")
    app.add_typer(_people, name="people")
    app.add_typer(_tokens, name="tokens")
    app.add_typer(_services, name="services")
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
            ("email", "roles", "since", "agents may do for them"),
            [(p["email"], " ".join(p["roles"]), p["created_at"][:10], _limits(p["scopes"])) for p in found],
        ),
    )


def _limits(scopes: list[str] | None) -> str:
    return "all" if scopes is None else " ".join(scopes) or "nothing"


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


@_people.command("limit")
@handle_errors
def people_limit(
    email: Annotated[str, typer.Argument(help="Address of the person.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="tool:crm/*, model:gpt-*, agent:billing, data:public; repeat.")
    ] = None,
    nothing: Annotated[bool, typer.Option("--nothing", help="Agents may do nothing for them.")] = False,
    lift: Annotated[bool, typer.Option("--lift", help="No limit but the agents' own grants.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what agents may do on somebody's behalf; what is not named they may not. It holds from the next call on."""
    if [bool(scope), nothing, lift].count(True) != 1:
        raise typer.BadParameter("give --scope, --nothing or --lift")
    with connect() as client:
        body = {"scopes": None if lift else scope or []}
        done = client.put(f"/v1/people/{quote(email, safe='@')}/scopes", dict[str, Any], body)
    emit(done, as_json, lambda: console.print(f"agents may do for {email}: {_limits(done['scopes'])}", markup=False))


@_tokens.command("list")
@handle_errors
def tokens_list(as_json: AsJson = False) -> None:
    """List your API tokens. Their secrets are nowhere to be listed."""
    with connect() as client:
        found = client.get("/v1/tokens", dict[str, Any])["tokens"]
    emit(found, as_json, lambda: _print_tokens(found))


def _print_tokens(found: list[dict[str, Any]]) -> None:
    def row(token: dict[str, Any]) -> tuple[str, ...]:
        used, scopes = token["last_used_at"], token["scopes"]
        days = (str(token["created_at"])[:10], str(token["expires_at"] or "never")[:10], str(used or "never")[:10])
        limits = "all" if scopes is None else " ".join(scopes)
        return token["id"], token["name"], f"{token['prefix']}...", limits, *days

    table(("id", "name", "begins", "scopes", "made", "expires", "last used"), map(row, found))


@_tokens.command("create")
@handle_errors
def tokens_create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    days: Annotated[int, typer.Option("--days", help="How long it lives; 0: until it is revoked.", min=0)] = 90,
    workspace: Annotated[str, typer.Option("--workspace", help="Another workspace that you belong to.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="What it is limited to, as agents:read; repeat for several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API token and print it, once. Programs send it as `Authorization: Bearer`."""
    with connect() as client:
        body = {"name": name, "ttl_s": days * 86_400 or None, "workspace": workspace, "scopes": scope}
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


@_services.command("list")
@handle_errors
def services_list(as_json: AsJson = False) -> None:
    """List the service accounts."""
    with connect() as client:
        found = client.get("/v1/services", dict[str, Any])["services"]
    rows = [(s["name"], " ".join(s["roles"]), s["created_at"][:10], s["created_by"]) for s in found]
    emit(found, as_json, lambda: table(("service", "roles", "since", "made by"), rows))


@_services.command("add")
@handle_errors
def services_add(
    service: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and hyphens.")],
    role: Annotated[list[str], typer.Option("--role", help="As for people; repeat for several.")],
    as_json: AsJson = False,
) -> None:
    """Make a service account, or give one other roles."""
    with connect() as client:
        made = client.post("/v1/services", dict[str, Any], json={"name": service, "roles": role})
    emit(made, as_json, lambda: console.print(f"{made['name']} is {', '.join(made['roles'])}", markup=False))


@_services.command("remove")
@handle_errors
def services_remove(
    service: Annotated[str, typer.Argument(help="Its name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End a service account and every key of it, at once."""
    confirm(f"Every key of {service} stops working at once.", yes)
    with connect() as client:
        done = client.request("DELETE", f"/v1/services/{quote(service, safe='')}", dict[str, Any])
    emit(done, as_json, lambda: console.print(f"{service} has ended", markup=False))


@_services.command("keys")
@handle_errors
def services_keys(service: Annotated[str, typer.Argument(help="Its name.")], as_json: AsJson = False) -> None:
    """List the keys of a service account. Their secrets are nowhere to be listed."""
    with connect() as client:
        found = client.get(f"/v1/services/{quote(service, safe='')}/keys", dict[str, Any])["tokens"]
    emit(found, as_json, lambda: _print_tokens(found))


@_services.command("key")
@handle_errors
def services_key(
    service: Annotated[str, typer.Argument(help="Its name.")],
    scope: Annotated[
        list[str], typer.Option("--scope", help="What it is limited to, as agents:read; repeat for several.")
    ],
    label: Annotated[str, typer.Option("--label", help="What the key is for.")] = "key",
    days: Annotated[int, typer.Option("--days", help="How long it lives.", min=1, max=366)] = 90,
    as_json: AsJson = False,
) -> None:
    """Make a key of a service account and print it, once."""
    with connect() as client:
        body = {"name": label, "scopes": scope, "ttl_s": days * 86_400}
        made = client.post(f"/v1/services/{quote(service, safe='')}/keys", dict[str, Any], json=body)
    emit(made, as_json, lambda: console.print(made["token"], markup=False, soft_wrap=True))


@_services.command("revoke")
@handle_errors
def services_revoke(
    service: Annotated[str, typer.Argument(help="Its name.")],
    key_id: Annotated[str, typer.Argument(help="The key's id, from `tenure services keys`.")],
    as_json: AsJson = False,
) -> None:
    """End a key of a service account, at once."""
    with connect() as client:
        where = f"/v1/services/{quote(service, safe='')}/keys/{quote(key_id, safe='')}"
        done = client.request("DELETE", where, dict[str, Any])
    emit(done, as_json, lambda: console.print(f"{key_id} is no longer accepted", markup=False))


@_people.command("roles")
@handle_errors
def people_roles(as_json: AsJson = False) -> None:
    """Print which role may do what, as the policies of roles say."""
    with connect() as client:
        rows = client.get("/v1/roles", dict[str, Any])["roles"]
    names = ("owner", "approver", "operator", "auditor", "viewer")
    cells = [(row["action"], *(row[name] for name in names), row["words"]) for row in rows]
    emit(rows, as_json, lambda: table(("action", *names, "what it is"), cells))


@_keys.command("list")
@handle_errors
def keys_list(as_json: AsJson = False) -> None:
    """List the keys that sign agents' tokens: which one does, which comes next, which are believed yet."""
    with connect() as client:
        found = client.get("/v1/keys", dict[str, Any])
    rows = [
        [key["kid"], key["state"], *((key[name] or "")[:19].replace("T", " ") for name in _TURN)]
        for key in found["keys"]
    ]

    def render() -> None:
        table(("key", "state", "published (UTC)", "signs from", "believed until"), rows)
        due = found["rotates_at"]
        console.print(f"next rotation: {due[:19].replace('T', ' ')} UTC" if due else "no rotation is scheduled")

    emit(found, as_json, render)


@_keys.command("rotate")
@handle_errors
def keys_rotate(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: AsJson = False
) -> None:
    """Sign agents' tokens with the next key. Tokens that are out hold until they expire."""
    with connect() as client:
        if not yes:
            confirm("\n".join(client.get("/v1/keys", dict[str, Any])["rotation"]), yes)
        made = client.post("/v1/keys/rotate", dict[str, Any])
    since = made["signs_at"][:19].replace("T", " ")
    emit(made, as_json, lambda: console.print(f"key {made['kid']} signs from {since} UTC on", markup=False))
