"""``tenure logins`` and ``tenure programs``: what programs may do for people, and which programs there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

logins = typer.Typer(name="logins", help="What programs may do on your behalf: list, end.", no_args_is_help=True)
programs = typer.Typer(
    name="programs", help="Programs that people log in with: list, add, remove.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Everybody = Annotated[bool, typer.Option("--everybody", help="Not only yours.")]
LoginId = Annotated[str, typer.Argument(help="Id of the login.")]
ProgramId = Annotated[str, typer.Argument(help="Id of the program.")]
Label = Annotated[str, typer.Argument(help="What people know the program by.")]
Redirects = Annotated[list[str], typer.Option("--redirect", help="Where it has the browser sent back to; repeat it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(logins)
    app.add_typer(programs)


@logins.command("list")
@handle_errors
def list_logins(*, everybody: Everybody = False, as_json: AsJson = False) -> None:
    """List what programs may do on your behalf, or on everybody's."""
    with connect() as client:
        found = client.get("/v1/logins", dict[str, Any], **({"everybody": "true"} if everybody else {}))

    def render() -> None:
        rows = found["logins"]
        if not rows:
            console.print("No program acts for anybody here." if everybody else "No program acts for you.")
            return
        names = ("id", "program", "for", "as", "scopes", "last used", "until")
        table(names, [_row(one) for one in rows])

    emit(found, as_json, render)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    used, until = (one["last_used_at"] or "never")[:19], one["expires_at"][:10]
    return one["id"], one["program_name"], one["person"], one["agent"], " ".join(one["scopes"]), used, until


@logins.command("end")
@handle_errors
def end_login(login_id: LoginId, *, yes: Yes = False) -> None:
    """End what a program was allowed: its next call is refused."""
    confirm(f"End login {login_id}?", yes=yes)
    with connect() as client:
        client.request("DELETE", f"/v1/logins/{login_id}", dict[str, Any])
    console.print("Ended.")


@programs.command("list")
@handle_errors
def list_programs(*, as_json: AsJson = False) -> None:
    """List the programs that were registered for this workspace."""
    with connect() as client:
        found = client.get("/v1/programs", dict[str, Any])

    def render() -> None:
        if not found["programs"]:
            console.print("No program was registered. Add one: tenure programs add NAME --redirect ADDRESS")
            return
        rows = [(p["id"], p["name"], p["how"], " ".join(p["redirects"])) for p in found["programs"]]
        table(("client id", "name", "by", "sent back to"), rows)

    emit(found, as_json, render)


@programs.command("add")
@handle_errors
def add_program(name: Label, *, redirect: Redirects, as_json: AsJson = False) -> None:
    """Register a program: give it the client id that is printed. It has no secret."""
    with connect() as client:
        made = client.post("/v1/programs", dict[str, Any], {"name": name, "redirects": redirect})
    emit(made, as_json, lambda: console.print(f"client id: {made['id']}", markup=False))


@programs.command("remove")
@handle_errors
def remove_program(program_id: ProgramId, *, yes: Yes = False) -> None:
    """Forget a program, and end what it was allowed."""
    confirm(f"Remove program {program_id}?", yes=yes)
    with connect() as client:
        client.request("DELETE", f"/v1/programs/{program_id}", dict[str, Any])
    console.print("Removed.")
