"""``tenure revoke``: credentials made worthless at once. ``tenure revocations``: what was."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tenure.client.cli import confirm, connect, console, emit, handle_errors, table

commands = typer.Typer(
    name="revoke", help="Revoke at once: agent, instance, release, key, person, workspace.", no_args_is_help=True
)
Reason = Annotated[str, typer.Option(help="Why; kept in the history and the audit.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(commands)
    app.command("revocations")(revocations)
    app.command("rotate")(rotate)


def _revoke(kind: str, subject: str, reason: str, *, yes: bool, as_json: bool) -> None:
    wish = {"kind": kind, "subject": subject, "reason": reason}
    with connect() as client:
        seen = client.post("/v1/revocations", dict[str, Any], {**wish, "dry_run": True})
        if not as_json or not yes:
            confirm("\n".join(seen["effects"]), yes)
        done = client.post("/v1/revocations", dict[str, Any], wish)

    def render() -> None:
        settled = done["settled"]
        count = {0: "no gateway runs", 1: "1 gateway"}.get(settled["gateways"], f"{settled['gateways']} gateways")
        console.print(f"revoked: {kind} {done['subject']}; in force after {settled['took_ms']:.0f} ms ({count})")

    emit(done, as_json, render)


@commands.command()
@handle_errors
def agent(
    name: Annotated[str, typer.Argument(help="The agent's name.")],
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make every credential of an agent worthless. It can be started again; to stop it, suspend it."""
    _revoke("agent", name, reason, yes=yes, as_json=as_json)


@commands.command()
@handle_errors
def instance(
    ident: Annotated[str, typer.Argument(help="The instance's id, as `tenure instances` shows it.")],
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make the credentials of one running instance worthless, for good."""
    _revoke("instance", ident, reason, yes=yes, as_json=as_json)


@commands.command()
@handle_errors
def release(
    digest: Annotated[str, typer.Argument(help="The release's digest, as `tenure agents releases` shows it.")],
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make what was issued under a release worthless, for ever; nothing starts under it again."""
    _revoke("release", digest, reason, yes=yes, as_json=as_json)


@commands.command()
@handle_errors
def key(
    kid: Annotated[str, typer.Argument(help="The signing key's id.")],
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stop believing a signing key now. What `tenure run` started gets new tokens by itself."""
    _revoke("key", kid, reason, yes=yes, as_json=as_json)


@commands.command()
@handle_errors
def person(
    email: Annotated[str, typer.Argument(help="The person's address.")],
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """End all that a person can show, and all that was issued to agents on their behalf."""
    _revoke("person", email, reason, yes=yes, as_json=as_json)


@commands.command()
@handle_errors
def workspace(
    name: Annotated[str, typer.Argument(help="The name of the workspace that you work in.")],
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """End everything that any agent, person or program of the workspace can show, but for your own sessions."""
    _revoke("workspace", name, reason, yes=yes, as_json=as_json)


@handle_errors
def rotate(
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    overlap: Annotated[int | None, typer.Option(help="Seconds for which the old ones are good.")] = None,
    as_json: Json = False,
) -> None:
    """Replace an agent's credentials by new ones, which what `tenure run` started fetches by itself."""
    with connect() as client:
        done = client.post(f"/v1/agents/{agent}/credentials/rotate", dict[str, Any], {"overlap_s": overlap})
    until = done["good_until"][:19].replace("T", " ")
    emit(done, as_json, lambda: console.print(f"rotated: {agent}; the old credentials are good until {until} UTC"))


@handle_errors
def revocations(as_json: Json = False) -> None:
    """List what was revoked."""
    with connect() as client:
        found = client.get("/v1/revocations", list[dict[str, Any]])

    def render() -> None:
        if not found:
            console.print("Nothing was revoked. Do it with: tenure revoke agent NAME --reason WHY")
            return
        rows = [
            (item["before"][:19].replace("T", " "), item["kind"], item["subject"], item["actor"], item["reason"])
            for item in found
        ]
        table(("when (UTC)", "what", "which", "by", "reason"), rows)

    emit(found, as_json, render)
