"""``tenure precedents``: rules made from approvals."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client import Client
from tenure.client.cli import confirm, connect, console, emit, handle_errors, table
from tenure.kernel.errors import Refused

commands = typer.Typer(
    name="precedents", help="Rules made from approvals: propose, publish, revoke.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Ident = Annotated[str, typer.Argument(help="The precedent, as `tenure precedents list` shows it.")]
REPLAYED_DAYS = 7


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)


@commands.command("list")
@handle_errors
def find(as_json: Json = False) -> None:
    """List precedents, the newest first: what they let go on, until when, and whose word they are."""
    with connect() as client:
        found = client.get("/v1/precedents", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("There are none. Make one of an approval: tenure precedents propose APPROVAL --reason TEXT")
            return
        rows = [
            (one["id"], one["state"], one["agent"], one["resource"], _words(one["terms"]), one["expires_at"])
            for one in found
        ]
        table(("id", "state", "agent", "resource", "within", "ends"), rows)

    emit(found, as_json, render)


def _words(terms: dict[str, Any]) -> str:
    bounds = [f"{path} up to {most}" for path, most in terms["up_to"].items()]
    return ", ".join((*bounds, *(f"any {path}" for path in terms["free"]))) or "exactly as approved"


@commands.command()
@handle_errors
def propose(
    approval: Annotated[str, typer.Argument(help="The approval that was given, as `tenure approvals list` shows it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why such calls may go on; decisions say it.")],
    up_to: Annotated[list[str] | None, typer.Option(help="PATH=NUMBER: the most that this argument may be.")] = None,
    free: Annotated[list[str] | None, typer.Option(help="PATH of an argument that may be anything.")] = None,
    days: Annotated[float, typer.Option(help="Until it ends by itself, in days.")] = 30,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Draw a rule up from an approval, see what it would change, and put it before a person who publishes policies."""
    bounds = {}
    for one in up_to or []:
        path, equals, most = one.rpartition("=")
        if not equals:
            raise Refused("bad_terms", f"{one} is no bound.", fix="Write --up-to amount=50")
        bounds[path] = most
    body = {"approval": approval, "up_to": bounds, "free": free or [], "days": days, "reason": reason}
    with connect(timeout=600) as client:
        drawn = client.post("/v1/precedents", dict[str, Any], {**body, "keep": False})
        if not as_json:
            _show(client, drawn)
        if not drawn["faults"]:
            confirm("This will be proposed; nothing changes until somebody publishes it.", yes)
        drawn = client.post("/v1/precedents", dict[str, Any], body)
    done = f"proposed: precedent {drawn['precedent']['id']}"
    emit(drawn["precedent"], as_json, lambda: console.print(done, markup=False))


@commands.command()
@handle_errors
def show(ident: Ident, as_json: Json = False) -> None:
    """Show a precedent: its policy, its tests, and which recorded calls would have come out otherwise."""
    with connect(timeout=600) as client:
        drawn = client.get(f"/v1/precedents/{ident}", dict[str, Any])
        if as_json:
            emit(drawn, as_json, lambda: None)
        else:
            _show(client, drawn)


def _show(client: Client, drawn: dict[str, Any]) -> None:
    one = drawn["precedent"]
    console.print(f"{one['state']}: {one['agent']} {one['resource']}, until {one['expires_at']}", markup=False)
    console.print(f"proposed by {one['proposed_by']}: {one['reason']}", markup=False, soft_wrap=True)
    if one["decided_by"]:
        console.print(f"{one['state']} by {one['decided_by']}: {one['decision']}", markup=False, soft_wrap=True)
    if one["problem"]:
        console.print(f"stopped: {one['problem']}", markup=False, soft_wrap=True)
    for line in one["cedar"].splitlines():
        console.print(f"+ {line}", style="green", markup=False, soft_wrap=True)
    for fault in drawn["faults"]:
        console.print(fault, style="red", markup=False, soft_wrap=True)
    body = {"files": drawn["files"], "days": REPLAYED_DAYS, "agent": one["agent"]}
    found = client.post("/v1/policies/replay", dict[str, Any], body)
    text = f"{found['calls']:,} recorded calls of {one['agent']} in {REPLAYED_DAYS} days"
    console.print(f"{text}: {found['changed']:,} would have come out otherwise", markup=False)
    for row in found["counts"]:
        console.print(f"  {row['calls']:,} from {row['before']} to {row['after']}", markup=False)


@commands.command()
@handle_errors
def publish(
    ident: Ident,
    reason: Annotated[str, typer.Option(help="Why; kept in the history and the audit.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put a proposed precedent in force, for every call from now on until it ends."""
    with connect(timeout=600) as client:
        if not yes and not as_json:
            _show(client, client.get(f"/v1/precedents/{ident}", dict[str, Any]))
        confirm("Such calls will go on without asking anybody.", yes)
        done = client.post(f"/v1/precedents/{ident}/publish", dict[str, Any], {"reason": reason})
    text = f"published: {done['policy']} until {done['expires_at']}"
    emit(done, as_json, lambda: console.print(text, markup=False))


@commands.command()
@handle_errors
def revoke(
    ident: Ident,
    reason: Annotated[str, typer.Option(help="Why; kept in the history and the audit.")],
    as_json: Json = False,
) -> None:
    """Drop a proposed precedent, or end one in force at once: such calls wait for a person again."""
    with connect() as client:
        done = client.post(f"/v1/precedents/{ident}/revoke", dict[str, Any], {"reason": reason})
    emit(done, as_json, lambda: console.print(f"{done['state']}: {done['policy']}", markup=False))
